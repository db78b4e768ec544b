//! How a function is declared.
//!
//! Go checks the arguments against the function's type before it runs: their number, and each one's type, where an
//! untyped constant takes the type of the parameter and nothing else is converted. A [`Signature`] says as much as
//! that check needs, so the Rust function may rely on it: a parameter declared `int` holds a `Value::Int`, one
//! declared `dict` holds a `Value::Map` (possibly nil), and so on. One of a named integer type such as `time.Duration`
//! holds an object of that type or, for a constant, a plain `int64`.
//!
//! ```
//! use keyferry_template::{f, sig, Context, Failure, Function, Value};
//!
//! fn shout(_: &mut Context<'_, '_>, args: &[Value]) -> Result<Value, Failure> {
//!     match args {
//!         [Value::Str(text)] => Ok(Value::str(text.to_ascii_uppercase())),
//!         _ => Err(Failure::new("wrong arguments")),
//!     }
//! }
//!
//! pub const FUNCTIONS: &[Function] = &[f("shout", sig!(string => string), shout)];
//! ```

use std::{collections::HashMap, fmt};

use crate::{
    env::Context,
    error::Failure,
    value::{Type, Value},
};

/// The Rust side of a function.
pub type Call = fn(&mut Context<'_, '_>, &[Value]) -> Result<Value, Failure>;

/// A Go function type.
#[derive(Debug, Clone, Copy)]
pub struct Signature {
    /// The parameters before the variadic one.
    pub params: &'static [Type],
    /// The element type of the variadic parameter, if there is one.
    pub variadic: Option<Type>,
    /// What it returns.
    pub result: Type,
}

/// What is special about a builtin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// Nothing.
    None,
    /// `and`: stops at the first false argument.
    And,
    /// `or`: stops at the first true argument.
    Or,
}

/// A function templates may call.
#[derive(Clone, Copy)]
pub struct Function {
    /// The name templates use.
    pub name: &'static str,
    /// Its type.
    pub signature: Signature,
    /// What runs. The arguments are of the types the signature names.
    pub call: Call,
    /// For builtins that are part of the language.
    pub special: Special,
}

impl fmt::Debug for Function {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "function {}", self.name)
    }
}

/// Declares a function: `f("trunc", sig!(int, string => string), trunc)`.
pub const fn f(name: &'static str, signature: Signature, call: Call) -> Function {
    Function { name, signature, call, special: Special::None }
}

/// A Go function type, in short: parameters, `..` before a variadic one, `=>`, the result.
///
/// `sig!(int, string => string)`, `sig!(string, ..any => string)`, `sig!(=> TIME)`.
///
/// Known names: `any` (`interface {}`), `value` (`reflect.Value`), `bool`, `int`, `int64`, `uint64`, `byte`, `float64`,
/// `string`, `list` (`[]interface {}`), `strings`, `ints`, `dict` (`map[string]interface {}`), `string_map`. Any other
/// name is a constant of type [`Type`] at the place of use.
#[macro_export]
macro_rules! sig {
    (@ any) => { $crate::Type::Any };
    (@ value) => { $crate::Type::Reflect };
    (@ bool) => { $crate::Type::Bool };
    (@ int) => { $crate::Type::INT };
    (@ int64) => { $crate::Type::INT64 };
    (@ uint64) => { $crate::Type::Uint($crate::UintKind::Uint64) };
    (@ byte) => { $crate::Type::BYTE };
    (@ float64) => { $crate::Type::Float64 };
    (@ string) => { $crate::Type::String };
    (@ list) => { $crate::Type::LIST };
    (@ strings) => { $crate::Type::STRINGS };
    (@ ints) => { $crate::Type::INTS };
    (@ dict) => { $crate::Type::DICT };
    (@ string_map) => { $crate::Type::STRING_MAP };
    (@ $other:ident) => { $other };
    ($($param:ident),* => $result:ident) => {
        $crate::Signature { params: &[$($crate::sig!(@ $param)),*], variadic: None, result: $crate::sig!(@ $result) }
    };
    ($($param:ident,)* ..$rest:ident => $result:ident) => {
        $crate::Signature {
            params: &[$($crate::sig!(@ $param)),*],
            variadic: Some($crate::sig!(@ $rest)),
            result: $crate::sig!(@ $result),
        }
    };
}

/// The functions a template knows, by name.
#[derive(Debug, Clone, Default)]
pub struct Functions(HashMap<&'static str, &'static Function>);

impl Functions {
    /// Everything there is.
    pub fn standard() -> Self {
        let sprig = crate::sprig::FUNCTIONS.iter().fold(Self::builtin(), |known, theme| known.with(theme));
        sprig.with(crate::eso::FUNCTIONS)
    }

    /// Go's builtins.
    pub fn builtin() -> Self {
        Self::none().with(crate::builtins::FUNCTIONS)
    }

    /// No functions at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds functions; a later one replaces an earlier one of the same name.
    pub fn with(mut self, functions: &'static [Function]) -> Self {
        self.0.extend(functions.iter().map(|function| (function.name, function)));
        self
    }

    /// The function of that name.
    pub fn get(&self, name: &str) -> Option<&'static Function> {
        self.0.get(name).copied()
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.0.keys().copied().collect();
        names.sort_unstable();
        names
    }
}

//! Structs, pointers to them, and named types with methods.

use std::any::Any;

use super::{Named, Str, Value};
use crate::function::Function;

/// A Go type of one's own: `time.Time`, `*semver.Version`, a certificate with its key.
pub trait Object {
    /// The type, as `%T` and `kindOf` name it.
    fn type_of(&self) -> &'static Named;

    /// For [`Value::downcast`].
    fn as_any(&self) -> &dyn Any;

    /// What its `String` or `Error` method says, if the type has one.
    fn display(&self) -> Option<Str> {
        None
    }

    /// What its `GoString` method says, if the type has one: `%#v`.
    fn go_string(&self) -> Option<Str> {
        None
    }

    /// The fields of a struct, or of the struct it points to, in order. Templates reach those that start in upper
    /// case; printing shows all.
    fn fields(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }

    /// The methods templates may call. The receiver is the first argument of the Rust function and not part of the
    /// signature.
    fn methods(&self) -> &'static [Function] {
        &[]
    }

    /// The plain value below a named type such as `time.Duration`; `None` for structs and pointers.
    fn underlying(&self) -> Option<Value> {
        None
    }

    /// Go's `==` with another value of the same type; `None` where Go cannot compare.
    fn equals(&self, other: &dyn Object) -> Option<bool> {
        let _ = other;
        None
    }
}

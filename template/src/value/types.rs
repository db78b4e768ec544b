//! Go types.

use std::fmt;

/// The signed integer types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntKind {
    /// `int`
    Int,
    /// `int8`
    Int8,
    /// `int16`
    Int16,
    /// `int32`
    Int32,
    /// `int64`
    Int64,
}

impl IntKind {
    /// What is left of a number in a variable of this type.
    pub fn wrap(self, value: i64) -> i64 {
        match self {
            Self::Int | Self::Int64 => value,
            Self::Int32 => (value as i32).into(),
            Self::Int16 => (value as i16).into(),
            Self::Int8 => (value as i8).into(),
        }
    }
}

/// The unsigned integer types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UintKind {
    /// `uint`
    Uint,
    /// `uint8`
    Uint8,
    /// `uint16`
    Uint16,
    /// `uint32`
    Uint32,
    /// `uint64`
    Uint64,
}

impl UintKind {
    /// What is left of a number in a variable of this type.
    pub fn wrap(self, value: u64) -> u64 {
        match self {
            Self::Uint | Self::Uint64 => value,
            Self::Uint32 => (value as u32).into(),
            Self::Uint16 => (value as u16).into(),
            Self::Uint8 => (value as u8).into(),
        }
    }
}

/// A type with a name of its own, such as `time.Time`.
#[derive(Debug)]
pub struct Named {
    /// As `%T` prints it: `time.Time`, `*semver.Version`.
    pub name: &'static str,
    /// As `kindOf` prints it: `struct`, `ptr`, `int64`.
    pub kind: &'static str,
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// A Go type. All types are known when the program is built, so a type is a plain copyable constant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Type {
    /// `interface {}`
    Any,
    /// `reflect.Value`: a parameter of this type takes everything as it is, the absence of a value included.
    Reflect,
    /// `bool`
    Bool,
    /// `int`, `int64`, ...
    Int(IntKind),
    /// `uint8`, `uint64`, ...
    Uint(UintKind),
    /// `float64`
    Float64,
    /// `complex128`
    Complex128,
    /// `string`
    String,
    /// `[]T`
    Slice(&'static Type),
    /// `map[string]T`
    Map(&'static Type),
    /// A type with a name.
    Named(&'static Named),
}

impl Type {
    /// `int`
    pub const INT: Type = Type::Int(IntKind::Int);
    /// `int64`
    pub const INT64: Type = Type::Int(IntKind::Int64);
    /// `uint8`
    pub const BYTE: Type = Type::Uint(UintKind::Uint8);
    /// `[]interface {}`
    pub const LIST: Type = Type::Slice(&Type::Any);
    /// `[]string`
    pub const STRINGS: Type = Type::Slice(&Type::String);
    /// `[]int`
    pub const INTS: Type = Type::Slice(&Type::INT);
    /// `map[string]interface {}`
    pub const DICT: Type = Type::Map(&Type::Any);
    /// `map[string]string`
    pub const STRING_MAP: Type = Type::Map(&Type::String);

    /// Go's `reflect.Kind` of the type, as text.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Any => "interface",
            Self::Reflect => "struct",
            Self::Bool => "bool",
            Self::Int(IntKind::Int) => "int",
            Self::Int(IntKind::Int8) => "int8",
            Self::Int(IntKind::Int16) => "int16",
            Self::Int(IntKind::Int32) => "int32",
            Self::Int(IntKind::Int64) => "int64",
            Self::Uint(UintKind::Uint) => "uint",
            Self::Uint(UintKind::Uint8) => "uint8",
            Self::Uint(UintKind::Uint16) => "uint16",
            Self::Uint(UintKind::Uint32) => "uint32",
            Self::Uint(UintKind::Uint64) => "uint64",
            Self::Float64 => "float64",
            Self::Complex128 => "complex128",
            Self::String => "string",
            Self::Slice(_) => "slice",
            Self::Map(_) => "map",
            Self::Named(named) => named.kind,
        }
    }

    /// May an untyped nil stand for a value of this type?
    pub fn can_be_nil(self) -> bool {
        match self {
            Self::Any | Self::Reflect | Self::Slice(_) | Self::Map(_) => true,
            Self::Named(named) => matches!(named.kind, "ptr" | "interface" | "func" | "map" | "slice" | "chan"),
            _ => false,
        }
    }
}

/// As `%T` prints it.
impl fmt::Display for Type {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => out.write_str("interface {}"),
            Self::Reflect => out.write_str("reflect.Value"),
            Self::Slice(elem) => write!(out, "[]{elem}"),
            Self::Map(elem) => write!(out, "map[string]{elem}"),
            Self::Named(named) => out.write_str(named.name),
            other => out.write_str(other.kind()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_go() {
        assert_eq!(Type::LIST.to_string(), "[]interface {}");
        assert_eq!(Type::STRING_MAP.to_string(), "map[string]string");
        assert_eq!(Type::Slice(&Type::LIST).to_string(), "[][]interface {}");
        assert_eq!(Type::BYTE.to_string(), "uint8");
    }
}

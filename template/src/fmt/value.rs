//! Values of any kind.
//!
//! Lists and maps are printed with a stack of tasks instead of recursion: a template can nest values as deeply as it
//! has steps.

use std::rc::Rc;

use zeroize::Zeroizing;

use super::scalar::{Integer, Writer};
use crate::value::{List, Map, Object, Str, Type, Value};

/// Prints values into a bounded buffer.
pub(super) struct Printer {
    pub writer: Writer,
    /// Inside `%!d(...)`, where methods are not asked.
    erroring: bool,
}

/// What is still to be printed, last first.
enum Task {
    Value(Value),
    /// A list from this element on, and what closes it. No copy of it: it may hold itself many times over.
    Items(List, usize, &'static str),
    /// A map behind this key, and what closes it.
    Entries(Map, Option<Str>, &'static str),
    Name(&'static str),
    Text(&'static str),
}

impl Printer {
    pub fn new(most: usize) -> Self {
        Self { writer: Writer::new(most), erroring: false }
    }

    pub fn finish(self) -> Option<Zeroizing<Vec<u8>>> {
        self.writer.finish()
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.writer.write(bytes);
    }

    /// Go's `Sprint`.
    pub fn print(&mut self, args: &[Value]) {
        let mut after_string = true;
        for (at, arg) in args.iter().enumerate() {
            let string = matches!(arg, Value::Str(_));
            if at > 0 && !string && !after_string {
                self.write(b" ");
            }
            self.arg(arg, 'v');
            after_string = string;
        }
    }

    /// Go's `Sprintln`.
    pub fn println(&mut self, args: &[Value]) {
        for (at, arg) in args.iter().enumerate() {
            if at > 0 {
                self.write(b" ");
            }
            self.arg(arg, 'v');
        }
        self.write(b"\n");
    }

    /// One operand.
    pub fn arg(&mut self, value: &Value, verb: char) {
        match (value, verb) {
            (Value::NoValue | Value::Nil, 'T' | 'v') => self.writer.pad(b"<nil>"),
            (Value::NoValue | Value::Nil, _) => self.bad_verb(value, verb, None),
            (_, 'T') => self.writer.text(value.type_of().to_string().as_bytes()),
            (_, 'p') => self.pointer(value, verb),
            (Value::Object(object), _) => {
                if !self.method(object, verb) {
                    self.walk(value, verb, true)
                }
            }
            (Value::List(list), _) if *list.elem() == Type::BYTE => self.byte_list(list, verb, "[]byte", true),
            (Value::List(_) | Value::Map(_), 'w') => self.bad_verb(value, verb, None),
            (Value::List(_) | Value::Map(_), _) => self.walk(value, verb, true),
            _ => self.scalar(value, verb, None),
        }
    }

    /// `%!d(string=x)`
    fn bad_verb(&mut self, value: &Value, verb: char, name: Option<&str>) {
        self.write(b"%!");
        self.writer.write_char(verb);
        self.write(b"(");
        if value.is_nil() {
            self.write(b"<nil>")
        } else {
            let outer = std::mem::replace(&mut self.erroring, true);
            match name {
                Some(name) => self.write(name.as_bytes()),
                None => self.write(value.type_of().to_string().as_bytes()),
            }
            self.write(b"=");
            match value {
                Value::List(_) | Value::Map(_) | Value::Object(_) => self.walk(value, 'v', true),
                value => self.scalar(value, 'v', None),
            }
            self.erroring = outer;
        }
        self.write(b")");
    }

    /// Asks the object's own methods for its text.
    fn method(&mut self, object: &Rc<dyn Object>, verb: char) -> bool {
        let text = match (self.erroring, self.writer.flags.sharp_v, verb) {
            (true, ..) => None,
            (_, true, _) => object.go_string().map(|text| (text, 's')),
            (_, false, 'v' | 's' | 'x' | 'X' | 'q') => object.display().map(|text| (text, verb)),
            _ => None,
        };
        match text {
            Some((text, verb)) => self.scalar(&Value::Str(text), verb, None),
            None if verb == 'w' && !self.erroring => self.bad_verb(&Value::Object(object.clone()), verb, None),
            None => return false,
        }
        true
    }

    /// Everything that is not a container. `name` is the type's name where it has one of its own.
    fn scalar(&mut self, value: &Value, verb: char, name: Option<&str>) {
        match (value, verb) {
            (Value::Bool(value), 't' | 'v') => self.writer.bool(*value),
            (Value::Int(_, number), _) => {
                self.integer(value, Integer { value: *number as u64, signed: true }, verb, name)
            }
            (Value::Uint(_, number), _) => self.integer(value, Integer { value: *number, signed: false }, verb, name),
            (Value::Float(number), _) => match float_verb(verb) {
                Some((verb, precision)) => self.writer.float(*number, verb, precision),
                None => self.bad_verb(value, verb, name),
            },
            (Value::Complex(re, im), _) => match float_verb(verb) {
                Some((verb, precision)) => {
                    let plus = self.writer.flags.plus;
                    self.write(b"(");
                    self.writer.float(*re, verb, precision);
                    self.writer.flags.plus = true;
                    self.writer.float(*im, verb, precision);
                    self.write(b"i)");
                    self.writer.flags.plus = plus;
                }
                None => self.bad_verb(value, verb, name),
            },
            (Value::Str(text), _) => match verb {
                'v' if self.writer.flags.sharp_v => self.writer.quoted(text),
                'v' | 's' => self.writer.text(text),
                'x' | 'X' => self.writer.hex(text, verb == 'X'),
                'q' => self.writer.quoted(text),
                _ => self.bad_verb(value, verb, name),
            },
            _ => self.bad_verb(value, verb, name),
        }
    }

    fn integer(&mut self, value: &Value, integer: Integer, verb: char, name: Option<&str>) {
        match verb {
            'v' if self.writer.flags.sharp_v && !integer.signed => self.prefixed_hex(integer.value, true),
            'v' => self.writer.integer(integer, 'd'),
            'd' | 'b' | 'o' | 'O' | 'x' | 'X' => self.writer.integer(integer, verb),
            'c' => self.writer.character(integer.value),
            'q' => self.writer.quoted_character(integer.value),
            'U' => self.writer.unicode(integer.value),
            _ => self.bad_verb(value, verb, name),
        }
    }

    fn prefixed_hex(&mut self, value: u64, prefix: bool) {
        let sharp = std::mem::replace(&mut self.writer.flags.sharp, prefix);
        self.writer.integer(Integer { value, signed: false }, 'x');
        self.writer.flags.sharp = sharp;
    }

    /// `%p`: only maps, slices and pointers have an address.
    fn pointer(&mut self, value: &Value, verb: char) {
        let address = match value {
            Value::Map(map) if map.is_nil() => Some(0),
            Value::Map(map) => Some(map.address()),
            Value::List(list) if list.is_nil() => Some(0),
            Value::List(list) => Some(list.as_ptr().addr()),
            Value::Object(object) if object.type_of().kind == "ptr" => Some(Rc::as_ptr(object).addr()),
            _ => None,
        };
        match address {
            Some(address) => self.prefixed_hex(address as u64, !self.writer.flags.sharp),
            None => self.bad_verb(value, verb, None),
        }
    }

    /// A `[]byte`, which prints as text where a verb asks for text.
    fn byte_list(&mut self, list: &List, verb: char, name: &str, top: bool) {
        let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(list.iter().filter_map(byte_of).collect());
        match verb {
            's' => self.writer.text(&bytes),
            'q' => self.writer.quoted(&bytes),
            'x' | 'X' => self.writer.hex(&bytes, verb == 'X'),
            'v' | 'd' if top && self.writer.flags.sharp_v => {
                self.write(name.as_bytes());
                if list.is_nil() {
                    self.write(b"(nil)")
                } else {
                    self.write(b"{");
                    for (at, byte) in bytes.iter().enumerate() {
                        self.write(if at > 0 { b", " } else { b"" });
                        self.prefixed_hex((*byte).into(), true);
                    }
                    self.write(b"}");
                }
            }
            _ => self.walk(&Value::List(list.clone()), verb, true),
        }
    }

    /// Containers, and whatever is in them.
    fn walk(&mut self, value: &Value, verb: char, top: bool) {
        let mut tasks = Vec::new();
        self.container(value, verb, top, &mut tasks);
        while let Some(task) = tasks.pop() {
            if self.writer.is_full() {
                return;
            }
            match task {
                Task::Text(text) => self.write(text.as_bytes()),
                Task::Name(name) => self.write(name.as_bytes()),
                Task::Items(list, at, close) => self.item(list, at, close, &mut tasks),
                Task::Entries(map, last, close) => self.entry(map, last, close, verb, &mut tasks),
                Task::Value(Value::NoValue | Value::Nil) => {
                    if self.writer.flags.sharp_v {
                        self.write(b"interface {}(nil)")
                    } else {
                        self.write(b"<nil>")
                    }
                }
                Task::Value(Value::Object(object)) => {
                    if !self.method(&object, verb) {
                        self.container(&Value::Object(object), verb, false, &mut tasks)
                    }
                }
                Task::Value(Value::List(list))
                    if *list.elem() == Type::BYTE && matches!(verb, 's' | 'q' | 'x' | 'X') =>
                {
                    self.byte_list(&list, verb, "[]uint8", false);
                }
                Task::Value(value @ (Value::List(_) | Value::Map(_))) => {
                    self.container(&value, verb, false, &mut tasks);
                }
                Task::Value(value) => self.scalar(&value, verb, None),
            }
        }
    }

    /// Writes what opens a container and leaves the rest as tasks.
    fn container(&mut self, value: &Value, verb: char, top: bool, tasks: &mut Vec<Task>) {
        match value {
            Value::List(list) => self.list(list, tasks),
            Value::Map(map) => self.map(map, tasks),
            Value::Object(object) => self.object(object, verb, top, tasks),
            other => tasks.push(Task::Value(other.clone())),
        }
    }

    fn separator(&self) -> &'static str {
        if self.writer.flags.sharp_v { ", " } else { " " }
    }

    fn list(&mut self, list: &List, tasks: &mut Vec<Task>) {
        let close = if self.writer.flags.sharp_v {
            self.write(Type::Slice(list.elem()).to_string().as_bytes());
            if list.is_nil() {
                return self.write(b"(nil)");
            }
            self.write(b"{");
            "}"
        } else {
            self.write(b"[");
            "]"
        };
        tasks.push(Task::Items(list.clone(), 0, close));
    }

    fn item(&mut self, list: List, at: usize, close: &'static str, tasks: &mut Vec<Task>) {
        let Some(item) = list.get(at).cloned() else { return self.write(close.as_bytes()) };
        if at > 0 {
            self.write(self.separator().as_bytes());
        }
        tasks.push(Task::Items(list, at + 1, close));
        tasks.push(Task::Value(item));
    }

    fn map(&mut self, map: &Map, tasks: &mut Vec<Task>) {
        let close = if self.writer.flags.sharp_v {
            self.write(Type::Map(map.elem()).to_string().as_bytes());
            if map.is_nil() {
                return self.write(b"(nil)");
            }
            self.write(b"{");
            "}"
        } else {
            self.write(b"map[");
            "]"
        };
        tasks.push(Task::Entries(map.clone(), None, close));
    }

    fn entry(&mut self, map: Map, last: Option<Str>, close: &'static str, verb: char, tasks: &mut Vec<Task>) {
        let Some((key, item)) = map.next(last.as_deref()) else { return self.write(close.as_bytes()) };
        if last.is_some() {
            self.write(self.separator().as_bytes());
        }
        self.scalar(&Value::Str(key.clone()), verb, None);
        self.write(b":");
        tasks.push(Task::Entries(map, Some(key), close));
        tasks.push(Task::Value(item));
    }

    fn object(&mut self, object: &Rc<dyn Object>, verb: char, top: bool, tasks: &mut Vec<Task>) {
        let named = object.type_of();
        if let Some(plain) = object.underlying() {
            return self.scalar(&plain, verb, Some(named.name));
        }
        let name = match (named.kind, top) {
            ("ptr", true) => {
                self.write(b"&");
                named.name.trim_start_matches('*')
            }
            ("ptr", false) => return self.pointer(&Value::Object(object.clone()), 'p'),
            _ => named.name,
        };
        let flags = self.writer.flags;
        if flags.sharp_v {
            self.write(name.as_bytes());
        }
        self.write(b"{");
        tasks.push(Task::Text("}"));
        for (at, (field, item)) in object.fields().into_iter().enumerate().rev() {
            tasks.push(Task::Value(item));
            if flags.plus_v || flags.sharp_v {
                tasks.push(Task::Text(":"));
                tasks.push(Task::Name(field));
            }
            if at > 0 {
                tasks.push(Task::Text(self.separator()));
            }
        }
    }
}

fn byte_of(value: &Value) -> Option<u8> {
    match value {
        Value::Uint(_, byte) => u8::try_from(*byte).ok(),
        _ => None,
    }
}

/// The form of a float and its precision where the format gives none.
fn float_verb(verb: char) -> Option<(u8, Option<usize>)> {
    match verb {
        'v' => Some((b'g', None)),
        'b' | 'g' | 'G' | 'x' | 'X' => Some((verb as u8, None)),
        'f' | 'e' | 'E' => Some((verb as u8, Some(6))),
        'F' => Some((b'f', Some(6))),
        _ => None,
    }
}

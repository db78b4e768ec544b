//! How far a Go slice reaches beyond its length after it was appended to.
//!
//! `slice` may extend a list up to its capacity, so the capacity can be seen: `slice (compact (list 1 2 3)) 0 4` has
//! four elements under Go.

use crate::value::{List, Type, Value};

/// The sizes Go's allocator hands out.
const CLASSES: [usize; 67] = [
    8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320, 352, 384, 416, 448, 480,
    512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792, 2048, 2304, 2688, 3072, 3200, 3456, 4096, 4864,
    5376, 6144, 6528, 6784, 6912, 8192, 9472, 9728, 10240, 10880, 12288, 13568, 14336, 16384, 18432, 19072, 20480,
    21760, 24576, 27264, 28672, 32768,
];

const PAGE: usize = 8192;

fn allocated(size: usize, has_pointers: bool) -> usize {
    let header = if has_pointers && size > 512 { 8 } else { 0 };
    match CLASSES.iter().find(|class| **class >= size + header) {
        Some(class) if size + header <= CLASSES[66] - 8 || header == 0 => class - header,
        _ => size.next_multiple_of(PAGE),
    }
}

/// The capacity after appending to a slice so that it needs room for `needed` elements.
fn grown(capacity: usize, needed: usize, elem: &Type) -> usize {
    let wanted = match capacity {
        capacity if needed > capacity * 2 => needed,
        ..256 => capacity * 2,
        _ => {
            let mut wanted = capacity;
            while wanted < needed {
                wanted += (wanted + 3 * 256) / 4;
            }
            wanted
        }
    };
    match elem {
        Type::Int(_) => allocated(wanted * 8, false) / 8,
        _ => allocated(wanted * 16, true) / 16,
    }
}

fn zero(elem: &Type) -> Value {
    match elem {
        Type::Int(kind) => Value::Int(*kind, 0),
        Type::String => Value::str(""),
        _ => Value::Nil,
    }
}

/// A list that was made with a capacity and then appended to one element at a time.
pub(super) fn appended(elem: &'static Type, items: Vec<Value>, made: usize) -> List {
    let mut capacity = made;
    while capacity < items.len() {
        capacity = grown(capacity, capacity + 1, elem);
    }
    with_capacity(elem, items, capacity)
}

/// A list of one element to which all others were appended at once.
pub(super) fn appended_at_once(elem: &'static Type, items: Vec<Value>) -> List {
    let capacity = match items.len() {
        len @ ..=1 => len,
        len => grown(1, len, elem),
    };
    with_capacity(elem, items, capacity)
}

/// A list with room for more elements.
pub(super) fn with_capacity(elem: &'static Type, mut items: Vec<Value>, capacity: usize) -> List {
    let len = items.len();
    items.resize(capacity.max(len), zero(elem));
    let list = List::typed(elem, items);
    list.slice(0, len, capacity).unwrap_or(list)
}

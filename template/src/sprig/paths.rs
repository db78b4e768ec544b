//! Slash-separated paths; those of the operating system are the same here as on any Unix.

use super::args::function;
use crate::{env::Context, error::Failure, function::Function, value::Str};

pub(super) const FUNCTIONS: &[Function] = &[
    function!("base", (string => string), base),
    function!("osBase", (string => string), base),
    function!("dir", (string => string), dir),
    function!("osDir", (string => string), dir),
    function!("clean", (string => string), |_: &mut _, path: &Str| Ok(clean(path))),
    function!("osClean", (string => string), |_: &mut _, path: &Str| Ok(clean(path))),
    function!("ext", (string => string), ext),
    function!("osExt", (string => string), ext),
    function!("isAbs", (string => bool), |_: &mut _, path: &Str| Ok(path.starts_with(b"/"))),
    function!("osIsAbs", (string => bool), |_: &mut _, path: &Str| Ok(path.starts_with(b"/"))),
];

fn base(_: &mut Context<'_, '_>, path: &Str) -> Result<Vec<u8>, Failure> {
    if path.is_empty() {
        return Ok(b".".to_vec());
    }
    Ok(match path.iter().rposition(|byte| *byte != b'/') {
        None => b"/".to_vec(),
        Some(end) => path[..=end].rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec(),
    })
}

fn dir(_: &mut Context<'_, '_>, path: &Str) -> Result<Vec<u8>, Failure> {
    let end = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    Ok(clean(&path[..end]))
}

fn ext(_: &mut Context<'_, '_>, path: &Str) -> Result<Vec<u8>, Failure> {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    Ok(match name.iter().rposition(|byte| *byte == b'.') {
        Some(dot) => name[dot..].to_vec(),
        None => Vec::new(),
    })
}

/// The shortest path to the same place: no `.`, no doubled slashes, `..` only at the start of a relative path.
fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match parts.last() {
                Some(last) if *last != b".." => {
                    parts.pop();
                }
                None if rooted => {}
                _ => parts.push(part),
            },
            _ => parts.push(part),
        }
    }
    let joined = parts.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (path, cleaned) in
            [("", "."), ("a/../../b", "../b"), ("/../a//b/.", "/a/b"), ("../..", "../.."), ("a/..", "."), ("/..", "/")]
        {
            assert_eq!(clean(path.as_bytes()), cleaned.as_bytes(), "{path}");
        }
    }
}

//! Files that are written whole: who reads one meanwhile, or after a kill, finds the old one or the new one.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use keyferry_crds::document;
use serde_json::Value;

/// Writes a file in place of the one that is there. A link stays one: what it leads to is replaced. What is no file, such as a
/// terminal, is written to.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let before = match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return fs::write(path, text),
        Ok(metadata) => Some(metadata.permissions()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".keyferry-{}", std::process::id()));
    let new = path.with_file_name(name);
    // Somebody else's of that name is neither written over nor followed.
    let mut file = OpenOptions::new().write(true).create_new(true).open(&new)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| before.map_or(Ok(()), |before| file.set_permissions(before)))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// Writes new manifests to a file, or to `out` where there is none; the error, for a person, is that they are not written. A file is
/// not where something could not be read: it may hold what came of that before. Nor is one that was read.
pub fn manifests(
    file: Option<&Path>,
    all: &[Value],
    (has_failed, inputs): (bool, &[PathBuf]),
    out: &mut dyn Write,
) -> Result<(), String> {
    let text: String = all.iter().map(|manifest| format!("---\n{}", document(manifest))).collect();
    let Some(file) = file else {
        return out
            .write_all(text.as_bytes())
            .map_err(|error| format!("the new manifests can't be written: {}", error.kind()));
    };
    let name = file.display();
    if is_among(file, inputs) {
        return Err(format!("nothing was written: {name} is one of the old manifests; name another file by --out"));
    }
    if has_failed {
        return Err(format!("nothing was written to {name}, since not all could be read"));
    }
    replace(file, &text).map_err(|error| format!("{name} can't be written: {}", error.kind()))
}

/// Whether a file is one of these, however they are named.
pub fn is_among<'a>(path: &Path, files: impl IntoIterator<Item = &'a PathBuf>) -> bool {
    let Ok(path) = fs::canonicalize(path) else { return false };
    files.into_iter().any(|file| fs::canonicalize(file).is_ok_and(|file| file == path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        replace(&at("new"), "1").unwrap();
        fs::set_permissions(at("new"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("new", at("link")).unwrap();
        replace(&at("link"), "2").unwrap();
        assert!(at("link").is_symlink() && fs::read_to_string(at("new")).unwrap() == "2");
        assert_eq!(fs::metadata(at("new")).unwrap().permissions().mode() & 0o777, 0o640);
        // What somebody laid in the way is not written through.
        fs::write(at("theirs"), "theirs").unwrap();
        let way = format!(".new.keyferry-{}", std::process::id());
        symlink("theirs", at(&way)).unwrap();
        assert!(replace(&at("new"), "3").is_err());
        assert_eq!(["new", "theirs"].map(|name| fs::read_to_string(at(name)).unwrap()), ["2", "theirs"]);
        fs::remove_file(at(&way)).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing is left behind");
        // A pipe stays one.
        let (reader, writer) = io::pipe().unwrap();
        let named = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
        replace(Path::new(&named), "4").unwrap();
        drop(writer);
        assert_eq!(io::read_to_string(reader).unwrap(), "4");
    }

    #[test]
    fn a_file_is_known_by_all_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a"), "").unwrap();
        fs::create_dir(at("in")).unwrap();
        symlink("a", at("b")).unwrap();
        assert!(is_among(&at("b"), [&at("a")]) && is_among(&at("a"), [&at("in/../b")]));
        assert!(!is_among(&at("c"), [&at("a")]) && !is_among(&at("a"), [&at("c")]));
    }
}

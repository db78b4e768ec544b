//! Tar as POSIX has it (ustar), as far as images need it: folders, files and symbolic links of root, of no time.

use anyhow::{Result, anyhow};

const BLOCK: usize = 512;
const NAME: usize = 100;
const PREFIX: usize = 155;

/// What an entry is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind<'a> {
    Folder,
    File(&'a [u8]),
    Link(&'a str),
}

/// An archive that grows.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    /// Adds an entry. `path` is relative, without a slash at its end.
    pub fn add(&mut self, path: &str, mode: u32, kind: Kind<'_>) -> Result<()> {
        let (flag, content, target) = match kind {
            Kind::File(content) => (b'0', content, ""),
            Kind::Link(target) => (b'2', &[][..], target),
            Kind::Folder => (b'5', &[][..], ""),
        };
        let header = header(path, mode, flag, content.len(), target)?;
        self.bytes.extend(header);
        self.bytes.extend(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        Ok(())
    }

    /// The archive, with the two empty blocks at its end.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }
}

fn header(path: &str, mode: u32, flag: u8, size: usize, target: &str) -> Result<[u8; BLOCK]> {
    let (prefix, name) = split(path).ok_or_else(|| anyhow!("{path} is too long a path for an archive"))?;
    if target.len() > NAME {
        return Err(anyhow!("{target} is too long a target for the link {path}"));
    }
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    // User, group and time.
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, b"00000000000");
    // The checksum counts itself as blanks.
    put(148, b"        ");
    put(156, &[flag]);
    put(157, target.as_bytes());
    put(257, b"ustar\x0000");
    put(345, prefix.as_bytes());
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

/// A path that is too long for one field goes into two, at a slash.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.len() <= NAME {
        return Some(("", path));
    }
    let slashes = path.match_indices('/').map(|(at, _)| (&path[..at], &path[at + 1..]));
    slashes.into_iter().find(|(prefix, name)| prefix.len() <= PREFIX && (1..=NAME).contains(&name.len()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_machines_own_tar_reads_it() {
        let long = format!("{}/{}", "d".repeat(90), "f".repeat(60));
        let mut archive = Archive::default();
        archive.add("tmp", 0o1777, Kind::Folder).unwrap();
        archive.add("etc/motto", 0o640, Kind::File(b"hello")).unwrap();
        archive.add(&long, 0o644, Kind::File(&[7; 513])).unwrap();
        archive.add("bin/sh", 0o777, Kind::Link("/bin/busybox")).unwrap();
        let mut tar = Command::new("tar")
            .args(["--list", "--verbose", "--numeric-owner", "--file=-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&archive.finish()).unwrap();
        let output = tar.wait_with_output().unwrap();
        assert!(output.status.success());
        let listed = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = listed.lines().collect();
        assert_eq!(lines.len(), 4, "{listed}");
        assert!(lines[0].starts_with("drwxrwxrwt 0/0") && lines[0].ends_with("tmp"), "{listed}");
        assert!(lines[1].starts_with("-rw-r----- 0/0") && lines[1].contains(" 5 "), "{listed}");
        assert!(lines[2].contains(" 513 ") && lines[2].ends_with(&long), "{listed}");
        assert!(lines[3].starts_with("lrwxrwxrwx") && lines[3].ends_with("bin/sh -> /bin/busybox"), "{listed}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut archive = Archive::default();
        let error = archive.add(&"n".repeat(101), 0o644, Kind::Folder).unwrap_err();
        assert!(error.to_string().contains("too long a path"), "{error}");
        let error = archive.add("link", 0o777, Kind::Link(&"t".repeat(101))).unwrap_err();
        assert!(error.to_string().contains("too long a target"), "{error}");
    }
}

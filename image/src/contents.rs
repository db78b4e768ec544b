//! What is in the image of keyferry: the program, the libraries that it is linked to, the authorities that stores'
//! certificates are checked by, and one user.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow};

use crate::oci::Image;

/// Where the program is.
pub const PROGRAM: &str = "/usr/local/bin/keyferry";

/// Who it is started as: `nonroot` of images that have no root, by number.
pub const USER: &str = "65532:65532";

/// Where Debian's `ca-certificates` has them, and where the program looks.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The image of a built `keyferry`.
pub fn keyferry(name: &str, program: &Path) -> Result<Image> {
    let mut image = Image::new(name)
        .file(PROGRAM, 0o755, program)?
        .file(AUTHORITIES, 0o644, Path::new(AUTHORITIES))
        .context("install Debian's `ca-certificates`")?
        .bytes("/etc/passwd", 0o644, "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n")
        .bytes("/etc/group", 0o644, "root:x:0:\nnonroot:x:65532:\n")
        .entrypoint(&[PROGRAM])
        .user(USER)
        .label("org.opencontainers.image.title", "keyferry")
        .label("org.opencontainers.image.version", env!("CARGO_PKG_VERSION"))
        .label("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE"))
        .label("org.opencontainers.image.source", env!("CARGO_PKG_REPOSITORY"));
    for library in libraries(program)? {
        let path = library.to_str().ok_or_else(|| anyhow!("{} is no path for an image", library.display()))?;
        image = image.file(path, 0o755, &library)?;
    }
    Ok(image)
}

/// The libraries that the machine's loader would load for a program, and the loader itself.
pub fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() { loaded(&said) } else { Err(anyhow!("ldd can't read {}", program.display())) }
}

/// `name => path (address)`, `path (address)` for the loader, and `name (address)` for what the kernel brings.
fn loaded(said: &str) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for line in said.lines().map(str::trim).filter(|line| *line != "statically linked") {
        let (name, found) = line.split_once(" => ").unwrap_or((line, line));
        let path = found.split(" (").next().unwrap_or(found);
        if path.starts_with('/') {
            paths.push(PathBuf::from(path));
        } else if found != line {
            return Err(anyhow!("the library {name} is not on this machine"));
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_what_the_loader_names() {
        let said =
            "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/libc.so.6 (0x2)\n\t/lib64/ld-linux-x86-64.so.2 (0x3)\n";
        assert_eq!(loaded(said).unwrap(), [Path::new("/lib/libc.so.6"), Path::new("/lib64/ld-linux-x86-64.so.2")]);
        assert_eq!(loaded("\tstatically linked\n").unwrap(), [] as [&Path; 0]);
        let error = loaded("\tlibodd.so.1 => not found\n").unwrap_err();
        assert!(error.to_string().contains("libodd.so.1"), "{error}");
    }

    #[test]
    fn a_linked_program_brings_its_loader() {
        let names = libraries(&std::env::current_exe().unwrap()).unwrap();
        let has = |part: &str| names.iter().any(|path| path.to_string_lossy().contains(part));
        assert!(has("/libc.so") && has("/ld-linux"), "{names:?}");
    }

    /// What the Dockerfile says again must be the same.
    #[test]
    fn the_dockerfile_says_the_same() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
        let dockerfile = read("Dockerfile");
        for line in [format!("USER {USER}"), format!("ENTRYPOINT [\"{PROGRAM}\"]")] {
            assert!(dockerfile.lines().any(|found| found == line), "the Dockerfile lacks {line}");
        }
        let toolchain = read("rust-toolchain.toml");
        let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
        assert!(dockerfile.contains(&format!("FROM rust:{channel}-")), "the Dockerfile builds with another Rust");
    }
}

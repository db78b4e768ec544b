//! Finds a program of this workspace, and builds it when it is absent or older than
//! its sources: a test against yesterday's program proves nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, anyhow};

use crate::install::workspace_root;

/// The program `name` of `package`: where the variable `env` says, or beside the
/// running program in the target folder.
pub(crate) fn find(package: &str, name: &str, env: &str) -> Result<PathBuf> {
    match std::env::var_os(env).filter(|path| !path.is_empty()) {
        Some(path) => Ok(PathBuf::from(path)),
        None => {
            let folder = profile_folder()?;
            let program = folder.join(name);
            if is_current(&program) {
                Ok(program)
            } else {
                build(package, name, &folder)?;
                Ok(program)
            }
        }
    }
}

/// `target/debug`, say: tests run from `deps` below it, examples from `examples`.
fn profile_folder() -> Result<PathBuf> {
    let running = std::env::current_exe().context("cannot tell which program is running")?;
    let folder = running.ancestors().skip(1).find(|folder| {
        let name = folder.file_name().unwrap_or_default();
        name != "deps" && name != "examples"
    });
    let folder = folder.ok_or_else(|| anyhow!("{} lies nowhere", running.display()))?;
    Ok(folder.to_owned())
}

/// Cargo lists beside each program the sources that it was made of.
fn is_current(program: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|data| data.modified());
    let is_older = |built: SystemTime, source: &Path| {
        // A source that is gone was needed once: build again.
        modified(source).map_or(true, |changed| changed > built)
    };
    let sources = fs::read_to_string(program.with_extension("d"));
    match (modified(program), sources) {
        (Ok(built), Ok(sources)) => !listed(&sources).iter().any(|s| is_older(built, s)),
        _ => false,
    }
}

/// The paths after the colon of a makefile rule; spaces in them are escaped.
fn listed(rule: &str) -> Vec<PathBuf> {
    let (_, sources) = rule.split_once(": ").unwrap_or_default();
    sources
        .trim()
        .replace("\\ ", "\0")
        .split(' ')
        .filter(|path| !path.is_empty())
        .map(|path| PathBuf::from(path.replace('\0', " ")))
        .collect()
}

fn build(package: &str, name: &str, folder: &Path) -> Result<()> {
    let profile = folder.file_name().unwrap_or_default().to_string_lossy();
    // The profile `dev` writes to the folder `debug`, every other one to its own name.
    let profile = profile.replace("debug", "dev");
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(workspace_root()?)
        .args(["build", "--quiet", "--package", package, "--bin", name])
        .args(["--profile", &profile])
        .output()
        .context("cannot run cargo")?;
    if output.status.success() && folder.join(name).is_file() {
        Ok(())
    } else {
        Err(anyhow!(
            "cannot build {name}: `cargo build --package {package} --bin {name}` says:\n{}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_makefile_rule_is_read() {
        let rule = "/t/debug/testbed: /w/a.rs /w/with\\ space/b.rs\n";
        let expected = [Path::new("/w/a.rs"), Path::new("/w/with space/b.rs")];
        assert_eq!(listed(rule), expected);
    }

    #[test]
    fn a_program_older_than_a_source_is_not_current() {
        let dir = tempfile::tempdir().unwrap();
        let (program, source) = (dir.path().join("p"), dir.path().join("s.rs"));
        let rule = format!("{}: {}\n", program.display(), source.display());
        fs::write(dir.path().join("p.d"), rule).unwrap();
        fs::write(&source, "").unwrap();
        assert!(!is_current(&program), "absent");
        fs::write(&program, "").unwrap();
        assert!(is_current(&program));
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        fs::File::options().write(true).open(&source).unwrap().set_modified(later).unwrap();
        assert!(!is_current(&program), "older than its source");
    }
}

//! What npm installs: axe-core, which looks at a page for those who can't see it. It is a script for the page, and nothing of it runs here.

use std::fs;
use std::process::Command;

use super::cache::Artifact;

const PACKAGE: &str = include_str!("../../../tools/axe/package.json");
const LOCK: &str = include_str!("../../../tools/axe/package-lock.json");

/// The script, inside of the folder.
pub(super) const AXE: &str = "node_modules/axe-core/axe.min.js";

pub(super) fn axe() -> Artifact {
    Artifact {
        title: format!("axe-core {}", pinned("axe-core")),
        inputs: LOCK.into(),
        contains: vec![AXE.into()],
        make: Box::new(|folder, progress| {
            fs::write(folder.join("package.json"), PACKAGE)?;
            fs::write(folder.join("package-lock.json"), LOCK)?;
            let mut npm = Command::new("npm");
            npm.current_dir(folder).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
            let hint = "install Node with npm";
            progress.run("installing it", hint, npm, &folder.join("install.log"), |_| String::new())
        }),
    }
}

/// The version of a package that `package.json` names.
fn pinned(package: &str) -> &'static str {
    let line = PACKAGE.lines().find_map(|line| line.trim().strip_prefix(&format!("\"{package}\": \"")));
    line.and_then(|rest| rest.split('"').next()).unwrap_or("of-unknown-version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_one_and_what_is_installed_is_told_by_its_hash() {
        let version = pinned("axe-core");
        assert!(version.split('.').all(|part| part.parse::<u32>().is_ok()), "{version}");
        assert!(LOCK.contains(&format!("\"version\": \"{version}\"")) && LOCK.contains("\"integrity\": \"sha512-"));
    }
}

use super::*;

const OLD: &str = "apiVersion: external-secrets.io/v1beta1\nkind: ExternalSecret\n";
const NEW: &str = "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\n";

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &[u8])]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = folder.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    /// How it ended, what it said with the folder cut off, and its errors.
    fn run(&self, write: bool) -> (Stand, Vec<String>, String) {
        let args = Manifests { paths: vec![self.0.path().to_owned()], write };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let stand = run(&args, &mut out, &mut err).unwrap();
        let folder = format!("{}/", self.0.path().display());
        let out = String::from_utf8(out).unwrap().replace(&folder, "");
        (stand, out.lines().map(str::to_owned).collect(), String::from_utf8(err).unwrap())
    }
}

#[test]
fn a_dry_run_changes_nothing_and_lists_files_and_lines() {
    let folder = Folder::with(&[
        ("b/app.yaml", OLD.as_bytes()),
        ("a.yml", NEW.as_bytes()),
        (".git/config.yaml", OLD.as_bytes()),
        ("chart.tgz", b"\x1f\x8bexternal-secrets.io/v1beta1\xff"),
    ]);
    let (stand, said, err) = folder.run(false);
    assert_eq!(
        said,
        ["b/app.yaml:1: ExternalSecret: v1beta1 would be v1", "Run again with --write to change 1 place in 1 file."]
    );
    assert_eq!((stand, err.as_str()), (Stand::Left, ""));
    assert_eq!(folder.read("b/app.yaml"), OLD);

    let (stand, said, _) = folder.run(true);
    assert_eq!(said, ["b/app.yaml:1: ExternalSecret: v1beta1 is now v1", "Changed: 1 place in 1 file."]);
    assert_eq!(stand, Stand::Clear);
    assert_eq!((folder.read("b/app.yaml").as_str(), folder.read(".git/config.yaml").as_str()), (NEW, OLD));
    assert_eq!(fs::read_dir(folder.0.path().join("b")).unwrap().count(), 1, "nothing is left beside it");
    assert_eq!(folder.run(true), (Stand::Clear, vec!["No manifest says an old version.".to_owned()], String::new()));
}

#[test]
fn what_is_left_alone_is_told_and_is_no_success() {
    let folder = Folder::with(&[
        ("main.tf", b"api_version = \"external-secrets.io/v1beta1\"\n"),
        ("odd.yaml", b"apiVersion: external-secrets.io/v1beta1\nkind: {{ .kind }}\n"),
    ]);
    for write in [false, true] {
        let (stand, said, _) = folder.run(write);
        assert_eq!(stand, Stand::Left);
        assert_eq!(
            said,
            [
                "main.tf:1: left alone: it is no file of manifests by its name",
                "odd.yaml:1: left alone: a template chooses its kind",
                "Left alone, to be looked at by hand: 2 places.",
            ]
        );
    }
}

#[cfg(unix)]
#[test]
fn links_are_not_followed_and_permissions_stay() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let elsewhere = Folder::with(&[("app.yaml", OLD.as_bytes())]);
    let folder = Folder::with(&[("app.yaml", OLD.as_bytes())]);
    symlink(elsewhere.0.path(), folder.0.path().join("link")).unwrap();
    symlink(folder.0.path(), folder.0.path().join("loop")).unwrap();
    let file = folder.0.path().join("app.yaml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(folder.run(true).0, Stand::Clear);
    assert_eq!((folder.read("app.yaml").as_str(), elsewhere.read("app.yaml").as_str()), (NEW, OLD));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn what_is_not_there_is_said() {
    let args = Manifests { paths: vec![PathBuf::from("/nowhere/at/all")], write: false };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    assert_eq!(run(&args, &mut out, &mut err).unwrap(), Stand::Failed);
    assert!(String::from_utf8(err).unwrap().starts_with("/nowhere/at/all: "));
}

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use keyferry_provider_core::SecretBytes;

use super::*;
use crate::contents::Data;

fn data(values: &[(&str, &str)]) -> Data {
    values.iter().map(|(name, value)| ((*name).to_owned(), SecretBytes::from(*value))).collect()
}

fn files(values: &[(&str, &str)]) -> Contents {
    Contents::folder(data(values)).unwrap()
}

fn place(name: &str) -> Place {
    Place { folder: None, name: name.to_owned() }
}

fn root(folder: &Path) -> Root {
    Root::open(folder, Access::default()).unwrap()
}

fn write(root: &Root, name: &str, wanted: &Contents, is_known: bool) -> Result<Change, Problem> {
    Target { root, place: &place(name), access: Access::default() }.write(wanted, is_known, || Ok(()))
}

/// What whoever opens files by their names sees; names that lead nowhere are not there.
fn seen(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let name = |entry: &fs::DirEntry| entry.file_name().into_string().unwrap();
    let visible = entries.filter(|entry| !name(entry).starts_with(".."));
    visible.filter_map(|entry| Some((name(&entry), fs::read_to_string(entry.path()).ok()?))).collect()
}

/// Every entry with its inode and time of change: what any write would move.
fn stamps(folder: &Path) -> Vec<(String, u64, i64, i64)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let stat = entry.path().symlink_metadata().unwrap();
        all.push((entry.path().display().to_string(), stat.ino(), stat.mtime(), stat.mtime_nsec()));
        if stat.is_dir() {
            all.extend(stamps(&entry.path()));
        }
    }
    all.sort();
    all
}

#[test]
fn a_folder_is_swapped_and_written_only_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (root, app) = (root(folder.path()), folder.path().join("app"));
    assert_eq!(write(&root, "app", &files(&[("a", "1"), ("b", "2")]), false).unwrap(), Change::Created);
    assert_eq!(seen(&app), [("a".into(), "1".into()), ("b".into(), "2".into())].into());
    let before = stamps(folder.path());
    assert_eq!(write(&root, "app", &files(&[("a", "1"), ("b", "2")]), false).unwrap(), Change::Nothing);
    assert_eq!(stamps(folder.path()), before);
    assert_eq!(write(&root, "app", &files(&[("b", "3"), ("c", "4")]), false).unwrap(), Change::Updated);
    assert_eq!(seen(&app), [("b".into(), "3".into()), ("c".into(), "4".into())].into());
    let names = fs::read_dir(&app).unwrap().count();
    assert_eq!(names, 4, "two links, one to the data, one version");
}

#[test]
fn modes_are_those_asked_for_whatever_the_umask() {
    let folder = tempfile::tempdir().unwrap();
    let root = root(folder.path());
    let mode = |path: &str| fs::symlink_metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o7777;
    let (app, one) = (place("app"), place("one.json"));
    for (access, file, around) in
        [(Access::default(), 0o600, 0o700), (Access { mode: 0o640, ..Access::default() }, 0o640, 0o750)]
    {
        let target = Target { root: &root, place: &app, access };
        target.write(&files(&[("a", "1")]), false, || Ok(())).unwrap();
        let version = fs::read_link(folder.path().join("app/..data")).unwrap();
        let version = format!("app/{}", version.display());
        assert_eq!((mode(&format!("{version}/a")), mode(&version), mode("app")), (file, around, around));
        Target { place: &one, ..target }.write(&Contents::File(SecretBytes::from("{}")), true, || Ok(())).unwrap();
        assert_eq!(mode("one.json"), file);
    }
    assert_eq!(mode(".keyferry"), 0o700);
    let target = Target { root: &root, place: &app, access: Access::default() };
    assert_eq!(
        target.write(&files(&[("a", "1")]), false, || Ok(())).unwrap(),
        Change::Nothing,
        "modes alone change nothing"
    );
    assert_eq!(mode("app"), 0o700);
}

#[test]
fn what_somebody_else_put_there_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let root = root(folder.path());
    fs::create_dir(folder.path().join("theirs")).unwrap();
    fs::write(folder.path().join("theirs/a"), "own").unwrap();
    fs::write(folder.path().join("file"), "own").unwrap();
    fs::create_dir(folder.path().join("elsewhere")).unwrap();
    symlink("elsewhere", folder.path().join("link")).unwrap();
    for name in ["theirs", "file", "link"] {
        let problem = write(&root, name, &files(&[("a", "canary")]), false).unwrap_err().to_string();
        assert!(!problem.contains("canary"), "{problem}");
        assert!(problem.contains("move it away") || problem.contains("symbolic link"), "{problem}");
    }
    assert_eq!(seen(&folder.path().join("theirs")), [("a".into(), "own".into())].into());
    assert_eq!(fs::read_dir(folder.path().join("elsewhere")).unwrap().count(), 0);
    let file = Contents::File(SecretBytes::from("new"));
    assert!(write(&root, "file", &file, false).is_err());
    assert_eq!(write(&root, "file", &file, true).unwrap(), Change::Updated, "it is known to be ours");
    assert_eq!(write(&root, "file", &file, true).unwrap(), Change::Nothing, "it holds that already");
    assert!(write(&root, "file", &file, false).is_err(), "the same in it does not make it ours");
}

#[test]
fn a_file_with_another_name_is_not_opened_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let root = root(folder.path());
    let (file, one) = (Contents::File(SecretBytes::from("A=1")), place("one.env"));
    write(&root, "one.env", &file, false).unwrap();
    fs::hard_link(folder.path().join("one.env"), folder.path().join("other")).unwrap();
    let open = Target { root: &root, place: &one, access: Access { mode: 0o644, ..Access::default() } };
    let problem = open.write(&file, true, || Ok(())).unwrap_err().to_string();
    assert!(problem.contains("hard links"), "{problem}");
    assert_eq!(fs::metadata(folder.path().join("other")).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn what_is_larger_than_any_of_ours_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let root = root(folder.path());
    // Only its size is large: the disk holds nothing of it.
    fs::File::create(folder.path().join("one.env")).unwrap().set_len(1 << 40).unwrap();
    let file = Contents::File(SecretBytes::from("A=1"));
    assert!(write(&root, "one.env", &file, false).is_err());
    assert_eq!(write(&root, "one.env", &file, true).unwrap(), Change::Updated);
    let large = Contents::File(SecretBytes::new(vec![b'a'; at::LARGEST + 1]));
    let problem = write(&root, "one.env", &large, true).unwrap_err().to_string();
    assert!(problem.contains("larger than 16 MiB"), "{problem}");
}

#[test]
fn what_was_edited_is_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let (root, app) = (root(folder.path()), folder.path().join("app"));
    let wanted = files(&[("a", "1"), ("b", "2")]);
    let whole = [("a".into(), "1".into()), ("b".into(), "2".into())].into();
    write(&root, "app", &wanted, false).unwrap();
    let version = app.join(fs::read_link(app.join("..data")).unwrap());
    let edits: [(&str, &dyn Fn()); 6] = [
        ("a value", &|| fs::write(app.join("a"), "x").unwrap()),
        ("a file is gone", &|| fs::remove_file(fs::canonicalize(app.join("a")).unwrap()).unwrap()),
        ("a link is gone", &|| fs::remove_file(app.join("a")).unwrap()),
        ("a file in place of a link", &|| {
            fs::remove_file(app.join("a")).unwrap();
            fs::write(app.join("a"), "x").unwrap();
        }),
        ("a file beside", &|| fs::write(fs::canonicalize(app.join("..data")).unwrap().join("z"), "x").unwrap()),
        ("the link to all", &|| fs::remove_file(app.join("..data")).unwrap()),
    ];
    for (what, edit) in edits {
        edit();
        write(&root, "app", &wanted, true).unwrap();
        assert_eq!(seen(&app), whole, "{what}");
        assert_eq!(write(&root, "app", &wanted, true).unwrap(), Change::Nothing, "{what}");
    }
    drop(version);
}

#[test]
fn what_a_killed_writer_left_is_cleared() {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app");
    let wanted = files(&[("a", "1")]);
    write(&root(folder.path()), "app", &wanted, false).unwrap();
    fs::create_dir(app.join("..data-9")).unwrap();
    fs::write(app.join("..data-9/a"), "half").unwrap();
    symlink("..data-9", app.join("..link")).unwrap();
    symlink("..data/new", app.join("new")).unwrap();
    fs::write(folder.path().join(".keyferry/new/x.json"), "half").unwrap();
    let root = root(folder.path());
    assert_eq!(write(&root, "app", &wanted, false).unwrap(), Change::Nothing);
    assert_eq!(fs::read_dir(&app).unwrap().count(), 3);
    assert_eq!(fs::read_dir(folder.path().join(".keyferry/new")).unwrap().count(), 0);
    // Killed before the first swap: it is as if it had never begun.
    fs::create_dir_all(folder.path().join("b/..data-1")).unwrap();
    symlink("..data/a", folder.path().join("b/a")).unwrap();
    write(&root, "b", &wanted, false).unwrap();
    assert_eq!(seen(&folder.path().join("b")), [("a".into(), "1".into())].into());
}

#[test]
fn what_is_removed_leaves_what_is_not_ours() {
    let folder = tempfile::tempdir().unwrap();
    let root = root(folder.path());
    for name in ["app", "shared"] {
        write(&root, name, &files(&[("a", "1")]), false).unwrap();
    }
    fs::write(folder.path().join("shared/notes"), "own").unwrap();
    write(&root, "one.env", &Contents::File(SecretBytes::from("A=1")), false).unwrap();
    for name in ["app", "shared", "one.env"] {
        let (place, access) = (place(name), Access::default());
        let target = Target { root: &root, place: &place, access };
        assert!(target.remove().unwrap(), "{name}");
        assert!(name == "shared" || !target.remove().unwrap(), "{name}");
    }
    assert!(!folder.path().join("app").exists() && !folder.path().join("one.env").exists());
    assert_eq!(seen(&folder.path().join("shared")), [("notes".into(), "own".into())].into());
}

#[test]
fn one_writes_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = root(folder.path());
    let problem = Root::open(folder.path(), Access::default()).err().unwrap().to_string();
    assert!(problem.contains("another keyferry writes there now"), "{problem}");
    drop(first);
    root(folder.path());
}

#[test]
fn places_are_known_by_their_marks() {
    let folder = tempfile::tempdir().unwrap();
    let root = root(folder.path());
    let place = Place { folder: Some("team".into()), name: "app.env".into() };
    root.set_mark(&place.mark(), b"{}").unwrap();
    let marks = root.marks().unwrap();
    assert_eq!(marks.iter().map(|mark| Place::of_mark(mark)).collect::<Vec<_>>(), [Some(place.clone())]);
    assert_eq!(root.mark(&place.mark()).unwrap().as_deref(), Some(&b"{}"[..]));
    let target = Target { root: &root, place: &place, access: Access::default() };
    target.write(&Contents::File(SecretBytes::from("A=1")), true, || Ok(())).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("team/app.env")).unwrap(), "A=1");
    root.forget(&place.mark()).unwrap();
    assert!(root.marks().unwrap().is_empty());
}

#[test]
fn marks_that_lead_elsewhere_are_no_places() {
    for wrong in [
        "..%victim",
        "victim%..",
        ".%a",
        "%a",
        "a%",
        "%",
        "",
        "..",
        ".",
        ".keyferry%lock",
        ".keyferry",
        "a%b%c",
        "a/b",
        "a%b/c",
    ] {
        assert_eq!(Place::of_mark(wrong), None, "{wrong}");
    }
    for place in [place("app"), place("app.env"), Place { folder: Some("team".into()), name: "app".into() }] {
        assert_eq!(Place::of_mark(&place.mark()), Some(place));
    }
}

#[test]
fn what_others_wrote_down_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    drop(root(folder.path()));
    fs::set_permissions(folder.path().join(".keyferry/marks"), fs::Permissions::from_mode(0o777)).unwrap();
    drop(root(folder.path()));
    let mode = folder.path().join(".keyferry/marks").metadata().unwrap().mode();
    assert_eq!(mode & 0o7777, 0o700, "nobody else writes there");
    for name in [".keyferry/marks", ".keyferry"] {
        // Only root may give a folder away.
        if std::os::unix::fs::chown(folder.path().join(name), Some(12345), None).is_err() {
            return;
        }
        let problem = Root::open(folder.path(), Access::default()).err().unwrap().to_string();
        assert!(problem.contains(&format!("{name} belongs to another user (of number 12345)")), "{problem}");
    }
}

/// Mode and owner of a folder.
fn around(path: &Path) -> (u32, u32) {
    let stat = fs::metadata(path).unwrap();
    (stat.mode() & 0o7777, stat.uid())
}

#[test]
fn folders_of_ours_are_for_whom_files_are_for_now() {
    let outside = tempfile::tempdir().unwrap();
    let folder = outside.path().join("out");
    let place = Place { folder: Some("team".into()), name: "app".into() };
    let us = rustix::process::geteuid().as_raw();
    let all = Access { mode: 0o644, ..Access::default() };
    let app = Access { mode: 0o640, uid: Some(12345), gid: Some(12346) };
    for (access, mode, owner) in [(Access::default(), 0o700, us), (all, 0o755, us), (app, 0o750, 12345)] {
        if access == app && us != 0 {
            continue;
        }
        let root = Root::open(&folder, access).unwrap();
        let target = Target { root: &root, place: &place, access };
        // The first time alone it is written.
        target.write(&files(&[("a", "1")]), true, || Ok(())).unwrap();
        for path in [folder.clone(), folder.join("team"), folder.join("team/app")] {
            assert_eq!(around(&path), (mode, owner), "{}", path.display());
        }
        assert_eq!(around(&folder.join(".keyferry")), (0o700, us));
        assert_eq!((root.is_barred(None), root.is_barred(Some("team"))), (None, None));
    }
}

#[test]
fn a_writer_that_is_killed_has_its_folders_granted_by_the_next() {
    let outside = tempfile::tempdir().unwrap();
    let access = Access { mode: 0o644, ..Access::default() };
    // Killed once the folder was there, once ours was in it, and once a folder for targets was made.
    for (n, before) in
        [&[][..], &[".keyferry"], &[".keyferry", ".keyferry/folders", ".keyferry/new"]].iter().enumerate()
    {
        let folder = outside.path().join(n.to_string());
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        before.iter().for_each(|name| fs::create_dir(folder.join(name)).unwrap());
        drop(Root::open(&folder, access).unwrap());
        assert_eq!(around(&folder).0, 0o755);
        fs::write(folder.join(".keyferry/folders/team"), "ours").unwrap();
        fs::create_dir(folder.join("team")).unwrap();
        fs::set_permissions(folder.join("team"), fs::Permissions::from_mode(0o700)).unwrap();
        drop(Root::open(&folder, access).unwrap());
        assert_eq!(around(&folder.join("team")).0, 0o755);
    }
}

#[test]
fn folders_that_were_there_before_stay_as_they_are_and_who_can_not_enter_them_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("team")).unwrap();
    for path in [folder.path().to_owned(), folder.path().join("team")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o710)).unwrap();
    }
    let place = Place { folder: Some("team".into()), name: "app.env".into() };
    let open = Access { mode: 0o644, ..Access::default() };
    let root = Root::open(folder.path(), open).unwrap();
    let target = Target { root: &root, place: &place, access: open };
    target.write(&Contents::File(SecretBytes::from("A=1")), true, || Ok(())).unwrap();
    assert_eq!((around(folder.path()).0, around(&folder.path().join("team")).0), (0o710, 0o710));
    assert_eq!((root.is_barred(None), root.is_barred(Some("team"))), (None, None), "nobody is named");
    drop(root);
    // A user may be of the group; another group is not.
    let us = rustix::process::geteuid().as_raw();
    for (uid, gid, enters) in
        [(Some(12345), None, true), (None, Some(12346), false), (Some(us), None, true), (Some(0), Some(12346), true)]
    {
        let root = Root::open(folder.path(), Access { mode: 0o640, uid, gid }).unwrap();
        for name in [None, Some("team")] {
            let barred = root.is_barred(name);
            assert_eq!(barred.is_none(), enters, "{uid:?} {gid:?} {barred:?}");
            assert!(barred.is_none_or(|told| told.contains("was there before") && told.contains("chown")));
        }
        assert_eq!(root.is_barred(Some("none")), None);
    }
}

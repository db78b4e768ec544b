use std::future::pending;
use std::time::Duration;

use keyferry_documents::keys;

use super::*;
use crate::verbs::keyring::{KEY_FILE, RECIPIENTS_FILE};

const CANARY: &str = "canary-7f3a";

/// A folder with a key in it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (key, recipient) = keys::generate();
    std::fs::write(folder.path().join(KEY_FILE), key.expose()).unwrap();
    std::fs::write(folder.path().join(RECIPIENTS_FILE), recipient).unwrap();
    folder
}

fn edit(file: PathBuf, editor: &str) -> Edit {
    Edit { file, recipients: For::default(), identities: With::default(), editor: editor.to_owned() }
}

/// The last word of what is told, where there is an error.
async fn run(edit: &Edit) -> (Result<(), String>, String) {
    let mut err = Vec::new();
    let came = edit.run(None, &mut err, pending()).await;
    (came, String::from_utf8(err).unwrap())
}

/// An editor that writes this into the file and notes how the file lies there.
fn writes(text: &str, note: &Path) -> String {
    format!(
        "f() {{ stat -c '%a' \"$1\" \"$(dirname \"$1\")\" > {}; dirname \"$1\" >> {0}; printf '%s' '{text}' > \"$1\"; }}; f",
        note.display()
    )
}

#[tokio::test]
async fn a_document_is_made_edited_and_nothing_is_left_behind() {
    let folder = folder();
    let (file, note) = (folder.path().join("secrets.yaml"), folder.path().join("note"));
    let (came, says) = run(&edit(file.clone(), &writes(&format!("a: <age>{CANARY}</age>\n"), &note))).await;
    assert_eq!((came, says.as_str()), (Ok(()), "values that are sealed: 1\n"));
    let sealed = std::fs::read_to_string(&file).unwrap();
    assert!(sealed.starts_with("a: age:") && !sealed.contains(CANARY));
    let told = std::fs::read_to_string(&note).unwrap();
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(&told[..2], ["600", "700"], "nobody else could read it");
    assert!(!Path::new(told[2]).exists(), "the folder of the editor is gone");
    // The same again: the value is shown, and stays what it was.
    let kept = folder.path().join("kept");
    let (came, says) = run(&edit(file.clone(), &format!("f() {{ cp \"$1\" {}; }}; f", kept.display()))).await;
    assert_eq!((came, says.as_str()), (Ok(()), "nothing was changed\n"));
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), format!("a: <age 1>{CANARY}</age>\n"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), sealed);
}

#[tokio::test]
async fn what_goes_wrong_writes_nothing_and_shows_nothing() {
    let folder = folder();
    let (file, note) = (folder.path().join("secrets.yaml"), folder.path().join("note"));
    run(&edit(file.clone(), &writes("a: <age>first</age>\n", &note))).await.0.unwrap();
    let before = std::fs::read(&file).unwrap();
    for (editor, says) in [
        (writes(&format!("a: [<age>{CANARY}</age>"), &note), "it is not YAML"),
        (writes(&format!("a: <age>{CANARY}"), &note), "has no </age>"),
        (writes(&format!("a: {CANARY}"), &note), "nothing is marked to be sealed"),
        ("false".to_owned(), "false failed"),
        ("no-such-editor".to_owned(), "no-such-editor failed"),
    ] {
        let (came, told) = run(&edit(file.clone(), &editor)).await;
        let error = came.unwrap_err();
        assert!(error.contains(says) && error.contains("nothing was written"), "{error}");
        assert!(!error.contains(CANARY) && !told.contains(CANARY));
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }
    let (other, _) = keys::generate();
    std::fs::write(folder.path().join(KEY_FILE), other.expose()).unwrap();
    let error = run(&edit(file.clone(), "true")).await.0.unwrap_err();
    assert!(error.contains("the identity does not open it"), "{error}");
    std::fs::remove_file(folder.path().join(KEY_FILE)).unwrap();
    let error = run(&edit(file.clone(), "true")).await.0.unwrap_err();
    assert!(error.contains("name one by --identity"), "{error}");
    std::fs::remove_file(folder.path().join(RECIPIENTS_FILE)).unwrap();
    let error = run(&edit(file, "true")).await.0.unwrap_err();
    assert!(error.contains("keyferry init"), "{error}");
}

#[tokio::test]
async fn what_somebody_else_wrote_meanwhile_stays_and_fewer_seals_are_told() {
    let folder = folder();
    let (file, note) = (folder.path().join("secrets.yaml"), folder.path().join("note"));
    run(&edit(file.clone(), &writes("a: <age>one</age>\nb: <age>two</age>\n", &note))).await.0.unwrap();
    let (came, says) = run(&edit(file.clone(), &writes("a: <age>one</age>\nb: two\n", &note))).await;
    assert_eq!((came, says.as_str()), (Ok(()), "values that are sealed: 1, 1 fewer than before\n"));
    for other in ["secrets.yaml", "new.yaml"] {
        let file = folder.path().join(other);
        let meanwhile = format!("f() {{ echo theirs > {}; echo 'a: <age>mine</age>' > \"$1\"; }}; f", file.display());
        let error = run(&edit(file.clone(), &meanwhile)).await.0.unwrap_err();
        assert!(error.contains("was changed by somebody else"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "theirs\n");
    }
    let left = std::fs::read_dir(folder.path()).unwrap().flatten();
    let left: Vec<_> = left.filter(|entry| entry.file_name().to_string_lossy().contains(".keyferry-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_mistake_can_be_mended_and_an_end_is_one() {
    let folder = folder();
    let (file, count) = (folder.path().join("secrets.yaml"), folder.path().join("count"));
    let editor = format!(
        "f() {{ if [ -e {0} ]; then echo 'a: <age>b</age>'; else touch {0}; echo 'a: <age>b'; fi > \"$1\"; }}; f",
        count.display()
    );
    let mut err = Vec::new();
    edit(file.clone(), &editor).run(Some(Box::new("\n".as_bytes())), &mut err, pending()).await.unwrap();
    assert!(String::from_utf8(err).unwrap().contains("Enter to edit it again"));
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("a: age:"));
    std::fs::remove_file(&count).unwrap();
    let error = edit(file.clone(), &editor)
        .run(Some(Box::new("q\n".as_bytes())), &mut Vec::new(), pending())
        .await
        .unwrap_err();
    assert!(error.starts_with("given up"), "{error}");
    let note = folder.path().join("place");
    let sleeps = format!("f() {{ dirname \"$1\" > {}; exec sleep 60; }}; f", note.display());
    let end = tokio::time::sleep(Duration::from_millis(500));
    let error = edit(file, &sleeps).run(None, &mut Vec::new(), end).await.unwrap_err();
    assert!(error.starts_with("asked to end"), "{error}");
    assert!(!Path::new(std::fs::read_to_string(&note).unwrap().trim()).exists());
}

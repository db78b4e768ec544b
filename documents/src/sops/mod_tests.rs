//! Against files that `sops` 3.13.3 made.

use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use keyferry_provider_core::ErrorKind;

use super::*;
use crate::envelope::Tries;
use crate::keys::Identities;

const CANARY: &str = "canary-7f3a";

fn data(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/testdata/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn identities(names: &[&str]) -> Identities {
    let mut all = Identities::default();
    names.iter().for_each(|name| all.add(&SecretBytes::new(data(name))).unwrap());
    all
}

/// Keys of age alone: nobody is waited for.
struct OfAge(Identities, Tries);

#[async_trait]
impl Keyring for OfAge {
    async fn unwrap(&mut self, key: &Key) -> Result<SecretBytes, Error> {
        crate::open(key.wrapped.as_bytes(), &self.0, &mut self.1)
    }
}

fn key_of(document: &Encrypted, keys: &[&str]) -> Result<SecretBytes, Error> {
    let mut keyring = OfAge(identities(keys), Tries::default());
    let opening = std::pin::pin!(document.data_key(&mut keyring));
    match opening.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(key) => key,
        Poll::Pending => panic!("nobody is waited for"),
    }
}

fn open_bytes(bytes: &[u8], format: Format, keys: &[&str]) -> Result<SecretBytes, Error> {
    let document = Encrypted::read(bytes, format)?;
    let key = key_of(&document, keys)?;
    document.open(&key)
}

fn open(name: &str, keys: &[&str]) -> Result<String, Error> {
    let format = Format::of_name(name);
    open_bytes(&data(name), format, keys).map(|json| json.expose_str().unwrap().to_owned())
}

const YAML: &str = concat!(
    r#"{"db":{"big":1000000000000000000000,"empty":"","list":["one","canary-two"],"none":null,"password":"canary-7f3a","#,
    r#""port":5432,"ratio":1.5,"since":"2001-12-14T00:00:00Z","tls":true,"user":"app"},"#,
    r#""plain_unencrypted":{"b":true,"f":2.5,"n":15,"yes":"no"}}"#
);

#[test]
fn files_of_sops_open() {
    let json = r#"{"db":{"big":12345678901234567000,"password":"canary-7f3a","port":5432,"tls":false},"plain_unencrypted":{"i":9007199254740993,"n":1.5,"t":"x"}}"#;
    let env = r#"{"LINES":"two\nlines","PASSWORD":"canary-7f3a","Q":"\"quoted\"","USER":"app"}"#;
    let ini = r#"{"DEFAULT":{"root":"top"},"db":{"password":"canary-7f3a","user":"app"},"other":{"key":"x y"}}"#;
    for (name, expected) in
        [("plain.yaml", YAML), ("plain.json", json), ("plain.env", env), ("plain.ini", ini), ("groups.env", env)]
    {
        let keys: &[&str] = if name == "groups.env" { &["one.key", "two.key"] } else { &["one.key"] };
        assert_eq!(open(name, keys).as_deref(), Ok(expected), "{name}");
    }
    let bytes = open_bytes(&data("plain.bin"), Format::Binary, &["one.key"]).unwrap();
    assert!(bytes.expose() == [&[0xff; 100][..], b"canary-7f3a\n"].concat());
}

/// Its documents as they stand between `---`.
fn parts() -> Vec<String> {
    let text = String::from_utf8(data("several.yaml")).unwrap();
    text.split("\n---\n").map(str::to_owned).collect()
}

#[test]
fn several_documents_are_one_file() {
    let parts = parts();
    assert_eq!(parts.len(), 3, "one has nothing but a comment");
    let expected = r#"[{"password":"canary-7f3a","user":"app"},{"list":["canary-two",7]}]"#;
    assert_eq!(open("several.yaml", &["one.key"]).as_deref(), Ok(expected));
    let document = Encrypted::read(&data("several.yaml"), Format::Yaml).unwrap();
    let key = key_of(&document, &["one.key"]).unwrap();
    let each: Vec<_> = document.open_each(&key).unwrap();
    let each: Vec<_> = each.iter().map(|one| one.expose_str().unwrap()).collect();
    assert_eq!(each, [r#"{"password":"canary-7f3a","user":"app"}"#, "{}", r#"{"list":["canary-two",7]}"#]);
}

#[test]
fn a_document_that_was_taken_away_moved_or_added_is_noticed() {
    let parts = parts();
    let [first, empty, last] = [&parts[0], &parts[1], &parts[2]].map(String::as_str);
    let opened = |parts: &[&str]| open_bytes(parts.join("\n---\n").as_bytes(), Format::Yaml, &["one.key"]);
    for changed in [&[first][..], &[last], &[last, empty, first], &[first, last, last]] {
        let error = opened(changed).unwrap_err();
        assert!(error.message().contains("message authentication code does not match"), "{error}");
    }
    let error = opened(&[first, "added: x", last]).unwrap_err();
    assert!(error.message().contains("value \"added\" does not open"), "{error}");
    let error = opened(&[first, "- added", last]).unwrap_err();
    assert!(error.message().contains("is no map"), "{error}");
    // One without values is none of it, as `sops` has it.
    assert!(opened(&[first, last, "# nothing"]).is_ok());
    // Of whom the first says that they may open it may: what others say of that counts for nothing.
    let stripped = last.split_once("\nsops:\n").unwrap().0;
    assert!(opened(&[first, stripped]).is_ok());
    let stripped = first.split_once("\nsops:\n").unwrap().0;
    assert!(opened(&[stripped, last]).unwrap_err().message().contains("not encrypted by SOPS"));
}

#[test]
fn rules_of_what_is_encrypted_hold() {
    // What is not encrypted stands as SOPS wrote it.
    for name in ["regex.yaml", "only.yaml", "comment.yaml"] {
        let opened = open(name, &["one.key"]).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(opened.contains(CANARY) && opened.contains(r#""port":5432"#), "{name}");
        assert_eq!(opened, YAML, "{name}");
    }
}

#[test]
fn as_many_groups_as_must_open() {
    assert_eq!(open("groups.yaml", &["one.key", "two.key"]).as_deref(), Ok(YAML));
    let error = open("groups.yaml", &["one.key"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.message().starts_with("1 of its 2 key groups open, and 2 must: "), "{error}");
    assert_eq!(open("regex.yaml", &["two.key"]).map(|json| json.contains(CANARY)), Ok(true));
    let error = open("plain.yaml", &["two.key"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.message().starts_with("none of its keys opens it: "), "{error}");
}

#[test]
fn a_file_that_was_changed_gives_nothing() {
    let text = |name: &str| String::from_utf8(data(name)).unwrap();
    let changed = |name: &str, from: &str, to: &str| {
        let text = text(name);
        assert!(text.contains(from), "{name} has {from}");
        let error = open_bytes(text.replacen(from, to, 1).as_bytes(), Format::of_name(name), &["one.key"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
        assert!(!error.to_string().contains(CANARY), "{error}");
        error.message().to_owned()
    };
    let mac = "message authentication code does not match";
    assert!(changed("plain.yaml", "f: 2.5", "f: 2.6").contains(mac));
    assert!(changed("plain.yaml", "b: true\n", "b: true\n    more: x\n").contains(mac));
    assert!(changed("plain.json", "\"t\": \"x\"", "\"t\": \"y\"").contains(mac));
    assert!(changed("regex.yaml", "user: app", "user: root").contains(mac));
    assert!(changed("plain.yaml", "lastmodified: \"2", "lastmodified: \"1").contains(mac));
    assert!(changed("plain.yaml", "password:", "passwort:").contains("value \"db.passwort\" does not open"));
    assert!(changed("plain.env", "USER=", "NAME=").contains("value \"NAME\" does not open"));
    assert!(changed("plain.yaml", "type:int", "type:bool").contains("not of the type"));
    assert!(changed("plain.yaml", "    mac: ", "    nomac: ").contains("has no mac"));
    assert!(changed("plain.yaml", "\nsops:", "\nother:").contains("not encrypted by SOPS"));
}

#[test]
fn a_file_that_was_cut_off_gives_nothing() {
    for name in ["plain.yaml", "plain.json", "plain.env", "plain.ini", "plain.bin"] {
        let whole = data(name);
        for cut in (0..whole.len() - 60).step_by(97) {
            let error = open_bytes(&whole[..cut], Format::of_name(name), &["one.key"]).err();
            assert!(error.is_some_and(|error| !error.to_string().contains(CANARY)), "{name} at {cut}");
        }
    }
}

#[test]
fn whoever_wrote_it_makes_nobody_work() {
    let many = "    - recipient: x\n      enc: y\n".repeat(keyferry_limits::DOCUMENT_KEYS.size() + 1);
    let text = format!("a: b\nsops:\n  age:\n{many}  mac: x\n  lastmodified: y\n");
    let error = Encrypted::read(text.as_bytes(), Format::Yaml).unwrap_err();
    assert!(error.message().contains("limit document-keys"), "{error}");
    let text = "sops_age__list_4000000000__map_enc=x\nsops_mac=x\nsops_lastmodified=y\n";
    let error = Encrypted::read(text.as_bytes(), Format::Dotenv).unwrap_err();
    assert!(error.message().contains("limit document-keys"), "{error}");
    let groups = "  - age: []\n".repeat(keyferry_limits::DOCUMENT_KEYS.size() + 1);
    let text = format!("a: b\nsops:\n  key_groups:\n{groups}  mac: x\n  lastmodified: y\n");
    let error = Encrypted::read(text.as_bytes(), Format::Yaml).unwrap_err();
    assert!(error.message().contains("limit document-keys"), "{error}");
    let end = "sops_mac=x\nsops_lastmodified=y\n";
    for (lines, says) in [
        (format!("sops_a{}=x\n", "__list_0".repeat(100_000)), "leads deeper"),
        (format!("sops_a{}=x\n", "__map_b".repeat(8)), "leads deeper"),
        ((0..50_000).map(|n| format!("sops_{n}=\n")).collect(), "more parts"),
        ((0..10_000).map(|n| format!("sops_{n}__list_100=\n")).collect(), "more parts"),
        ("sops_age__list_x__map_enc=x\n".to_owned(), "without a number"),
    ] {
        let error = Encrypted::read(format!("{lines}{end}").as_bytes(), Format::Dotenv).unwrap_err();
        assert!(error.message().contains(says), "{error}");
    }
}

use std::os::unix::fs::PermissionsExt as _;

use keyferry_documents::keys;

use super::*;

const CANARY: &str = "canary-90c1";

/// A folder with a file of kubesec, and what stands for gpg: it gives the data key, or fails, and tells of a signature.
struct Desk {
    folder: tempfile::TempDir,
    recipient: String,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = [b'k'; 32];
        let text = file::tests::file(
            &[("password", CANARY.as_bytes()), ("bytes", &[0xff, 0])],
            &key,
            &["pgp:AAAA:d3JhcHBlZA=="],
        );
        std::fs::write(folder.path().join("secret.yml"), text).unwrap();
        Self { folder, recipient: keys::generate().1 }
    }

    fn gpg(&self, script: &str) -> PathBuf {
        let program = self.folder.path().join("gpg");
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(new, &program).unwrap();
        program
    }

    async fn run(&self, script: &str) -> (ExitCode, String, String) {
        self.run_to(None, script).await.unwrap()
    }

    async fn run_to(&self, to: Option<PathBuf>, script: &str) -> Result<(ExitCode, String, String), String> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let recipients = For { recipient: vec![self.recipient.clone()], ..For::default() };
        let kubesec = Kubesec {
            files: vec![self.folder.path().join("secret.yml")],
            out: to,
            for_cluster: false,
            gpg: self.gpg(script),
            recipients,
            way: Way::default(),
        };
        let code = kubesec.run(&mut out, &mut err).await?;
        Ok((code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap()))
    }
}

const KEY: &str = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk";

#[tokio::test]
async fn what_gpg_opens_is_sealed_anew_with_a_store_and_an_external_secret() {
    let desk = Desk::new();
    let script = format!("test \"$(cat)\" = wrapped || exit 1\necho '[GNUPG:] VALIDSIG AAAA' >&2\nprintf {KEY}");
    let (code, out, err) = desk.run(&script).await;
    assert!(code == ExitCode::SUCCESS && err.is_empty(), "{err}");
    assert!(
        !out.contains(CANARY) && out.matches("age:YWdl").count() == 2 && out.contains("decodingStrategy: Base64"),
        "{out}"
    );
    assert!(out.contains("kind: SecretStore") && out.contains("type: Opaque") && out.contains("property: password"));
    for (script, says) in [
        ("exit 2".to_owned(), "gpg does not decrypt it"),
        (format!("cat >&2; printf {KEY}"), "no valid signature"),
        ("cat >/dev/null; echo '[GNUPG:] VALIDSIG AAAA' >&2; printf k".to_owned(), "not 32 bytes"),
        (format!("cat >/dev/null; echo '[GNUPG:] VALIDSIG A' >&2; printf {}", KEY.replace('k', "l")), "does not open"),
    ] {
        let (code, out, err) = desk.run(&script).await;
        assert!(code == ExitCode::from(UNREADABLE) && out.is_empty() && err.contains(says), "{err}");
    }
}

#[tokio::test]
async fn a_file_is_written_only_where_all_was_read_and_never_over_what_is_read() {
    let desk = Desk::new();
    let at = |name: &str| desk.folder.path().join(name);
    let opens = format!("cat >/dev/null\necho '[GNUPG:] VALIDSIG AAAA' >&2\nprintf {KEY}");
    let (code, out, _) = desk.run_to(Some(at("new.yaml")), &opens).await.unwrap();
    let written = std::fs::read_to_string(at("new.yaml")).unwrap();
    assert!(code == ExitCode::SUCCESS && out.is_empty() && written.contains("kind: SecretStore"));
    let (code, _, err) = desk.run_to(Some(at("new.yaml")), "exit 2").await.unwrap();
    assert!(code == ExitCode::from(UNREADABLE) && err.contains("nothing was written to"), "{err}");
    assert_eq!(std::fs::read_to_string(at("new.yaml")).unwrap(), written);
    let before = std::fs::read(at("secret.yml")).unwrap();
    std::os::unix::fs::symlink("secret.yml", at("link")).unwrap();
    for name in ["secret.yml", "link"] {
        let error = desk.run_to(Some(at(name)), &opens).await.unwrap_err();
        assert!(error.contains("is one of the files to be read"), "{error}");
    }
    assert_eq!(std::fs::read(at("secret.yml")).unwrap(), before);
}

#[test]
fn for_a_cluster_it_is_sealed_for_its_namespace() {
    let made = keyferry_sealing::Generated::new(jiff::Timestamp::UNIX_EPOCH, 2048).unwrap();
    let public = PublicKey::of_certificate(made.certificate.as_bytes()).unwrap();
    let values = Values::from([("a".to_owned(), SecretBytes::from(CANARY))]);
    let seal = Seal::Cluster(public);
    let secret = json!({"metadata": {"name": "app", "namespace": "n", "labels": {"l": "v"}, "annotations": {
        "a": "{{ x }}", "kubectl.kubernetes.io/last-applied-configuration": "{}",
    }}});
    let [store, es] = manifests(&secret, &values, &seal).unwrap();
    assert!(store["spec"]["provider"]["sealed"]["values"]["a"].as_str().unwrap().contains(":n:"));
    assert_eq!(es["spec"]["data"], json!([{"secretKey": "a", "remoteRef": {"key": "a"}}]));
    assert_eq!(es["spec"]["target"]["template"]["metadata"]["labels"], json!({"l": "v"}));
    let annotations = &es["spec"]["target"]["template"]["metadata"]["annotations"];
    assert_eq!(*annotations, json!({"a": "{{ \"{{\" }} x }}"}), "no template there");
    let error = manifests(&json!({"metadata": {"name": "app"}}), &values, &seal).unwrap_err();
    assert!(error.contains("metadata.namespace"), "{error}");
}

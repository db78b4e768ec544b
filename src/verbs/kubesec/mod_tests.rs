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
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let recipients = For { recipient: vec![self.recipient.clone()], ..For::default() };
        let kubesec = Kubesec {
            files: vec![self.folder.path().join("secret.yml")],
            out: None,
            for_cluster: false,
            gpg: self.gpg(script),
            recipients,
            way: Way::default(),
        };
        let code = kubesec.run(&mut out, &mut err).await.unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
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

#[test]
fn for_a_cluster_it_is_sealed_for_its_namespace() {
    let made = keyferry_sealing::Generated::new(jiff::Timestamp::UNIX_EPOCH, 2048).unwrap();
    let public = PublicKey::of_certificate(made.certificate.as_bytes()).unwrap();
    let values = Values::from([("a".to_owned(), SecretBytes::from(CANARY))]);
    let seal = Seal::Cluster(public);
    let secret = json!({"metadata": {"name": "app", "namespace": "n", "labels": {"l": "v"}}});
    let [store, es] = manifests(&secret, &values, &seal).unwrap();
    assert!(store["spec"]["provider"]["sealed"]["values"]["a"].as_str().unwrap().contains(":n:"));
    assert_eq!(es["spec"]["data"], json!([{"secretKey": "a", "remoteRef": {"key": "a"}}]));
    assert_eq!(es["spec"]["target"]["template"]["metadata"]["labels"], json!({"l": "v"}));
    let error = manifests(&json!({"metadata": {"name": "app"}}), &values, &seal).unwrap_err();
    assert!(error.contains("metadata.namespace"), "{error}");
}

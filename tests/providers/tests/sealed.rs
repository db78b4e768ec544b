//! SealedSecrets against the tool that makes them: `kubeseal`, in all scopes and with keys that were rotated.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use keyferry_keys::pem;
use keyferry_keys::private::PrivateKey;
use keyferry_provider_core::{BuildContext, Caller, Error, ErrorKind, Key, Provider, Scope};
use keyferry_provider_sealed::SEALED_SECRETS;
use keyferry_provider_testkit::MapCredentials;
use keyferry_sealing::{Generated, SealingKey, seal};
use keyferry_testkit::install;
use serde_json::{Value, json};
use tempfile::TempDir;

const CANARY: &str = "canary-9ae2";

static TOOL: LazyLock<PathBuf> = LazyLock::new(|| install::kubeseal().expect("kubeseal builds"));

/// A folder with pairs of keys.
struct Desk {
    folder: TempDir,
    pairs: Vec<Generated>,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Good for ten years.
        let pairs =
            [4096, 2048].map(|bits| Generated::new(Timestamp::from_second(1_750_000_000).unwrap(), bits).unwrap());
        for (n, pair) in pairs.iter().enumerate() {
            std::fs::write(folder.path().join(format!("{n}.crt")), &pair.certificate).unwrap();
            std::fs::write(folder.path().join(format!("{n}.key")), pair.private.expose()).unwrap();
        }
        // As Sealed Secrets' own controller writes it: PKCS #1.
        let (block, _) = pem::decode(pairs[0].private.expose());
        let Some(PrivateKey::Rsa(key)) = PrivateKey::pkcs8(&block.unwrap().bytes) else { panic!("it is an RSA key") };
        std::fs::write(folder.path().join("0.pkcs1"), pem::text("RSA PRIVATE KEY", &key.to_pkcs1().unwrap())).unwrap();
        Self { folder, pairs: pairs.into() }
    }

    fn kubeseal(&self, args: &[&str], input: &str) -> String {
        let mut child = Command::new(&*TOOL)
            .args(args)
            .current_dir(self.folder.path())
            .env("KUBECONFIG", self.folder.path().join("none"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "kubeseal: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    async fn store(&self, namespace: &str, manifest: &str, keys: &[&str]) -> Result<Arc<dyn Provider>, Error> {
        let mut credentials = MapCredentials::new();
        for name in keys {
            let read = |name: String| std::fs::read(self.folder.path().join(name)).unwrap();
            let certificate = read(format!("{}.crt", &name[..1]));
            credentials = credentials
                .with(&format!("{name}/tls.crt"), certificate)
                .with(&format!("{name}/tls.key"), read((*name).to_owned()));
        }
        let keys: Vec<Value> = keys.iter().map(|name| json!({"secretRef": {"name": name}})).collect();
        let caller = Caller { store_kind: "SecretStore", store: "s".into(), namespace: Some(namespace.into()) };
        let ctx = BuildContext { caller, ..BuildContext::new(Arc::new(credentials), Arc::new(())) };
        (SEALED_SECRETS.build)(&json!({"documents": [{"inline": manifest}], "keys": keys}), ctx).await
    }

    async fn read(&self, namespace: &str, manifest: &str, keys: &[&str]) -> Result<Value, Error> {
        let store = self.store(namespace, manifest, keys).await?;
        let key = Key { name: "app".into(), version: None, metadata: false };
        let answer = store.fetch(&[key]).await?.remove(0);
        let answer = answer.inspect_err(|error| assert!(!error.to_string().contains(CANARY), "{error}"))?;
        Ok(serde_json::from_slice(answer.value.expose()).unwrap())
    }
}

/// Bytes that are no text.
const BINARY: [u8; 4] = [0, 0xff, 0x80, b'\n'];

fn secret() -> String {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "app", "namespace": "team-a", "labels": {"app": "a"}},
        "data": {"password": STANDARD.encode(CANARY), "file.bin": STANDARD.encode(BINARY)},
        "stringData": {"empty": ""},
    })
    .to_string()
}

fn expected() -> Value {
    json!({"password": STANDARD.encode(CANARY), "file.bin": STANDARD.encode(BINARY), "empty": ""})
}

#[tokio::test]
async fn what_kubeseal_seals_opens_here() {
    let desk = Desk::new();
    for scope in ["strict", "namespace-wide", "cluster-wide"] {
        for format in ["yaml", "json"] {
            let sealed = desk.kubeseal(&["--cert", "0.crt", "--scope", scope, "--format", format], &secret());
            for keys in [&["0.key"][..], &["0.pkcs1"], &["1.key", "0.key"]] {
                assert!(
                    desk.read("team-a", &sealed, keys).await.as_ref() == Ok(&expected()),
                    "{scope} {format} {keys:?}"
                );
            }
            let error = desk.read("team-a", &sealed, &["1.key"]).await.unwrap_err();
            assert!(
                error.kind() == ErrorKind::Denied && error.to_string().contains("none of the 1 sealing keys"),
                "{error}"
            );
            let elsewhere = desk.read("team-b", &sealed, &["0.key"]).await;
            assert_eq!(elsewhere.is_ok(), scope == "cluster-wide", "{scope}: in another namespace");
            let stolen = sealed.replace("team-a", "team-b");
            let elsewhere = desk.read("team-b", &stolen, &["0.key"]).await;
            assert_eq!(elsewhere.is_ok(), scope == "cluster-wide", "{scope}: under another namespace's name");
            // A password of the file is cut off.
            let mut manifest: Value = serde_json::from_slice(
                keyferry_documents::Format::Yaml.read(sealed.as_bytes()).unwrap().to_json().expose(),
            )
            .unwrap();
            let value = manifest["spec"]["encryptedData"]["password"].as_str().unwrap().to_owned();
            manifest["spec"]["encryptedData"]["password"] = json!(value[..value.len() - 8]);
            let error = desk.read("team-a", &manifest.to_string(), &["0.key"]).await.unwrap_err();
            assert!(error.kind() == ErrorKind::Malformed && error.to_string().contains("\"password\""), "{error}");
        }
    }
    // What was sealed with the key before stays readable, beside what is sealed with the next.
    let first = desk.kubeseal(&["--cert", "0.crt"], &secret());
    let second = desk.kubeseal(&["--cert", "1.crt"], &secret());
    for sealed in [first, second] {
        assert!(desk.read("team-a", &sealed, &["0.key", "1.key"]).await.as_ref() == Ok(&expected()));
    }
}

#[tokio::test]
async fn what_is_sealed_here_opens_there() {
    let desk = Desk::new();
    let key = SealingKey::of_pem(desk.pairs[0].certificate.as_bytes(), desk.pairs[0].private.expose(), None).unwrap();
    for (scope, annotations) in [
        (Scope::Secret("team-a".into(), "app".into()), json!({})),
        (Scope::Secrets("team-a".into()), json!({"sealedsecrets.bitnami.com/namespace-wide": "true"})),
        (Scope::AnySecret, json!({"sealedsecrets.bitnami.com/cluster-wide": "true"})),
    ] {
        let value = STANDARD.encode(seal(key.public(), &scope, CANARY.as_bytes()).unwrap());
        let metadata = json!({"name": "app", "namespace": "team-a", "annotations": annotations});
        let manifest = json!({
            "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": metadata,
            "spec": {"encryptedData": {"password": value}, "template": {"metadata": metadata}},
        });
        let opened = desk.kubeseal(&["--recovery-unseal", "--recovery-private-key", "0.key"], &manifest.to_string());
        let opened: Value = serde_json::from_str(&opened).unwrap();
        assert!(opened["data"]["password"] == STANDARD.encode(CANARY), "{scope}");
    }
}

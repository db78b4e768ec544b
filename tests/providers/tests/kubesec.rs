//! `keyferry migrate kubesec` with those who keep keys: real gpg, moto's KMS, and a double of Google's. Files are by kubesec's own description
//! of its form.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_documents::keys;
use keyferry_doubles::gcpsm::Double;
use keyferry_provider_tests::{AWS_SECRET, REGION, kms};
use keyferry_testkit::{Operator, Testbed};
use serde_json::json;
use tempfile::TempDir;

const CANARY: &str = "canary-5c11e8";
const KEY: [u8; 32] = *b"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk";

/// What kubesec writes for a value.
fn seal(plain: &[u8], bound: &[u8]) -> String {
    let (nonce, mut value): ([u8; NONCE_LEN], _) = (rand::random(), plain.to_vec());
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &KEY).unwrap());
    let once = Nonce::assume_unique_for_key(nonce);
    let tag = cipher.seal_in_place_separate_tag(once, Aad::from(bound), &mut value).unwrap();
    let parts = [STANDARD.encode(&value), STANDARD.encode(nonce), STANDARD.encode(tag.as_ref())];
    parts.join(".").trim_start_matches('.').to_owned()
}

/// A Secret with one value, for a key of this kind and name that gave `wrapped` for the data key.
fn file(kind: &str, id: &str, wrapped: &[u8]) -> String {
    let mut value = STANDARD.encode(CANARY).into_bytes();
    let bound = [b"password", &value[..], id.as_bytes()].concat();
    value.resize(48, 0);
    let (value, mac) = (seal(&value, b"password"), seal(b"", &bound));
    let wrapped = STANDARD.encode(wrapped);
    format!(
        "apiVersion: v1\ndata:\n  password: {value}\nkind: Secret\nmetadata:\n  name: app\ntype: Opaque\n\
         # kubesec:v:3\n# kubesec:{kind}:{id}:{wrapped}\n# kubesec:mac:{mac}\n"
    )
}

/// A folder with a file of kubesec and an identity of age.
struct Desk {
    folder: TempDir,
    recipient: String,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (key, recipient) = keys::generate();
        std::fs::write(folder.path().join("age.key"), key.expose()).unwrap();
        Self { folder, recipient }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, program: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.folder.path()).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.env("HOME", self.folder.path()).envs(environment.iter().copied()).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// Migrates the file, and gives the Secret that what comes of it is rendered to, or why nothing came.
    fn migrate(&self, text: &str, environment: &[(&str, &str)]) -> Result<String, String> {
        let keyferry = Operator::program().unwrap();
        std::fs::write(self.path("secret.yaml"), text).unwrap();
        let args = ["migrate", "kubesec", "secret.yaml", "--out", "new.yaml", "--recipient", &self.recipient];
        let migrated = self.run(&keyferry, &args, environment);
        if !migrated.status.success() {
            return Err(String::from_utf8(migrated.stderr).unwrap());
        }
        let key = std::fs::read_to_string(self.path("age.key")).unwrap();
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "age"}, "stringData": {"age.key": key}});
        std::fs::write(self.path("age.yaml"), secret.to_string()).unwrap();
        assert!(!std::fs::read_to_string(self.path("new.yaml")).unwrap().contains(CANARY));
        let rendered = self.run(&keyferry, &["render", "-f", "new.yaml", "-f", "age.yaml", "--show-values"], &[]);
        assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
        Ok(String::from_utf8(rendered.stdout).unwrap())
    }
}

#[track_caller]
fn holds(rendered: &str) {
    let encoded = STANDARD.encode(CANARY);
    assert!(rendered.contains(CANARY) || rendered.contains(&encoded), "the Secret has its value");
}

#[test]
fn a_key_of_gpg() {
    let desk = Desk::new();
    let home = desk.path("gnupg");
    std::fs::create_dir(&home).unwrap();
    std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let environment = [("GNUPGHOME", home.to_str().unwrap())];
    let gpg = |args: &[&str]| {
        let all = [&["--quiet", "--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""], args].concat();
        let output = desk.run(Path::new("gpg"), &all, &environment);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    gpg(&["--quick-generate-key", "kubesec", "future-default", "default", "never"]);
    let listed = gpg(&["--list-keys", "--with-colons"]);
    let fingerprint = listed.lines().find_map(|line| line.strip_prefix("fpr:::::::::")?.split(':').next()).unwrap();
    std::fs::write(desk.path("data.key"), KEY).unwrap();
    gpg(&["--output", "signed", "--sign", "--encrypt", "-r", fingerprint, "data.key"]);
    gpg(&["--output", "unsigned", "--encrypt", "-r", fingerprint, "data.key"]);
    let wrapped = |name: &str| std::fs::read(desk.path(name)).unwrap();
    holds(&desk.migrate(&file("pgp", fingerprint, &wrapped("signed")), &environment).unwrap());
    let error = desk.migrate(&file("pgp", fingerprint, &wrapped("unsigned")), &environment).unwrap_err();
    assert!(error.contains("gpg finds no valid signature"), "{error}");
    let error = desk.migrate(&file("pgp", fingerprint, b"nothing"), &environment).unwrap_err();
    assert!(error.contains("gpg does not decrypt it") && !error.contains(CANARY), "{error}");
    // It starts an agent, which would outlive the folder.
    desk.run(Path::new("gpgconf"), &["--kill", "all"], &environment);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_aws() {
    let desk = Desk::new();
    let arn = kms("CreateKey", &json!({})).await["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    let wrapped = kms("Encrypt", &json!({"KeyId": arn, "Plaintext": STANDARD.encode(KEY)})).await;
    let wrapped = STANDARD.decode(wrapped["CiphertextBlob"].as_str().unwrap()).unwrap();
    let moto = Testbed::shared().moto_url();
    let environment = [
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", AWS_SECRET),
        ("AWS_ENDPOINT_URL_KMS", &moto),
        ("AWS_REGION", REGION),
    ];
    holds(&desk.migrate(&file("aws", &arn, &wrapped), &environment).unwrap());
    let gone = format!("arn:aws:kms:{REGION}:123456789012:key/none");
    let error = desk.migrate(&file("aws", &gone, &wrapped), &environment).unwrap_err();
    assert!(error.contains("does not decrypt with"), "{error}");
}

#[test]
fn a_key_of_google() {
    let (desk, double) = (Desk::new(), Double::start());
    let name = "projects/p-1/locations/global/keyRings/r/cryptoKeys/kubesec";
    double.make_key(name);
    let wrapped = double.encrypt(name, &KEY);
    let url = double.server().url();
    // As `gcloud auth application-default login` leaves it.
    let folder = desk.path(".config/gcloud");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("application_default_credentials.json"), double.key()).unwrap();
    let environment = [("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS", url.as_str())];
    holds(&desk.migrate(&file("gcp", name, &wrapped), &environment).unwrap());
    let error = desk.migrate(&file("gcp", &name.replace("kubesec", "none"), &wrapped), &environment).unwrap_err();
    assert!(error.contains("does not decrypt with"), "{error}");
    double.deny_keys("decrypt");
    let error = desk.migrate(&file("gcp", name, &wrapped), &environment).unwrap_err();
    assert!(error.contains("cloudkms.cryptoKeyVersions.useToDecrypt"), "{error}");
}

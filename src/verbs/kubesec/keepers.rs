//! Who has the data key of a file: `gpg` on the PATH, or the KMS of AWS or of Google by the machine's own login.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::{BuildContext, Caller, Environment, SecretBytes, Wrapped as Sealed};
use keyferry_stores::access::{ControllerToken, LoginPorts, Requester};
use keyferry_stores::registry;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::file::{File, Keeper, Wrapped};
use crate::verbs::manifests::folder::Folder;

/// The keepers at hand.
pub struct Keepers {
    /// The program.
    pub gpg: PathBuf,
}

impl Keepers {
    /// The data key of a file, from whichever keeper gives it.
    pub async fn data_key(&self, file: &File) -> Result<SecretBytes, String> {
        let mut why = Vec::new();
        for key in &file.keys {
            let given = match key.keeper {
                Keeper::Gpg => gpg(&self.gpg, key),
                Keeper::Aws => aws(key).await,
                Keeper::Google => service("gcpsm", &json!({}), key).await,
            };
            match given {
                Ok(key) => return Ok(key),
                Err(error) => why.push(format!("{}: {error}", key.id)),
            }
        }
        if why.is_empty() {
            why.push("it names no key".to_owned());
        }
        Err(format!("no keeper gives its data key: {}", why.join("; ")))
    }
}

/// Has gpg decrypt it, and says that whoever signed it is known.
fn gpg(program: &Path, key: &Wrapped) -> Result<SecretBytes, String> {
    let mut gpg = Command::new(program);
    gpg.args(["--quiet", "--status-fd", "2", "--decrypt"]);
    gpg.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = gpg.spawn().map_err(|_| format!("{} can't be run: is it on the PATH?", program.display()))?;
    if let Some(mut input) = child.stdin.take() {
        // Who fails at once reads nothing.
        let _ = input.write_all(&key.bytes);
    }
    let output = child.wait_with_output().map_err(|_| "gpg did not end".to_owned())?;
    let plain = Zeroizing::new(output.stdout);
    let status = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err("gpg does not decrypt it: is the key in the keyring?".to_owned());
    }
    if !status.lines().any(|line| line.starts_with("[GNUPG:] VALIDSIG ")) {
        return Err("gpg finds no valid signature on it, which kubesec's files have".to_owned());
    }
    Ok(SecretBytes::new(plain.to_vec()))
}

async fn aws(key: &Wrapped) -> Result<SecretBytes, String> {
    let region = key.id.split(':').nth(3).filter(|region| !region.is_empty()).ok_or("it is not the ARN of a key")?;
    service("aws", &json!({"service": "SecretsManager", "region": region}), key).await
}

/// Has a service decrypt it, with the login that this machine has for it.
async fn service(name: &str, spec: &Value, key: &Wrapped) -> Result<SecretBytes, String> {
    let service =
        registry::key_service(name).ok_or_else(|| format!("this build of keyferry has no provider {name:?}"))?;
    let nothing = Arc::new(Folder::default());
    let ports = LoginPorts {
        objects: nothing.clone(),
        accounts: nothing,
        controller_token: ControllerToken::Never,
        refuse_api_audiences: false,
    };
    let credentials = Requester::for_once(Arc::new(ports), "default");
    let caller =
        Caller { store_kind: "SecretStore", store: "kubesec".to_owned(), namespace: Some("default".to_owned()) };
    let context = BuildContext::new(Arc::new(credentials), Arc::new(())).trusted();
    let built = (service.build)(spec, BuildContext { caller, environment: environment(), ..context }).await;
    // Both take it as text.
    let ciphertext = SecretBytes::new(STANDARD.encode(&key.bytes).into_bytes());
    let wrapped = Sealed { key: key.id.clone(), ciphertext, ..Sealed::default() };
    built.map_err(|error| error.to_string())?.unwrap(&wrapped).await.map_err(|error| error.to_string())
}

/// Names the file that says who somebody is to Google.
const OF_GOOGLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// The clouds' own settings, as their tools take them: what `gcloud auth application-default login` left behind is one.
#[expect(clippy::disallowed_methods, reason = "whoever runs this logs in as with the clouds' own tools")]
fn environment() -> Environment {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let folder = variable("CLOUDSDK_CONFIG").or_else(|| Some(format!("{}/.config/gcloud", variable("HOME")?)));
    let left = folder.map(|folder| format!("{folder}/application_default_credentials.json"));
    let left = left.filter(|file| Path::new(file).is_file());
    Arc::new(move |name| variable(name).or_else(|| left.clone().filter(|_| name == OF_GOOGLE)))
}

//! Who has the data key of a file: `gpg` on the PATH, or AWS's KMS by the machine's own login.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use keyferry_provider_core::{BuildContext, Caller, Environment, SecretBytes, Wrapped as Sealed};
use keyferry_stores::access::{ControllerToken, LoginPorts, Requester};
use keyferry_stores::registry;
use serde_json::json;
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
                Keeper::Google => {
                    Err("Google's KMS is not asked: add a key of gpg to it by `kubesec encrypt --key`".to_owned())
                }
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
    let service = registry::key_service("aws").ok_or("this build of keyferry has no provider \"aws\"")?;
    let nothing = Arc::new(Folder::default());
    let ports = LoginPorts {
        objects: nothing.clone(),
        accounts: nothing,
        controller_token: ControllerToken::Never,
        refuse_api_audiences: false,
    };
    #[expect(clippy::disallowed_methods, reason = "AWS's own settings, as its tools take them")]
    let environment: Environment = Arc::new(|name| std::env::var(name).ok());
    let credentials = Requester::for_once(Arc::new(ports), "default");
    let caller =
        Caller { store_kind: "SecretStore", store: "kubesec".to_owned(), namespace: Some("default".to_owned()) };
    let context = BuildContext::new(Arc::new(credentials), Arc::new(())).trusted();
    let spec = json!({"service": "SecretsManager", "region": region});
    let built = (service.build)(&spec, BuildContext { caller, environment, ..context }).await;
    let wrapped = Sealed { key: key.id.clone(), ciphertext: SecretBytes::new(key.bytes.clone()), ..Sealed::default() };
    built.map_err(|error| error.to_string())?.unwrap(&wrapped).await.map_err(|error| error.to_string())
}

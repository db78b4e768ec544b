//! Who has the data key of a file: `gpg` on the PATH, or the KMS of AWS or of Google by the machine's own login.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::{SecretBytes, Wrapped as Sealed};
use serde_json::json;
use zeroize::Zeroizing;

use super::file::{File, Keeper, Wrapped};
use crate::verbs::manifests::services::{Login, environment};

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
                Keeper::Google => service(Login::new("gcpsm", json!({})), key).await,
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
    service(Login::new("aws", json!({"service": "SecretsManager", "region": region})), key).await
}

/// Has a service decrypt it, with the login that this machine has for it.
async fn service(login: Login, key: &Wrapped) -> Result<SecretBytes, String> {
    let service = login.connect(environment()).await.map_err(|error| error.to_string())?;
    // Both take it as text.
    let ciphertext = SecretBytes::new(STANDARD.encode(&key.bytes).into_bytes());
    let wrapped = Sealed { key: key.id.clone(), ciphertext, ..Sealed::default() };
    service.unwrap(&wrapped).await.map_err(|error| error.to_string())
}

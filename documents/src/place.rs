//! Documents, and what opens them, from where they lie.

use std::sync::Arc;

use keyferry_limits::DOCUMENT_SIZE;
use keyferry_provider_core::{Blame, BuildContext, Error, ErrorKind, Files, SecretBytes, SecretRef, filled};

/// Where something is kept.
#[derive(Debug)]
pub enum Place {
    /// In the spec itself.
    Inline(SecretBytes),
    /// In a ConfigMap.
    ConfigMap(SecretRef),
    /// In a Secret.
    Secret(SecretRef),
    /// In a file beside the manifests.
    File(String),
}

impl Place {
    /// The one place that a document's spec names; `field` is where that stands.
    pub fn one_of(
        field: &str,
        inline: Option<String>,
        config_map: Option<SecretRef>,
        secret: Option<SecretRef>,
        file: Option<String>,
    ) -> Result<Self, Error> {
        let inline = inline.map(|text| Self::Inline(SecretBytes::new(text.into_bytes())));
        let (config_map, secret) = (config_map.map(Self::ConfigMap), secret.map(Self::Secret));
        let mut places = [inline, config_map, secret, filled(file).map(Self::File)].into_iter().flatten();
        match (places.next(), places.next()) {
            (Some(place), None) => Ok(place),
            _ => Err(Error::invalid(format!("{field} must have one of inline, configMapRef, secretRef and file"))),
        }
    }

    /// What it is called there.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Inline(_) => None,
            Self::ConfigMap(reference) | Self::Secret(reference) => reference.key.as_deref(),
            Self::File(path) => path.rsplit('/').next(),
        }
    }
}

/// What a place holds, or where it is read at each fetch.
pub enum Source {
    /// What it held when the store was built, or why that could not be told.
    Held(Result<SecretBytes, Error>),
    /// A file, which nobody watches.
    File(Arc<dyn Files>, String),
}

impl Source {
    /// Looks a place up. `field` is where the spec names it.
    ///
    /// # Errors
    /// What passes by itself, what we may not read yet, and what is to be asked for by whoever uses the store; all else is told
    /// when the document is asked for, so that one that is missing leaves the others readable.
    pub async fn new(place: &Place, field: &str, ctx: &BuildContext) -> Result<Self, Error> {
        let found = match place {
            Place::Inline(text) => Ok(text.clone()),
            Place::ConfigMap(reference) => ctx.credentials.config_map(reference).await,
            Place::Secret(reference) => ctx.credentials.secret(reference, None).await,
            Place::File(path) => match &ctx.files {
                Some(files) => return Ok(Self::File(files.clone(), path.clone())),
                None => Err(Error::invalid(format!(
                    "{field}.file can't be read by an operator, whose files belong to nobody who writes stores: keep it in a \
                     ConfigMap or Secret"
                ))),
            },
        };
        match found.map_err(|error| error.context(field)) {
            // No change of the object tells that we may read it now: the store is built again.
            Err(error) if error.is_temporary() || matches!(error.kind(), ErrorKind::Referent | ErrorKind::Denied) => {
                Err(error)
            }
            found => Ok(Self::Held(found.and_then(bounded))),
        }
    }

    /// What it holds now.
    pub fn read(&self) -> Result<SecretBytes, Error> {
        match self {
            Self::Held(found) => found.clone(),
            Self::File(files, path) => files.read(path, DOCUMENT_SIZE.size()).and_then(bounded),
        }
    }
}

fn bounded(bytes: SecretBytes) -> Result<SecretBytes, Error> {
    let is_too_much = bytes.len() > DOCUMENT_SIZE.size();
    if is_too_much { Err(Error::limit(&DOCUMENT_SIZE).with_blame(Blame::Store)) } else { Ok(bytes) }
}

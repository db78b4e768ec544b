//! Writing: what is ours is marked with a tag, and what was deleted comes back before it is written.

use std::time::Duration;

use keyferry_provider_core::property::{self, Left};
use keyferry_provider_core::{Blame, Error, ErrorKind, Payload, Push, Reach, Remote, SecretBytes};
use reqwest::Method;
use tokio::task::spawn_blocking;

use crate::answers::{self, Found, is_marked};
use crate::client::{Call, Response, Word};
use crate::object::{Kind, Object};
use crate::store::KeyVault;
use crate::written::{self, Said};

/// How long a vault takes to recover something, about.
const RECOVERY: Duration = Duration::from_secs(5);

impl KeyVault {
    /// Writes a secret or one property of it, or imports a key or a certificate.
    pub(crate) async fn write(&self, push: &Push) -> Result<(), Error> {
        let Remote { key, property, .. } = &push.remote;
        let object = Object::new(key)?;
        let said = Said::new(&push.remote)?;
        let value = value(&object, property.as_deref(), &push.payload)?;
        let there = self.look_for(&object).await?;
        if push.reach == Reach::Ours && there.as_ref().is_some_and(|found| !found.is_ours()) {
            return Err(foreign(&object));
        }
        let body = match object.kind {
            Kind::Secret => {
                let value = match property {
                    Some(property) => {
                        let before = there.as_ref().map(|found| found.value.expose()).unwrap_or_default();
                        property::set_at(before, &[property], &value)?
                    }
                    None => value,
                };
                written::secret(&value, &said, there.as_ref())?
            }
            // Both may compute for a moment.
            Kind::Key => computed(move || written::key(&value, &said, there.as_ref())).await?,
            Kind::Certificate => computed(move || written::certificate(&value, &said, there.as_ref())).await?,
        };
        match body {
            Some(body) => self.set(&object, body, push.reach).await,
            None => Ok(()),
        }
    }

    async fn set(&self, object: &Object, body: SecretBytes, reach: Reach) -> Result<(), Error> {
        let path = object.path();
        let call = match object.kind {
            Kind::Secret => Call::get("SetSecret", &path).by(Method::PUT),
            Kind::Key => Call::get("ImportKey", &path).by(Method::PUT),
            Kind::Certificate => Call::get("ImportCertificate", &format!("{path}/import")).by(Method::POST),
        };
        let answer = self.client.send(&call.with(body)).await?;
        match (answer.status, Word::of(&answer)) {
            (200, _) => Ok(()),
            (409, Some(Word::Deleted)) => self.recover(object, reach).await,
            _ => Err(self.refusal(&answer, object)),
        }
    }

    /// Has something that was deleted recovered: its name is taken as long as it is not. That takes the vault some moments, so
    /// that it is the next try that writes.
    async fn recover(&self, object: &Object, reach: Reach) -> Result<(), Error> {
        let path = object.deleted_path();
        if reach == Reach::Ours {
            let answer = self.client.send(&Call::get(of_deleted(object.kind), &path)).await?;
            let tags = match answer.status {
                200 => answers::tags_of(&answer.body).ok_or_else(|| self.client.malformed(&answer))?,
                // It is back already, or gone for good.
                404 => return Err(recovering(object)),
                _ => return Err(self.refusal(&answer, object)),
            };
            if !is_marked(&tags) {
                return Err(foreign(object));
            }
        }
        let call = Call::get(recovery(object.kind), &format!("{path}/recover")).by(Method::POST);
        let answer = self.client.send(&call).await?;
        match answer.status {
            200 | 404 | 409 => Err(recovering(object)),
            403 => Err(Error::new(
                ErrorKind::Denied,
                format!(
                    "the {object} was deleted, and its name is taken until it is recovered or purged: allow our identity to \
                     recover, or do it by hand"
                ),
            )),
            _ => Err(self.refusal(&answer, object)),
        }
    }

    /// Deletes something of ours, or one property of a secret. It can be recovered: nothing is purged.
    pub(crate) async fn remove(&self, remote: &Remote, reach: Reach) -> Result<(), Error> {
        let object = Object::new(&remote.key)?;
        let Some(there) = self.look_for(&object).await? else { return Ok(()) };
        if reach == Reach::Ours && !there.is_ours() {
            return Ok(());
        }
        let property = remote.property.as_deref().filter(|_| object.kind == Kind::Secret);
        match property.map(|property| property::remove_at(there.value.expose(), &[property])) {
            Some(Left::All) => return Ok(()),
            Some(Left::Rest(rest)) => return self.set_left(&object, &rest, &there).await,
            Some(Left::Nothing) | None => {}
        }
        let name = match object.kind {
            Kind::Secret => "DeleteSecret",
            Kind::Key => "DeleteKey",
            Kind::Certificate => "DeleteCertificate",
        };
        let answer = self.client.send(&Call::get(name, &object.path()).by(Method::DELETE)).await?;
        match (answer.status, Word::of(&answer)) {
            (200, _) => Ok(()),
            // Somebody was faster.
            (404, Some(Word::NotFound)) | (409, Some(Word::Busy | Word::Deleted)) => Ok(()),
            _ => Err(self.refusal(&answer, &object)),
        }
    }

    /// Writes what is left of a secret; all else that is said of it stays.
    async fn set_left(&self, object: &Object, left: &SecretBytes, there: &Found) -> Result<(), Error> {
        let mut tags = there.tags.clone();
        tags.remove(answers::MARK.0);
        let said = Said { expires: there.expires(), content_type: there.content_type.clone(), tags };
        match written::secret(left, &said, Some(there))? {
            Some(body) => self.set(object, body, Reach::All).await,
            None => Ok(()),
        }
    }

    fn refusal(&self, answer: &Response, object: &Object) -> Error {
        self.client.refusal(answer, object)
    }
}

/// What is pushed, as one value.
fn value(object: &Object, property: Option<&str>, payload: &Payload) -> Result<SecretBytes, Error> {
    let wrong = |problem: &str| Err(Error::invalid(format!("the {object} {problem}")).with_blame(Blame::Request));
    match (object.kind, payload) {
        (Kind::Key | Kind::Certificate, _) if property.is_some() => wrong("has no properties: push to it as a whole"),
        (Kind::Key | Kind::Certificate, Payload::Fields(_)) => {
            wrong("is made of one value: say in match.secretKey which")
        }
        (_, payload) => payload.whole(),
    }
}

async fn computed<T: Send + 'static>(compute: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = spawn_blocking(compute).await;
    done.unwrap_or_else(|_| Err(Error::invalid("the value can't be read").with_blame(Blame::Request)))
}

fn foreign(object: &Object) -> Error {
    // External Secrets Operator's words first.
    let kind = object.kind.word();
    let message = format!(
        "{kind} not managed by external-secrets: the {object} is not ours: push to another key, or delete and purge it first"
    );
    Error::new(ErrorKind::Denied, message)
}

fn recovering(object: &Object) -> Error {
    let message = format!("the {object} was deleted, and is being recovered before it is written");
    Error::new(ErrorKind::Unavailable, message).with_retry_after(Some(RECOVERY))
}

/// What metrics call it. External Secrets Operator has a name for the second only.
fn of_deleted(kind: Kind) -> &'static str {
    match kind {
        Kind::Secret => "GetDeletedSecret",
        Kind::Key => "GetDeletedKey",
        Kind::Certificate => "GetDeletedCertificate",
    }
}

fn recovery(kind: Kind) -> &'static str {
    match kind {
        Kind::Secret => "RecoverDeletedSecret",
        Kind::Key => "RecoverDeletedKey",
        Kind::Certificate => "RecoverDeletedCertificate",
    }
}

//! Writing: what is made bears the mark, and what bears none is not ours.

use keyferry_provider_core::property::{self, Left};
use keyferry_provider_core::{Blame, Error, ErrorKind, Push, Reach, Remote, SecretBytes};

use crate::client::{Asked, Client};
use crate::metadata::{Wanted, marked};
use crate::place::Place;
use crate::turns::turn;
use crate::written;

/// Writes a secret, or one property of it. All that can be refused without asking Google is refused first.
pub async fn push(client: &Client, push: &Push) -> Result<(), Error> {
    let Remote { key, property, metadata } = &push.remote;
    let place = client.parent.secret(key)?;
    let property = property.as_deref().filter(|property| !property.is_empty());
    let wanted = Wanted::new(&push.remote)?;
    if property.is_some() && metadata.as_ref().is_some_and(|metadata| !metadata.is_null()) {
        let message = "metadata can't be given for a property: they are of the secret as a whole";
        return Err(Error::invalid(message).with_blame(Blame::Request));
    }
    let payload = push.payload.whole()?;
    let value_over = |before: Option<&SecretBytes>| match property {
        None => Ok(payload.clone()),
        Some(property) => property::set(before.map(SecretBytes::expose).unwrap_or_default(), property, &payload)
            .map_err(|error| error.context(client.named(&place))),
    };
    written::check(&value_over(None)?)?;
    let _turn = turn(&place.resource).await;
    let there = client.look_for(&place).await?;
    let change = match &there {
        Some(secret) if push.reach == Reach::Ours && !secret.is_ours() => return Err(foreign(client, &place)),
        Some(secret) if property.is_some() => marked(secret),
        Some(secret) => wanted.change(secret),
        None => None,
    };
    let before = match &there {
        Some(_) => current(client, &place).await?,
        None => None,
    };
    let value = value_over(before.as_ref())?;
    written::check(&value)?;
    match change {
        Some((secret, mask)) => client.update(&place, &secret, &mask).await?,
        None if there.is_none() => client.create(&place, &wanted.made(client.is_regional)).await?,
        None => {}
    }
    if before.as_ref() == Some(&value) { Ok(()) } else { client.add(&place, written::version(&value)).await }
}

/// Deletes a secret, or one property of it.
///
/// TRAP: External Secrets Operator deletes the whole secret where only a property of it was pushed.
pub async fn delete(client: &Client, remote: &Remote, reach: Reach) -> Result<(), Error> {
    let place = client.parent.secret(&remote.key)?;
    let _turn = turn(&place.resource).await;
    let Some(secret) = client.look_for(&place).await? else { return Ok(()) };
    if reach == Reach::Ours && !secret.is_ours() {
        return Ok(());
    }
    let Some(property) = remote.property.as_deref().filter(|property| !property.is_empty()) else {
        return client.delete(&place, &secret.etag).await;
    };
    let Some(before) = current(client, &place).await? else { return Ok(()) };
    match property::remove(before.expose(), property) {
        Left::All => Ok(()),
        Left::Nothing => client.delete(&place, &secret.etag).await,
        Left::Rest(rest) => client.add(&place, written::version(&rest)).await,
    }
}

/// Whether there is a version that can be read, and where a property is named, whether the last of them has it.
pub async fn exists(client: &Client, remote: &Remote) -> Result<bool, Error> {
    let place = client.parent.secret(&remote.key)?;
    let Some(version) = client.last_enabled(&place).await? else { return Ok(false) };
    let Some(property) = remote.property.as_deref().filter(|property| !property.is_empty()) else { return Ok(true) };
    match client.access(&place, Some(&version)).await? {
        Asked::Value(fetched) => Ok(property::get(fetched.value.expose(), property).is_some()),
        // It went since it was listed.
        Asked::Unreadable | Asked::Nothing => {
            let message = format!("{} was changed by somebody else meanwhile", client.named(&place));
            Err(Error::new(ErrorKind::Unavailable, message))
        }
    }
}

/// What the last version of a secret that is there holds; `None` where it has none.
async fn current(client: &Client, place: &Place) -> Result<Option<SecretBytes>, Error> {
    match client.access(place, None).await? {
        Asked::Value(fetched) => Ok(Some(fetched.value)),
        Asked::Nothing => Ok(None),
        Asked::Unreadable => {
            let message = format!(
                "the last version of {} is disabled or destroyed, so that what is there is not known: enable it, or add a \
                 version",
                client.named(place)
            );
            Err(Error::invalid(message).with_blame(Blame::Store))
        }
    }
}

fn foreign(client: &Client, place: &Place) -> Error {
    let message = format!(
        "{} is not managed by external secrets: push to another key, delete it first, or label it managed-by=external-secrets",
        client.named(place)
    );
    Error::new(ErrorKind::Denied, message)
}

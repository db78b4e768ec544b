//! What the answers of a KV engine mean. This decides what counts as "not found", on which deletionPolicy removes
//! things: nothing does unless the engine itself says so.
//!
//! What we wrote bears a mark, which is External Secrets Operator's: on version 2 custom metadata, on version 1, which has
//! none, a field of the value, which is no field to whoever reads it.

use std::collections::BTreeMap;

use keyferry_provider_core::{Blame, Error, ErrorKind, Fetched, SecretBuf, SecretBytes, json};
use serde_json::value::RawValue;

use crate::client::{Client, Complaint, Response};
use crate::path::{KvVersion, Place};

/// The field of custom metadata, and on version 1 the field of the value that stands for them, that says whose a secret is.
pub const MARK: (&str, &str) = ("managed-by", "external-secrets");
pub const MARKS: &str = "custom_metadata";

/// Custom metadata.
pub type Marks = BTreeMap<String, SecretBytes>;

/// A secret that is there.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Its fields: a JSON object in canonical form.
    pub value: SecretBytes,
    /// Its version.
    pub version: Option<String>,
    /// What it is marked with, where the answer tells: servers of version 2 before 1.9 keep that with the metadata only.
    pub marks: Option<Marks>,
}

impl Found {
    /// Whether it bears our mark, as far as the answer tells.
    pub fn is_ours(&self) -> bool {
        self.marks.as_ref().is_some_and(bears_mark)
    }
}

impl From<Found> for Fetched {
    fn from(found: Found) -> Self {
        Self::from(found.value).of_version(found.version)
    }
}

/// What a read came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Reading {
    /// The value.
    Value(Found),
    /// Version 2 had it once: the error, which is final, and the version that went.
    Gone(Error, Option<String>),
    /// An engine says that it has nothing under this path. If it is the engine that the store says, then this is the
    /// error; version 1 asked for a path of version 2 answers the same.
    Nothing(Error),
}

/// The table for reading a value, of the current version or the one that is asked for.
pub fn value(client: &Client, place: &Place, version: Option<i64>, answer: &Response) -> Result<Reading, Error> {
    let path = place.data();
    match answer.status {
        200 => match place.version() {
            KvVersion::V1 => v1_value(answer, &path).map(Reading::Value),
            KvVersion::V2 => v2_value(answer, &path, version),
        },
        // Version 2 says "deleted" with status 404 and a whole answer.
        404 if data(answer).is_some() && place.version() == KvVersion::V2 => v2_value(answer, &path, version),
        404 => match answer.complaint() {
            Complaint::Nothing => Ok(Reading::Nothing(not_found(format!("there is no secret at {path}")))),
            _ => Err(error(client, place, &path, "read", answer)),
        },
        _ => Err(error(client, place, &path, "read", answer)),
    }
}

/// The table for reading what version 2 knows about a secret: all as strings, custom metadata beside the engine's own.
pub fn metadata(client: &Client, place: &Place, answer: &Response) -> Result<SecretBytes, Error> {
    let path = place.metadata();
    match answer.status {
        200 => {}
        // Not "not found": External Secrets Operator does not remove anything for missing metadata, and nor do we.
        404 if answer.complaint() == Complaint::Nothing => {
            let message = format!("there is no metadata at {path}, so there is no such secret");
            return Err(Error::invalid(message).with_blame(Blame::Request));
        }
        _ => return Err(error(client, place, &path, "read", answer)),
    }
    let fields = data(answer).and_then(|data| json::object(data.get().as_bytes()));
    let Some(mut fields) = fields else { return Err(malformed(&path)) };
    let custom = fields.remove("custom_metadata").and_then(|custom| json::object(custom.get().as_bytes()));
    fields.retain(|name, value| {
        matches!(name.as_str(), "created_time" | "current_version" | "delete_version_after") && value.get() != "null"
    });
    fields.extend(custom.unwrap_or_default());
    // As External Secrets Operator has it: no metadata at all is an empty value, not an empty object.
    if fields.is_empty() {
        return Ok(SecretBytes::default());
    }
    let mut out = SecretBuf::default();
    for (n, (name, value)) in fields.iter().enumerate() {
        out.push(if n == 0 { b'{' } else { b',' });
        json::write_string(name, &mut out);
        out.push(b':');
        json::write_string(json::to_bytes(value).expose_str().unwrap_or_default(), &mut out);
    }
    out.push(b'}');
    Ok(out.into())
}

/// The table for finding out, after "nothing there", whether it is the secret that is missing or the version of it: an
/// engine answers either the same. `Ok` where there is no such secret.
pub fn version(client: &Client, place: &Place, version: i64, answer: &Response) -> Result<(), Error> {
    let (data_path, path) = (place.data(), place.metadata());
    let no_version = |message: String| Err(Error::new(ErrorKind::NoVersion, message));
    match answer.status {
        200 => {
            let fields = data(answer).and_then(|data| json::object(data.get().as_bytes())).unwrap_or_default();
            let number = |name: &str| fields.get(name).and_then(|number| number.get().parse::<i64>().ok());
            let (oldest, current) = (number("oldest_version").unwrap_or(0).max(1), number("current_version"));
            no_version(match current.ok_or_else(|| malformed(&path))? {
                current if current < oldest => {
                    format!("the secret at {data_path} has no version {version}, nor any other")
                }
                current => format!(
                    "the secret at {data_path} has no version {version}: it has had versions from {oldest} to {current}, \
                     and without a version the last is read"
                ),
            })
        }
        404 if answer.complaint() == Complaint::Nothing => Ok(()),
        403 => no_version(format!(
            "there is no version {version} of a secret at {data_path}, or no such secret: to tell one from the other the \
             token's policies must allow read on {path}"
        )),
        _ => Err(error(client, place, &path, "read", answer)),
    }
}

/// The table for listing a folder: the names in it, folders with a slash at their end; `None` where the engine has nothing
/// there, be that the folder that the search begins in or one whose last secret went meanwhile.
pub fn names<'a>(
    client: &Client,
    folder: &Place,
    answer: &'a Response,
) -> Result<Option<impl Iterator<Item = Result<String, Error>> + use<'a>>, Error> {
    let path = folder.listing();
    match answer.status {
        200 => {}
        404 if answer.complaint() == Complaint::Nothing && !warns(answer) => return Ok(None),
        _ => return Err(error(client, folder, &path, "list", answer)),
    }
    let keys =
        data(answer).and_then(|data| json::object(data.get().as_bytes())).and_then(|mut data| data.remove("keys"));
    let keys = keys.and_then(json::elements).ok_or_else(|| malformed(&path))?;
    let name = |key: &RawValue| json::to_bytes(key).expose_str().map(str::to_owned);
    Ok(Some(keys.map(move |key| key.and_then(name).ok_or_else(|| malformed(&path)))))
}

/// The table for what is mounted, asked after "nothing there", since an engine of the other version answers just so.
/// Whether the server tells that it is the engine that the store says.
pub fn mount(client: &Client, place: &Place, answer: &Response) -> Result<bool, Error> {
    let named = |field: &str| {
        let data = json::object(data(answer)?.get().as_bytes())?;
        Some(json::to_bytes(data.get(field)?))
    };
    let option = |field: &str| {
        let options = named("options")?;
        Some(json::to_bytes(json::object(options.expose())?.get(field)?))
    };
    let is = |value: Option<SecretBytes>, text: &str| value.is_some_and(|value| value.expose() == text.as_bytes());
    match answer.status {
        200 if !is(named("type"), "kv") => {
            Err(Error::invalid(format!("what is mounted at {:?} is not a KV engine", place.mount())))
        }
        200 if place.version() == KvVersion::V2 && !is(option("version"), "2") => Err(Error::invalid(format!(
            "the KV engine at {:?} is of version 1: set {}.version to v1",
            place.mount(),
            client.product
        ))),
        200 => Ok(true),
        // Whoever may read below a mount may ask for it, but proxies and odd policies may say no.
        400 | 403 | 404 | 405 => Ok(false),
        _ => Err(client.status_error(answer)),
    }
}

/// The errors of both tables.
fn error(client: &Client, place: &Place, path: &str, right: &str, answer: &Response) -> Error {
    let (mount, product) = (place.mount(), client.product);
    match (answer.status, answer.complaint()) {
        // Without a list of errors it is somebody else who speaks, such as a proxy.
        (403, Complaint::NotAList) => Error::new(
            ErrorKind::Denied,
            format!("something in front of the {} at {} denies {path}", product.name(), client.host()),
        )
        .with_blame(Blame::Way),
        (403, _) => Error::new(
            ErrorKind::Denied,
            format!("permission denied: the token's policies must allow {right} on {path}"),
        ),
        (404, Complaint::NoRoute) => {
            Error::invalid(format!("no KV engine is mounted at {mount:?}: check {product}.path and namespace"))
        }
        (404, Complaint::NoNamespace) => {
            Error::invalid(format!("the namespace does not exist: check {product}.namespace"))
        }
        // With a warning and no data: a path that no version 2 engine has, which is how a store of version 1 meets one.
        (404, Complaint::NotAList) if warns(answer) && place.version() == KvVersion::V1 => Error::invalid(format!(
            "the KV engine at {mount:?} is of version 2: set {product}.version to v2, or begin keys with \
             data/"
        )),
        (404, Complaint::NotAList) if warns(answer) => Error::invalid(format!(
            "{path} is no path of a secret: check that {product}.path is the whole mount and nothing more"
        )),
        (404 | 405, Complaint::Other) => Error::invalid(format!("{path} can't be read: check {product}.path")),
        (400, Complaint::NotAList) => client.status_error(answer),
        // For a moment after it was mounted or turned into version 2.
        (400, Complaint::Upgrading) => {
            Error::new(ErrorKind::Unavailable, format!("the KV engine at {mount:?} is still setting itself up"))
        }
        // Somebody wrote in between: the next try looks again.
        (400, Complaint::Moved) => {
            Error::new(ErrorKind::Unavailable, format!("somebody else wrote {path} just now")).with_blame(Blame::Store)
        }
        (400, _) => Error::invalid(format!("the server takes {path} for no valid request")).with_blame(Blame::Request),
        _ => client.status_error(answer),
    }
}

fn v1_value(answer: &Response, path: &str) -> Result<Found, Error> {
    let data = data(answer).filter(|data| is_object(data)).ok_or_else(|| malformed(path))?;
    json::check_parts(data)?;
    let fields = json::object(data.get().as_bytes()).ok_or_else(|| malformed(path))?;
    let marks = fields.get(MARKS).and_then(|raw| marks_in(raw)).unwrap_or_default();
    // A field that says more is one that somebody else has use for.
    let is_the_mark = marks.len() == 1 && bears_mark(&marks);
    let value = match is_the_mark.then(|| without(&fields, MARKS)) {
        None => json::canonical(data),
        Some(rest) => json::value(rest.expose()).and_then(json::canonical),
    };
    Ok(Found { value: value.ok_or_else(|| malformed(path))?, version: None, marks: Some(marks) })
}

fn v2_value(answer: &Response, path: &str, wanted: Option<i64>) -> Result<Reading, Error> {
    let data = data(answer).and_then(|data| json::object(data.get().as_bytes())).unwrap_or_default();
    let metadata = data.get("metadata").and_then(|metadata| json::object(metadata.get().as_bytes()));
    let version = metadata.as_ref().and_then(|metadata| metadata.get("version")).filter(|version| is_number(version));
    let version = version.map(|version| version.get().to_owned());
    match (data.get("data"), &metadata) {
        (Some(value), _) if answer.status == 200 && is_object(value) => {
            json::check_parts(value)?;
            let value = json::canonical(value).ok_or_else(|| malformed(path))?;
            let marks = metadata.as_ref().and_then(|metadata| metadata.get(MARKS));
            let marks = marks.map(|raw| marks_in(raw).unwrap_or_default());
            Ok(Reading::Value(Found { value, version, marks }))
        }
        // No value, but an account of where it went: only this is a deleted version.
        (Some(value), Some(metadata)) if value.get() == "null" => {
            let destroyed = metadata.get("destroyed").is_some_and(|flag| flag.get() == "true");
            let how = if destroyed { "destroyed" } else { "deleted" };
            // That an old version went says nothing of the secret; that its current one did is how one is deleted.
            let error = match wanted {
                None => not_found(format!("the current version of the secret at {path} is {how}")),
                Some(version) => Error::new(
                    ErrorKind::NoVersion,
                    format!(
                        "version {version} of the secret at {path} is {how}: ask for another, or for none in particular"
                    ),
                ),
            };
            Ok(Reading::Gone(error, version))
        }
        _ => Err(malformed(path)),
    }
}

/// The table for reading what a secret of version 2 is marked with, and its current version; `None` where there are no
/// metadata, and so no secret.
pub fn marks(client: &Client, place: &Place, path: &str, answer: &Response) -> Result<Option<(Marks, String)>, Error> {
    match answer.status {
        200 => {}
        404 if answer.complaint() == Complaint::Nothing => return Ok(None),
        _ => return Err(error(client, place, path, "read", answer)),
    }
    let fields = data(answer).and_then(|data| json::object(data.get().as_bytes())).ok_or_else(|| malformed(path))?;
    let marks = fields.get(MARKS).and_then(|raw| marks_in(raw)).unwrap_or_default();
    let version = fields.get("current_version").filter(|version| is_number(version)).ok_or_else(|| malformed(path))?;
    Ok(Some((marks, version.get().to_owned())))
}

/// Whether what is marked so is ours.
pub fn bears_mark(marks: &Marks) -> bool {
    let (name, value) = MARK;
    marks.get(name).is_some_and(|found| found.expose() == value.as_bytes())
}

/// The table for writing and deleting; `right` is what the token's policies must allow for it.
pub fn done(client: &Client, place: &Place, path: &str, right: &str, answer: &Response) -> Result<(), Error> {
    match answer.status {
        200..300 => Ok(()),
        // Somebody was faster.
        404 if right == "delete" && answer.complaint() == Complaint::Nothing => Ok(()),
        _ => Err(error(client, place, path, right, answer)),
    }
}

/// An object without one of its fields.
pub fn without(fields: &BTreeMap<String, &RawValue>, name: &str) -> SecretBytes {
    let mut out = SecretBuf::default();
    out.push(b'{');
    for (n, (name, value)) in fields.iter().filter(|(field, _)| *field != name).enumerate() {
        if n > 0 {
            out.push(b',');
        }
        json::write_string(name, &mut out);
        out.push(b':');
        out.extend(value.get().as_bytes());
    }
    out.push(b'}');
    out.into()
}

fn marks_in(raw: &RawValue) -> Option<Marks> {
    let fields = json::object(raw.get().as_bytes())?;
    Some(fields.into_iter().map(|(name, value)| (name, json::to_bytes(value))).collect())
}

/// The `data` of an answer, where there is any.
fn data(answer: &Response) -> Option<&RawValue> {
    let data = *json::object(answer.body.expose())?.get("data")?;
    (data.get() != "null").then_some(data)
}

fn warns(answer: &Response) -> bool {
    json::object(answer.body.expose())
        .and_then(|body| json::array(body.get("warnings")?.get().as_bytes()))
        .is_some_and(|warnings| !warnings.is_empty())
}

fn is_number(value: &RawValue) -> bool {
    value.get().starts_with(|first: char| first.is_ascii_digit())
}

fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

fn not_found(message: String) -> Error {
    Error::new(ErrorKind::NotFound, message)
}

fn malformed(path: &str) -> Error {
    Error::new(ErrorKind::Malformed, format!("the answer for {path} is not one of a KV engine"))
}

//! What is written for a push: pure, so that what is equal, merged and refused is a matter of tables.

use std::collections::BTreeMap;

use keyferry_provider_core::{Blame, Error, Payload, Push, Remote, SecretBuf, SecretBytes, json};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::answers::{MARK, MARKS, Marks, without};
use crate::path::KvVersion;

/// What a push says of custom metadata, in `metadata` of a PushSecret.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Custom {
    /// What is to be there, beside the mark.
    wanted: BTreeMap<String, String>,
    /// Whether all else that is there goes.
    replaces: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CustomSpec {
    custom_metadata: Option<BTreeMap<String, String>>,
    merge_policy: Option<String>,
}

impl Custom {
    /// Reads the `metadata` of a push.
    ///
    /// # Errors
    /// `Invalid` where they are of another form.
    pub fn new(remote: &Remote, version: KvVersion) -> Result<Self, Error> {
        let CustomSpec { custom_metadata, merge_policy } = remote.metadata_spec(&["customMetadata", "mergePolicy"])?;
        let replaces = match merge_policy.as_deref() {
            None | Some("" | "Merge") => false,
            Some("Replace") => true,
            Some(_) => return Err(wrong("metadata.spec.mergePolicy must be Merge or Replace")),
        };
        let wanted = custom_metadata.unwrap_or_default();
        if version == KvVersion::V1 && !wanted.is_empty() {
            return Err(wrong("metadata.spec.customMetadata: KV version 1 keeps no metadata"));
        }
        Ok(Self { wanted, replaces })
    }

    /// What is to be there in place of what is; `None` where that is the same.
    pub fn over(&self, there: &Marks) -> Option<Marks> {
        let mut marks = if self.replaces { Marks::new() } else { there.clone() };
        marks.extend(self.wanted.iter().map(|(name, value)| (name.clone(), value.as_str().into())));
        let (name, value) = MARK;
        marks.insert(name.to_owned(), value.into());
        (marks != *there).then_some(marks)
    }
}

/// The fields of the secret as the push wants them: a JSON object in canonical form.
///
/// # Errors
/// `Invalid` where the payload can't be kept so.
pub fn wanted(push: &Push, there: Option<&SecretBytes>, version: KvVersion) -> Result<SecretBytes, Error> {
    let payload = match &push.payload {
        Payload::Value(value) => value.clone(),
        Payload::Fields(fields) => object(fields)?,
    };
    let whole = match &push.remote.property {
        None => payload,
        Some(property) => with(there, property, &payload)?,
    };
    let raw = json::value(whole.expose()).filter(|raw| raw.get().starts_with('{')).ok_or_else(|| {
        // External Secrets Operator's words first: conditions tell them.
        wrong(
            "error unmarshalling vault secret: invalid JSON format: a secret of a KV engine is a JSON object, and what is \
             pushed is none: name a property to push it as",
        )
    })?;
    json::check_parts(raw)?;
    if version == KvVersion::V1 && has(&whole, MARKS) {
        return Err(wrong(
            "the field custom_metadata is where KV version 1 keeps the mark of what we wrote: rename it",
        ));
    }
    json::canonical(raw).ok_or_else(|| wrong("what is pushed is nested too deep"))
}

/// Whether two values are one to the engine, whatever is in them. Version 2 keeps numbers as floats, so that one with more
/// digits would be another each time.
pub fn same(a: &SecretBytes, b: &SecretBytes, version: KvVersion) -> bool {
    let rounded = |value: &SecretBytes| json::canonical_with(json::value(value.expose())?, as_float);
    a == b || (version == KvVersion::V2 && rounded(a).is_some() && rounded(a) == rounded(b))
}

fn as_float(number: &str, out: &mut SecretBuf) {
    match number.parse::<f64>() {
        Ok(float) if float.is_finite() => out.extend(format!("{float:e}").as_bytes()),
        _ => out.extend(number.as_bytes()),
    }
}

/// Whether a secret has a field of this name.
pub fn has(value: &SecretBytes, property: &str) -> bool {
    json::object(value.expose()).is_some_and(|fields| fields.contains_key(property))
}

/// What is left of a secret without a field; `None` where that was the last.
pub fn left(value: &SecretBytes, property: &str) -> Option<SecretBytes> {
    let fields = json::object(value.expose()).unwrap_or_default();
    (fields.len() > 1).then(|| without(&fields, property))
}

/// The body of a write of version 2, which is done only over the version that was read.
pub fn body(value: &SecretBytes, over: &str) -> SecretBytes {
    let mut out = SecretBuf::with_capacity(value.len() + 64);
    out.extend(b"{\"data\":");
    out.extend(value.expose());
    out.extend(format!(",\"options\":{{\"cas\":{over}}}}}").as_bytes());
    out.into()
}

/// The body of a write of version 1: with the mark among the fields.
pub fn marked(value: &SecretBytes) -> SecretBytes {
    let (name, mark) = MARK;
    let fields = json::object(value.expose()).unwrap_or_default();
    let rest = without(&fields, MARKS);
    let mut out = SecretBuf::with_capacity(rest.len() + 64);
    out.extend(format!("{{\"{MARKS}\":{{\"{name}\":\"{mark}\"}}").as_bytes());
    if rest.len() > 2 {
        out.push(b',');
    }
    out.extend(&rest.expose()[1..]);
    out.into()
}

/// The body of a write of custom metadata.
pub fn of_marks(marks: &Marks) -> SecretBytes {
    let mut out = SecretBuf::default();
    out.extend(format!("{{\"{MARKS}\":{{").as_bytes());
    for (n, (name, value)) in marks.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        json::write_string(name, &mut out);
        out.push(b':');
        json::write_string(value.expose_str().unwrap_or_default(), &mut out);
    }
    out.extend(b"}}");
    out.into()
}

/// Several values as one JSON object of strings.
fn object(fields: &BTreeMap<String, SecretBytes>) -> Result<SecretBytes, Error> {
    let texts = fields.iter().map(|(name, value)| Ok((name.as_str(), text(value)?)));
    Ok(json::object_of_texts(texts.collect::<Result<Vec<_>, Error>>()?))
}

/// What is there, with one field set. A field that holds something else than text was not pushed by anybody.
fn with(there: Option<&SecretBytes>, property: &str, value: &SecretBytes) -> Result<SecretBytes, Error> {
    let fields: BTreeMap<String, &RawValue> = there.and_then(|there| json::object(there.expose())).unwrap_or_default();
    if fields.get(property).is_some_and(|raw| !raw.get().starts_with('"')) {
        return Err(wrong(format!("the field {property:?} holds something else than text, which is not overwritten")));
    }
    let rest = without(&fields, property);
    let mut out = SecretBuf::with_capacity(rest.len() + value.len() + property.len() + 8);
    out.push(b'{');
    json::write_string(property, &mut out);
    out.push(b':');
    json::write_string(text(value)?, &mut out);
    if rest.len() > 2 {
        out.push(b',');
    }
    out.extend(&rest.expose()[1..]);
    Ok(out.into())
}

fn text(value: &SecretBytes) -> Result<&str, Error> {
    value.expose_str().ok_or_else(|| wrong("what is pushed is not UTF-8, and KV engines keep text: encode it first"))
}

fn wrong(message: impl Into<String>) -> Error {
    Error::invalid(message).with_blame(Blame::Request)
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;

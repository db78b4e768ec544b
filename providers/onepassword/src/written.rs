//! Items as we write them: made anew, or with one field more, changed or less, and all else as it stands. Pure.

use std::collections::BTreeMap;

use keyferry_provider_core::{Blame, Error, ErrorKind, Payload, Remote, SecretBuf, SecretBytes, json};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::answers::{Item, label, list};

/// The label of the field that is read and written where no other is named.
pub const PASSWORD: &str = "password";

/// Fields by their labels.
pub type Fields = BTreeMap<String, SecretBytes>;

/// What a PushSecret says to this store.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The tags that the item is to have.
    pub tags: Option<Vec<String>>,
    /// The vault that a new item goes to; the first where none is named.
    pub vault: Option<String>,
    /// The type of new fields.
    #[serde(default)]
    field_type: Option<String>,
}

impl Metadata {
    /// Reads what a push says.
    pub fn new(remote: &Remote) -> Result<Self, Error> {
        let spec: Self = remote.metadata_spec(&["tags", "vault", "fieldType"])?;
        match spec.type_of_fields() {
            Some(_) => Ok(spec),
            None => {
                let message =
                    "metadata: spec.fieldType must be one of text, concealed, url, email, phone, date and monthYear";
                Err(Error::invalid(message).with_blame(Blame::Request))
            }
        }
    }

    /// The type of new fields, in the words of Connect.
    fn type_of_fields(&self) -> Option<&'static str> {
        Some(match self.field_type.as_deref().unwrap_or_default().to_lowercase().as_str() {
            "" | "concealed" | "password" => "CONCEALED",
            "text" | "string" => "STRING",
            "url" => "URL",
            "email" => "EMAIL",
            "phone" => "PHONE",
            "date" => "DATE",
            "monthyear" => "MONTH_YEAR",
            _ => return None,
        })
    }
}

/// The fields that a push writes, by their labels.
pub fn fields_of(payload: &Payload, property: Option<&str>) -> Result<Fields, Error> {
    let property = property.filter(|property| !property.is_empty());
    let fields = match (payload, property) {
        (Payload::Value(value), property) => [(property.unwrap_or(PASSWORD).to_owned(), value.clone())].into(),
        (Payload::Fields(fields), None) => fields.clone(),
        (Payload::Fields(fields), Some(property)) => [(property.to_owned(), as_object(fields)?)].into(),
    };
    if fields.is_empty() {
        return Err(Error::invalid("there is nothing to push: the Secret has no keys").with_blame(Blame::Request));
    }
    for (label, value) in &fields {
        text(label, value)?;
    }
    Ok(fields)
}

fn as_object(fields: &Fields) -> Result<SecretBytes, Error> {
    let mut out = Object::default();
    for (name, value) in fields {
        out.string(name, text(name, value)?);
    }
    Ok(out.end())
}

fn text<'a>(label: &str, value: &'a SecretBytes) -> Result<&'a str, Error> {
    value.expose_str().ok_or_else(|| {
        let message = format!("the value for field {label:?} is not text, which is all that a field keeps");
        Error::invalid(message).with_blame(Blame::Request)
    })
}

/// The body that makes an item.
pub fn new_item(title: &str, vault: &str, fields: &Fields, metadata: &Metadata) -> Result<SecretBytes, Error> {
    let new: Vec<SecretBytes> =
        fields.iter().map(|(label, value)| new_field(label, value, metadata)).collect::<Result<_, _>>()?;
    let mut of_vault = Object::default();
    of_vault.string("id", vault);
    let mut out = Object::default();
    out.string("category", "SERVER");
    out.raw("fields", array(new.iter().map(SecretBytes::expose)).expose());
    if let Some(tags) = &metadata.tags {
        out.raw("tags", strings(tags).expose());
    }
    out.string("title", title);
    out.raw("vault", of_vault.end().expose());
    Ok(out.end())
}

/// The body that writes an item with these fields and tags; `None` where it has them already.
pub fn with_fields(
    item: &Item,
    fields: &Fields,
    metadata: &Metadata,
    name: &str,
) -> Result<Option<SecretBytes>, Error> {
    let tags = metadata.tags.as_ref().filter(|tags| **tags != item.tags);
    let has = |(label, value): (&String, &SecretBytes)| {
        item.fields.iter().any(|field| field.label == *label && field.value == *value)
    };
    for label in fields.keys() {
        only_one(item, label, name)?;
    }
    if tags.is_none() && fields.iter().all(has) {
        return Ok(None);
    }
    let whole = json::object(item.body.expose()).unwrap_or_default();
    let mut written: Vec<SecretBytes> = Vec::new();
    for raw in list(&whole, "fields").unwrap_or_default() {
        let new = labelled(raw).and_then(|label| Some((fields.get(&label)?, label)));
        written.push(match new {
            Some((value, label)) => changed(raw, text(&label, value)?),
            None => SecretBytes::new(raw.get().as_bytes().to_vec()),
        });
    }
    for (label, value) in fields.iter().filter(|(label, _)| !item.fields.iter().any(|field| field.label == **label)) {
        written.push(new_field(label, value, metadata)?);
    }
    let mut changes = BTreeMap::from([("fields", array(written.iter().map(SecretBytes::expose)))]);
    if let Some(tags) = tags {
        changes.insert("tags", strings(tags));
    }
    Ok(Some(rewritten(&whole, &changes)))
}

/// What taking a field away leaves.
pub enum Left {
    /// All that was there: there is no such field.
    All,
    /// An item, by the body that writes it.
    Item(SecretBytes),
    /// Nothing that anybody wrote.
    Nothing,
}

/// An item without a field.
pub fn without_field(item: &Item, gone: &str, name: &str) -> Result<Left, Error> {
    only_one(item, gone, name)?;
    if !item.fields.iter().any(|field| field.label == gone) {
        return Ok(Left::All);
    }
    // Fields that each item of a kind has are empty where nobody filled them.
    if item.files.is_empty() && item.fields.iter().all(|field| field.label == gone || field.value.is_empty()) {
        return Ok(Left::Nothing);
    }
    let whole = json::object(item.body.expose()).unwrap_or_default();
    let fields = list(&whole, "fields").unwrap_or_default();
    let kept = fields.iter().filter(|raw| labelled(raw).as_deref() != Some(gone));
    let changes = BTreeMap::from([("fields", array(kept.map(|raw| raw.get().as_bytes())))]);
    Ok(Left::Item(rewritten(&whole, &changes)))
}

fn only_one(item: &Item, label: &str, name: &str) -> Result<(), Error> {
    match item.fields.iter().filter(|field| field.label == label).count() {
        0 | 1 => Ok(()),
        count => {
            let message = format!("item {name:?} has {count} fields {label:?}: rename all but one");
            Err(Error::new(ErrorKind::Invalid, message).with_blame(Blame::Store))
        }
    }
}

fn labelled(raw: &RawValue) -> Option<String> {
    label(&json::object(raw.get().as_bytes())?)
}

/// A field with another value.
fn changed(raw: &RawValue, value: &str) -> SecretBytes {
    let field = json::object(raw.get().as_bytes()).unwrap_or_default();
    let mut quoted = SecretBuf::default();
    json::write_string(value, &mut quoted);
    rewritten(&field, &BTreeMap::from([("value", quoted.into())]))
}

fn new_field(label: &str, value: &SecretBytes, metadata: &Metadata) -> Result<SecretBytes, Error> {
    let mut out = Object::default();
    out.string("label", label);
    out.string("type", metadata.type_of_fields().unwrap_or("CONCEALED"));
    out.string("value", text(label, value)?);
    Ok(out.end())
}

/// An object with some of its fields exchanged, or more of them, and the others as they stand.
fn rewritten(whole: &BTreeMap<String, &RawValue>, changes: &BTreeMap<&str, SecretBytes>) -> SecretBytes {
    let mut out = Object::default();
    for (key, raw) in whole.iter().filter(|(key, _)| !changes.contains_key(key.as_str())) {
        out.raw(key, raw.get().as_bytes());
    }
    for (key, value) in changes {
        out.raw(key, value.expose());
    }
    out.end()
}

fn strings(texts: &[String]) -> SecretBytes {
    let quoted: Vec<SecretBytes> = texts
        .iter()
        .map(|text| {
            let mut quoted = SecretBuf::default();
            json::write_string(text, &mut quoted);
            quoted.into()
        })
        .collect();
    array(quoted.iter().map(SecretBytes::expose))
}

fn array<'a>(elements: impl Iterator<Item = &'a [u8]>) -> SecretBytes {
    let mut out = SecretBuf::default();
    out.push(b'[');
    for (n, element) in elements.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend(element);
    }
    out.push(b']');
    out.into()
}

/// A JSON object that is being written.
#[derive(Default)]
struct Object(SecretBuf);

impl Object {
    fn key(&mut self, key: &str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        json::write_string(key, &mut self.0);
        self.0.push(b':');
    }

    fn string(&mut self, key: &str, value: &str) {
        self.key(key);
        json::write_string(value, &mut self.0);
    }

    fn raw(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        self.0.extend(value);
    }

    fn end(mut self) -> SecretBytes {
        if self.0.is_empty() {
            self.0.push(b'{');
        }
        self.0.push(b'}');
        self.0.into()
    }
}

#[cfg(test)]
#[path = "written_tests.rs"]
mod tests;

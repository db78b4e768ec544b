//! From `spec.provider.age` and `spec.provider.sops` to plain data that is known to make sense.

use std::collections::BTreeSet;
use std::fmt;

use keyferry_documents::Format;
use keyferry_documents::place::Place;
use keyferry_limits::{DOCUMENT_KEYS, PROVIDER_ENTRIES};
use keyferry_provider_core::{Error, SecretRef, filled};
use serde::Deserialize;
use serde_json::Value;

/// Whose documents they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Documents of age, as a whole or value by value.
    Age,
    /// Files of SOPS.
    Sops,
}

impl fmt::Display for Kind {
    /// The path of the spec.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Age => "spec.provider.age",
            Self::Sops => "spec.provider.sops",
        })
    }
}

/// What a store's spec comes to.
#[derive(Debug)]
pub struct Config {
    /// Whose documents they are.
    pub kind: Kind,
    /// The documents.
    pub documents: Vec<Document>,
    /// Where identities of age are kept, each by its field.
    pub identities: Vec<(String, Place)>,
    /// The specs of services that keep keys, by name.
    pub services: Vec<(&'static str, Value)>,
}

/// A document.
#[derive(Debug)]
pub struct Document {
    /// What it is called.
    pub name: String,
    /// How it is written.
    pub format: Format,
    /// Where it is kept.
    pub place: Place,
    /// Its field.
    pub field: String,
}

/// The spec. Nulls are taken as absent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    documents: Option<Vec<DocumentSpec>>,
    identities: Option<Vec<IdentitySpec>>,
    aws: Option<Value>,
    azurekv: Option<Value>,
    gcpsm: Option<Value>,
    vault: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DocumentSpec {
    name: Option<String>,
    format: Option<String>,
    inline: Option<String>,
    config_map_ref: Option<SecretRef>,
    secret_ref: Option<SecretRef>,
    file: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentitySpec {
    secret_ref: Option<SecretRef>,
    file: Option<String>,
}

impl Config {
    /// Reads the spec.
    pub fn new(kind: Kind, spec: &Value) -> Result<Self, Error> {
        // The parser's own error would quote the value it stumbles over.
        let spec = Spec::deserialize(spec).map_err(|_| {
            Error::invalid(format!("{kind} must hold lists of documents and identities: check the types of its fields"))
        })?;
        let documents = spec.documents.unwrap_or_default();
        if documents.is_empty() {
            return Err(Error::invalid(format!("{kind}.documents is empty: name at least one document")));
        }
        let identities = spec.identities.unwrap_or_default();
        if documents.len() > PROVIDER_ENTRIES.size() {
            return Err(Error::limit(&PROVIDER_ENTRIES));
        }
        if identities.len() > DOCUMENT_KEYS.size() {
            return Err(Error::limit(&DOCUMENT_KEYS));
        }
        let documents = documents.into_iter().enumerate();
        let documents: Vec<_> =
            documents.map(|(n, one)| document(format!("{kind}.documents[{n}]"), one)).collect::<Result<_, _>>()?;
        let mut names = BTreeSet::new();
        if let Some(twice) = documents.iter().find(|document| !names.insert(&document.name)) {
            return Err(Error::invalid(format!(
                "{}: another document has the name {:?}, too",
                twice.field, twice.name
            )));
        }
        let identities = identities.into_iter().enumerate();
        let identities: Vec<_> =
            identities.map(|(n, one)| identity(format!("{kind}.identities[{n}]"), one)).collect::<Result<_, _>>()?;
        let services = [("aws", spec.aws), ("azurekv", spec.azurekv), ("gcpsm", spec.gcpsm), ("vault", spec.vault)];
        let services: Vec<_> = services.into_iter().filter_map(|(name, spec)| Some((name, spec?))).collect();
        if kind == Kind::Age && !services.is_empty() {
            return Err(Error::invalid(format!("{kind}.{} is for spec.provider.sops only", services[0].0)));
        }
        if identities.is_empty() && services.is_empty() {
            let more = if kind == Kind::Sops { ", aws, azurekv, gcpsm or vault" } else { "" };
            return Err(Error::invalid(format!("{kind} has nothing that opens documents: set identities{more}")));
        }
        Ok(Self { kind, documents, identities, services })
    }
}

fn document(field: String, spec: DocumentSpec) -> Result<Document, Error> {
    let place = Place::one_of(&field, spec.inline, spec.config_map_ref, spec.secret_ref, spec.file)?;
    let of_place = place.name().map(str::to_owned);
    let name = filled(spec.name)
        .or_else(|| filled(of_place.clone()))
        .ok_or_else(|| Error::invalid(format!("{field}.name is missing: it is the key of what the document holds")))?;
    let format = match filled(spec.format) {
        Some(word) => format(&word).ok_or_else(|| {
            let known = Format::NAMES.map(|(name, _)| name).join(", ");
            Error::invalid(format!("{field}.format is none of {known}"))
        })?,
        // The file's own name tells more than the one that somebody gave it here.
        None => match filled(of_place).map(|name| Format::of_name(&name)) {
            Some(format) if format != Format::Binary => format,
            _ => Format::of_name(&name),
        },
    };
    Ok(Document { name, format, place, field })
}

fn format(word: &str) -> Option<Format> {
    Format::NAMES.iter().find(|(name, _)| *name == word).map(|(_, format)| *format)
}

fn identity(field: String, spec: IdentitySpec) -> Result<(String, Place), Error> {
    match (spec.secret_ref, filled(spec.file)) {
        (Some(reference), None) => Ok((field, Place::Secret(reference))),
        (None, Some(path)) => Ok((field, Place::File(path))),
        _ => Err(Error::invalid(format!("{field} must have one of secretRef and file"))),
    }
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::ErrorKind;
    use serde_json::json;

    use super::*;

    const CANARY: &str = "canary-7f3a";

    #[test]
    fn a_wrong_spec_is_named_by_its_field() {
        let one = json!([{"file": "a.yaml"}]);
        let key = json!([{"file": "age.key"}]);
        for (kind, spec, expected) in [
            (Kind::Age, json!({"documents": CANARY}), "spec.provider.age must hold lists"),
            (Kind::Age, json!({}), "spec.provider.age.documents is empty"),
            (Kind::Sops, json!({"documents": one}), "set identities, aws, azurekv, gcpsm or vault"),
            (Kind::Age, json!({"documents": one}), "set identities"),
            (
                Kind::Age,
                json!({"documents": one, "identities": [{}]}),
                "identities[0] must have one of secretRef and file",
            ),
            (Kind::Age, json!({"documents": [{}], "identities": key}), "documents[0] must have one of inline"),
            (
                Kind::Age,
                json!({"documents": [{"file": "a", "inline": "b"}], "identities": key}),
                "must have one of inline",
            ),
            (Kind::Age, json!({"documents": [{"inline": CANARY}], "identities": key}), "documents[0].name is missing"),
            (
                Kind::Age,
                json!({"documents": [{"file": "a", "format": CANARY}], "identities": key}),
                "format is none of yaml",
            ),
            (Kind::Age, json!({"documents": [{"file": "x/a"}, {"file": "y/a"}], "identities": key}), "name \"a\", too"),
            (Kind::Age, json!({"documents": one, "aws": {}}), "for spec.provider.sops only"),
            (
                Kind::Age,
                json!({"documents": vec![json!({"file": "a"}); 101], "identities": key}),
                "limit provider-entries",
            ),
            (
                Kind::Age,
                json!({"documents": one, "identities": vec![json!({"file": "a"}); 101]}),
                "limit document-keys",
            ),
        ] {
            let error = Config::new(kind, &spec).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().contains(expected) && !error.message().contains(CANARY), "{error}");
        }
    }

    #[test]
    fn a_document_is_called_by_its_key_or_file_and_read_by_its_end() {
        let spec = json!({"documents": [
            {"file": "env/prod.yaml"},
            {"configMapRef": {"name": "cm", "key": "prod.env"}, "name": "settings"},
            {"secretRef": {"name": "s", "key": "tls"}, "format": "json"},
            {"inline": "x", "name": "a.ini", "file": null},
        ], "identities": [{"secretRef": {"name": "s", "key": "k"}}]});
        let config = Config::new(Kind::Age, &spec).unwrap();
        let named: Vec<_> = config.documents.iter().map(|document| (document.name.as_str(), document.format)).collect();
        let expected =
            [("prod.yaml", Format::Yaml), ("settings", Format::Dotenv), ("tls", Format::Json), ("a.ini", Format::Ini)];
        assert_eq!(named, expected);
    }
}

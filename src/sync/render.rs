//! From what stores answered to the data of the target. Pure.

use std::collections::{BTreeMap, HashMap};

use keyferry_crds::{DeletionPolicy, NullBytePolicy, RemoteRef};
use keyferry_provider_core::{Capabilities, Error, ErrorKind, Key, SecretBytes, json};

use super::decode::{check_key, convert_key, decode};
use super::outcome::{Failure, Retry, headline};
use super::plan::{Entry, Request};
use super::property::{self, Problem};
use crate::store::StoreId;

/// The data of a target: sorted, as hashes and the API server have it.
pub type Data = BTreeMap<String, SecretBytes>;

/// What the stores answered.
#[derive(Default)]
pub struct Answers {
    /// By store and key.
    pub values: HashMap<(StoreId, Key), Result<SecretBytes, Error>>,
    /// What each store can do.
    pub capabilities: HashMap<StoreId, Capabilities>,
}

/// The rendered data.
#[derive(Debug)]
pub struct Rendered {
    /// By key.
    pub data: Data,
    /// Entries that do not exist in the store and that deletionPolicy passes over.
    pub missing: Vec<String>,
}

/// An entry that could not be rendered.
struct Problematic {
    kind: ErrorKind,
    cause: String,
    retry: Retry,
}

impl From<Error> for Problematic {
    fn from(error: Error) -> Self {
        let retry = match (error.retry_after(), error.kind()) {
            (Some(wait), _) => Retry::After(wait),
            (None, ErrorKind::NotFound | ErrorKind::Denied | ErrorKind::Unauthenticated) => Retry::Late,
            (None, _) => Retry::Soon,
        };
        Self { kind: error.kind(), cause: error.message().to_owned(), retry }
    }
}

impl Problematic {
    fn new(kind: ErrorKind, cause: impl Into<String>) -> Self {
        Self::from(Error::new(kind, cause))
    }
}

/// Renders `requests` in order, a later entry winning a key over an earlier one.
///
/// Every entry is looked at, so that all that is wrong is said at once; one failed entry fails the whole, so that no
/// key ever vanishes from a target because of an error.
pub fn render(requests: &[Request], answers: &Answers, deletion: &DeletionPolicy) -> Result<Rendered, Failure> {
    let mut rendered = Rendered { data: Data::new(), missing: Vec::new() };
    let mut causes = Vec::new();
    let mut retry = Retry::OnChange;
    for request in requests {
        match entry(request, answers) {
            Ok(data) => rendered.data.extend(data),
            Err(problem) if problem.kind == ErrorKind::NotFound && *deletion != DeletionPolicy::Retain => {
                rendered.missing.push(format!("{} (key={})", request.entry, request.key.name));
            }
            Err(problem) => {
                let Request { entry, store, key, .. } = request;
                causes.push(format!("error processing {entry}: key {:?} of {}: {}", key.name, store.id, problem.cause));
                retry = retry.max(problem.retry);
            }
        }
    }
    match causes.is_empty() {
        true => Ok(rendered),
        false => Err(Failure { headline: headline::FETCH, causes, retry }),
    }
}

fn entry(request: &Request, answers: &Answers) -> Result<Data, Problematic> {
    let at = (request.store.id.clone(), request.key.clone());
    let unanswered = || Problematic::new(ErrorKind::Malformed, "the store left this key unanswered");
    let value = answers.values.get(&at).ok_or_else(unanswered)?.as_ref().map_err(|error| error.clone())?;
    let capabilities = answers.capabilities.get(&at.0).ok_or_else(unanswered)?;
    let value = match request.remote.property.as_deref() {
        None | Some("") => value.clone(),
        Some(property) => take_property(value, property, capabilities)?,
    };
    match &request.entry {
        Entry::Data(_, key) => Ok([(key.clone(), finish(value, &request.remote, None)?)].into()),
        Entry::Extract(_) => extract(&value, &request.remote),
    }
}

fn take_property(value: &SecretBytes, property: &str, capabilities: &Capabilities) -> Result<SecretBytes, Problematic> {
    property::lookup(value, property, capabilities.property).map_err(|problem| match problem {
        Problem::NotJson => {
            Problematic::new(ErrorKind::Malformed, format!("the value is not JSON, so that it has no property {property:?}"))
        }
        Problem::Missing if capabilities.missing_property_is_not_found => {
            Problematic::new(ErrorKind::NotFound, format!("the value has no property {property:?}"))
        }
        // Not "not found": that would let deletionPolicy remove a key for a typing error.
        Problem::Missing => Problematic {
            kind: ErrorKind::Malformed,
            cause: format!("the value has no property {property:?}"),
            retry: Retry::Late,
        },
        Problem::Unsupported(c) => Problematic::new(
            ErrorKind::Unsupported,
            format!("property {property:?} uses {c:?}: only dotted paths are supported so far (write \\{c} for the character itself)"),
        ),
    })
}

/// `dataFrom.extract`: each field of a JSON object becomes a key.
fn extract(value: &SecretBytes, remote: &RemoteRef) -> Result<Data, Problematic> {
    let object = json::object(value.expose())
        .ok_or_else(|| Problematic::new(ErrorKind::Malformed, "extract needs a JSON object, and the value is none"))?;
    let mut data = Data::new();
    for (field, raw) in object {
        let key = convert_key(&field, &remote.conversion_strategy);
        if key.is_empty() {
            continue; // as in External Secrets Operator
        }
        check_key(&key).map_err(|problem| {
            Problematic::new(ErrorKind::Malformed, format!("field {field:?} can't be a key of a Secret: it {problem}"))
        })?;
        let value = finish(json::to_bytes(raw), remote, Some(&field))?;
        if data.insert(key.clone(), value).is_some() {
            return Err(Problematic::new(
                ErrorKind::Malformed,
                format!(
                    "secret name collision during conversion: {key}: two fields become this key; use conversionStrategy Unicode"
                ),
            ));
        }
    }
    Ok(data)
}

/// Decoding, then the check for null bytes.
fn finish(value: SecretBytes, remote: &RemoteRef, field: Option<&str>) -> Result<SecretBytes, Problematic> {
    let what = || match field {
        Some(field) => format!("field {field:?}"),
        None => "the value".to_owned(),
    };
    let decoded = decode(&value, &remote.decoding_strategy).ok_or_else(|| {
        let strategy = &remote.decoding_strategy;
        Problematic::new(ErrorKind::Malformed, format!("{} is not {strategy}, which decodingStrategy asks for", what()))
    })?;
    if remote.null_byte_policy == NullBytePolicy::Fail && decoded.expose().contains(&0) {
        return Err(Problematic::new(ErrorKind::Malformed, format!("{} contains null bytes", what())));
    }
    Ok(decoded)
}

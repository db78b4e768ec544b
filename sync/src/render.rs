//! From what stores answered to the data of the target. Pure.

use std::collections::{BTreeMap, HashMap};

use keyferry_crds::{DeletionPolicy, NullBytePolicy, RemoteRef};
use keyferry_limits::{Budget, Exceeded};
use keyferry_provider_core::parts::Parts;
use keyferry_provider_core::{Blame, Dialect, Error, ErrorKind, Key, PropertyLookup, SecretBytes, json};

use crate::data::{Data, json_cost};
use crate::decode::{check_name, convert_key, decode};
use crate::engine::{ENTRY, Means};
use crate::fields;
use crate::items;
use crate::outcome::{Failure, Headline, Retry};
use crate::parts::{self, NoPart};
use crate::property::{self, NoValue};
use crate::request::{Entry, Origin, Request, Wanted, asked};
use crate::rewrite::{Renamed, again, rewrite};
use crate::store::StoreId;
use crate::told;
use crate::told::{Name, Spec, Told};

/// What the stores answered.
#[derive(Default)]
pub struct Answers {
    /// By store and key.
    pub values: HashMap<(StoreId, Key), Result<SecretBytes, Error>>,
    /// The stores' own names of the versions that they answered with, where they have any.
    pub versions: HashMap<(StoreId, Key), String>,
    /// What searches found, by the place of their request.
    pub found: HashMap<usize, Result<Vec<Key>, Error>>,
    /// How each store is read.
    pub dialects: HashMap<StoreId, Dialect>,
    /// What generators made, by the place of their request.
    pub generated: HashMap<usize, Result<Data, Error>>,
    /// The stores that log in with the very Secret that is to be written.
    pub logins: Vec<StoreId>,
}

impl Answers {
    /// The keys that each store was asked for, sorted.
    pub fn asked(&self) -> BTreeMap<&StoreId, Vec<Key>> {
        let mut all: BTreeMap<&StoreId, Vec<Key>> = BTreeMap::new();
        for (store, key) in self.values.keys() {
            all.entry(store).or_default().push(key.clone());
        }
        all.values_mut().for_each(|keys| keys.sort());
        all
    }
}

/// The rendered data.
#[derive(Debug)]
pub struct Rendered {
    /// By key. Empty only where the store has none of the secrets that the spec names, and deletionPolicy acts on that.
    pub data: Data,
    /// Entries that do not exist in the store and that deletionPolicy passes over.
    pub missing: Vec<Told>,
}

/// An entry that could not be rendered.
struct Problematic {
    /// Whether the store itself said that the secret is not there: all that deletionPolicy acts on.
    gone: bool,
    /// Whether the store denied it to the login that asked: neither a generator, nor we ourselves.
    denied: bool,
    cause: Told,
    retry: Retry,
}

impl From<Error> for Problematic {
    fn from(error: Error) -> Self {
        let retry = error.retry_after().map_or_else(|| Retry::of(error.kind()), Retry::After);
        let denied = error.kind() == ErrorKind::Denied && error.blame() == Blame::Credentials;
        Self { gone: false, denied, cause: Told::from(&error), retry }
    }
}

impl From<Exceeded> for Problematic {
    fn from(exceeded: Exceeded) -> Self {
        Self::late(exceeded)
    }
}

impl Problematic {
    /// What a store answered is not of the form that was asked for.
    fn malformed(cause: impl Into<Told>) -> Self {
        Self { gone: false, denied: false, cause: cause.into(), retry: Retry::of(ErrorKind::Malformed) }
    }

    /// What the spec asks for is not there, though the store said nothing of the kind: most likely a slip.
    fn late(cause: impl Into<Told>) -> Self {
        Self { gone: false, denied: false, cause: cause.into(), retry: Retry::Late }
    }

    /// The error of a secret that was asked for. Here, and in [`found`] for all that a search found, it is decided what is
    /// gone: only what the store says is not there when it is asked for that very secret. Missing metadata, a missing
    /// property, an empty search, names that a rewrite loses, a value without fields are no reason to delete anything.
    fn of_secret(error: &Error, key: &Key, entry: &Entry, dialect: &Dialect) -> Self {
        let is_not_there = error.kind() == ErrorKind::NotFound && !key.metadata;
        let fails = matches!(entry, Entry::Data(..)) && dialect.missing_fails_data;
        Self { gone: is_not_there && !fails, ..Self::from(error.clone()) }
    }
}

/// Renders `requests` in order, a later entry winning a key over an earlier one.
///
/// Every entry is looked at, so that all that is wrong is said at once; one failed entry fails the whole, so that no
/// key ever vanishes from a target because of an error.
pub fn render(
    requests: &[Request],
    answers: &Answers,
    deletion: &DeletionPolicy,
    means: &Means<'_>,
) -> Result<Rendered, Failure> {
    let mut rendered = Rendered { data: Data::new(), missing: Vec::new() };
    let mut causes = Vec::new();
    let (mut retry, mut denied) = (Retry::OnChange, false);
    if requests.is_empty() {
        let cause = "no entry asks for anything: set extract, find or sourceRef.generatorRef in spec.dataFrom";
        return Err(Failure::new(Headline::Fetch, cause, Retry::OnChange));
    }
    for (place, request) in requests.iter().enumerate() {
        let entry = match &request.origin {
            Origin::Store(store, Wanted::Key(key)) => one(request, &store.id, key, answers, means),
            Origin::Store(store, Wanted::Query(_)) => found(request, &store.id, place, answers, means),
            Origin::Generator(_) => generated(request, place, answers, means),
        };
        match entry.and_then(something) {
            Ok(data) => rendered.data.extend(data),
            Err(problem) if problem.gone && matches!(deletion, DeletionPolicy::Delete | DeletionPolicy::Merge) => {
                rendered.missing.push(match &request.origin {
                    Origin::Store(_, Wanted::Key(key)) => {
                        // As it stands in the spec, and as External Secrets Operator writes it.
                        told!("{} (key={})", request.entry, Told::without_values(key.name.clone()))
                    }
                    Origin::Store(_, Wanted::Query(_)) | Origin::Generator(_) => told!("{}", request.entry),
                });
            }
            Err(problem) => {
                let what = match &request.origin {
                    Origin::Store(store, Wanted::Key(key)) => told!("key {} of {}", Spec(&key.name), store.id),
                    Origin::Store(store, Wanted::Query(_)) => told!("search of {}", store.id),
                    Origin::Generator(generator) => {
                        told!("{} {}", Told::without_values(generator.kind.clone()), Spec(&generator.name))
                    }
                };
                causes.push(told!("error processing {}: {}: {}", request.entry, what, problem.cause));
                retry = retry.max(problem.retry);
                denied |= problem.denied;
            }
        }
    }
    if causes.is_empty() {
        Ok(rendered)
    } else {
        Err(Failure { headline: Headline::Fetch, causes, retry, bound: false, theirs: false, denied })
    }
}

fn unanswered() -> Problematic {
    Problematic::malformed("the store left this key unanswered")
}

/// An entry that yields no key is a failure: else its keys would go from the target without anybody's word that they should.
fn something(data: Data) -> Result<Data, Problematic> {
    let nothing = "it yields no key, so that keys would go from the target: correct the entry, or take it out";
    if data.is_empty() { Err(Problematic::late(nothing)) } else { Ok(data) }
}

fn one(
    request: &Request,
    store: &StoreId,
    key: &Key,
    answers: &Answers,
    means: &Means<'_>,
) -> Result<Data, Problematic> {
    let dialect = answers.dialects.get(store);
    let property = request.remote.property.as_deref().unwrap_or_default();
    let at = (store.clone(), dialect.map_or_else(|| key.clone(), |dialect| asked(key, property, dialect)));
    let value = match (answers.values.get(&at).ok_or_else(unanswered)?, dialect) {
        (Ok(value), _) => value,
        (Err(error), Some(dialect)) => return Err(Problematic::of_secret(error, key, &request.entry, dialect)),
        // Of a store that could not be entered nothing is known but why.
        (Err(error), None) => return Err(error.clone().into()),
    };
    let dialect = dialect.ok_or_else(unanswered)?;
    let is_fields = dialect.property == PropertyLookup::Base64Fields && !key.metadata;
    let is_parts = dialect.property == PropertyLookup::Parts;
    let value = match (request.remote.property.as_deref(), &request.entry) {
        _ if dialect.property == PropertyLookup::OfTheStore => value.clone(),
        (_, Entry::Data(..)) if is_parts => take_property(value, property, key, dialect, means.budget)?,
        _ if is_parts => {
            let parts = fields_of(value, Parts::read, means.budget)?;
            let all = parts::all(&parts, property);
            return named(all.map_err(|(name, problem)| no_part(&problem, &name))?, request, means);
        }
        (None | Some(""), Entry::Data(..)) if is_fields => fields_of(value, fields::whole, means.budget)?,
        (None | Some(""), _) if is_fields => {
            return named(fields_of(value, fields::all, means.budget)?, request, means);
        }
        (None | Some(""), Entry::Extract(_)) if dialect.property == PropertyLookup::Items => {
            fields_of(value, items::first, means.budget)?
        }
        (None | Some(""), Entry::Extract(_)) if dialect.property == PropertyLookup::ValueAndFields => {
            fields_of(value, items::fields, means.budget)?
        }
        (None | Some(""), _) if dialect.property == PropertyLookup::ValueAndFields => {
            fields_of(value, items::value, means.budget)?.ok_or_else(|| {
                Problematic::late("it holds several fields, and no value of its own: name one of them in property")
            })?
        }
        (None | Some(""), _) => value.clone(),
        (Some(property), _) => take_property(value, property, key, dialect, means.budget)?,
    };
    match &request.entry {
        Entry::Data(_, key) => Ok([(key.clone(), finish(value, &request.remote, None, means.budget)?)].into()),
        Entry::Extract(_) | Entry::Find(_) | Entry::Generator(_) => {
            let fields = extract(&value, dialect, means.budget)?;
            let is_tags = key.metadata && dialect.tags_name_the_secret && request.remote.property.is_none();
            named(if is_tags { tagged(fields, key, means.budget)? } else { fields }, request, means)
        }
    }
}

/// Tags as External Secrets Operator names them where they are extracted: after the secret, which is what stands behind the
/// slash of a key, and those that hold texts in JSON field by field.
fn tagged(tags: Data, key: &Key, budget: &Budget) -> Result<Data, Problematic> {
    let secret = key.name.rsplit('/').next().unwrap_or_default();
    let mut named = Data::new();
    for (tag, value) in tags {
        budget.bytes(json_cost(&value))?;
        let texts = json::object(value.expose()).filter(|all| all.values().all(|raw| raw.get().starts_with('"')));
        match texts {
            Some(texts) => {
                named.extend(texts.iter().map(|(field, raw)| (format!("{secret}_{tag}_{field}"), json::to_bytes(raw))));
            }
            None => _ = named.insert(format!("{secret}_{tag}"), value),
        }
    }
    Ok(named)
}

/// What is made of a value that is fields of any bytes.
fn fields_of<T>(
    value: &SecretBytes,
    read: impl FnOnce(&SecretBytes) -> Option<T>,
    budget: &Budget,
) -> Result<T, Problematic> {
    take_apart(value, budget)?;
    let fields = read(value);
    fields.ok_or_else(|| Problematic::malformed("the store answered fields that can't be read"))
}

/// Pays for taking JSON apart and for copies of its parts.
fn take_apart(value: &SecretBytes, budget: &Budget) -> Result<(), Exceeded> {
    budget.bytes(json_cost(value).saturating_add(value.len()))?;
    budget.steps(value.len())
}

/// `dataFrom.find`: every secret that was found becomes a key. One that was deleted since is not there; any other
/// failure is one of the whole, since a key must not vanish from a target for it. A search that finds nothing tells
/// nothing of any secret.
fn found(
    request: &Request,
    store: &StoreId,
    place: usize,
    answers: &Answers,
    means: &Means<'_>,
) -> Result<Data, Problematic> {
    let keys = answers.found.get(&place).ok_or_else(unanswered)?.as_ref().map_err(|error| error.clone())?;
    let dialect = answers.dialects.get(store).ok_or_else(unanswered)?;
    if dialect.property == PropertyLookup::Parts && !keys.is_empty() {
        return found_parts(request, store, keys, answers, means);
    }
    if keys.is_empty() {
        return Err(Problematic::late(
            "it finds nothing, which is no proof that anything is gone: correct find.name, find.path or find.tags, or take \
             the entry out",
        ));
    }
    let mut values = Renamed::default();
    for key in keys {
        match answers.values.get(&(store.clone(), key.clone())).ok_or_else(unanswered)? {
            Ok(value) => {
                let is_fields = dialect.property == PropertyLookup::Base64Fields && !key.metadata;
                means.budget.steps(1 + key.name.len())?;
                means.budget.bytes(2 * key.name.len() + ENTRY)?;
                let value = if is_fields { fields_of(value, fields::whole, means.budget)? } else { value.clone() };
                let name = if dialect.find_converts_names {
                    convert_key(&key.name, &request.remote.conversion_strategy)
                } else {
                    key.name.clone()
                };
                values.put(name.clone(), &key.name, value).map_err(|two| collision(&name, &two))?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.clone().context(format!("key {:?}", key.name)).into()),
        }
    }
    let values = values.into_data();
    if values.is_empty() {
        let cause = "all secrets that it finds are deleted in the store".into();
        return Err(Problematic { gone: true, denied: false, cause, retry: Retry::Late });
    }
    named(values, request, means)
}

/// A search in a store whose secrets are fields and files: all of them whose names match. Of one name in several places
/// that of the first counts; in one place they must be the same.
fn found_parts(
    request: &Request,
    store: &StoreId,
    keys: &[Key],
    answers: &Answers,
    means: &Means<'_>,
) -> Result<Data, Problematic> {
    let Origin::Store(_, Wanted::Query(query)) = &request.origin else { return Err(unanswered()) };
    let mut secrets = Vec::new();
    for key in keys {
        match answers.values.get(&(store.clone(), key.clone())).ok_or_else(unanswered)? {
            Ok(value) => secrets.push(fields_of(value, Parts::read, means.budget)?),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.clone().context(format!("key {:?}", key.name)).into()),
        }
    }
    if secrets.is_empty() {
        let cause = "all secrets that it finds are deleted in the store".into();
        return Err(Problematic { gone: true, denied: false, cause, retry: Retry::Late });
    }
    secrets.sort_by_key(|secret| secret.rank);
    let (mut values, mut ranks) = (Renamed::default(), BTreeMap::new());
    for secret in &secrets {
        for (name, part) in secret.fields.iter().chain(&secret.files) {
            means.budget.steps(1 + name.len())?;
            means.budget.bytes(2 * name.len() + ENTRY)?;
            let is_taken = *ranks.entry(name).or_insert(secret.rank) < secret.rank;
            if !name.is_empty() && query.matches(name) && !is_taken {
                let value = parts::value(part).map_err(|problem| no_part(&problem, name))?;
                values.put(name.clone(), name, value).map_err(|two| collision(name, &two))?;
            }
        }
    }
    named(values.into_data(), request, means)
}

/// What a generator made: under its own names or rewritten ones, never converted or decoded.
fn generated(request: &Request, place: usize, answers: &Answers, means: &Means<'_>) -> Result<Data, Problematic> {
    let made = answers.generated.get(&place).ok_or_else(unanswered)?.as_ref();
    let made = made.map_err(|error| Problematic { denied: false, ..error.clone().into() })?;
    keys_of(renamed(made.clone(), request, means)?, request)
}

fn take_property(
    value: &SecretBytes,
    property: &str,
    key: &Key,
    dialect: &Dialect,
    budget: &Budget,
) -> Result<SecretBytes, Problematic> {
    // Metadata is plain JSON everywhere.
    let how = match dialect.property {
        PropertyLookup::Base64Fields if key.metadata => PropertyLookup::Path,
        how => how,
    };
    let found = if key.metadata && dialect.tags_name_the_secret {
        property::lookup_tag(value, property, budget)
    } else {
        property::lookup(value, property, how, budget)
    };
    found.map_err(|problem| no_value(problem, property))
}

fn no_value(problem: NoValue, property: &str) -> Problematic {
    match problem {
        NoValue::NotJson => {
            Problematic::malformed(told!("the value is not JSON, so that it has no property {}", Spec(property)))
        }
        NoValue::Missing => Problematic::late(told!("the value has no property {}", Spec(property))),
        NoValue::Exceeded(exceeded) => exceeded.into(),
        NoValue::TooComplex => {
            Problematic::late(told!("property {} asks for too much: simplify the path", Spec(property)))
        }
        NoValue::Part(problem) => no_part(&problem, property),
    }
}

fn no_part(problem: &NoPart, name: &str) -> Problematic {
    match problem {
        NoPart::Missing if name.is_empty() => {
            Problematic::late("it has no field \"password\" and no file that is read without a property: set property")
        }
        NoPart::Missing => Problematic::late(told!("the value has no property {}", Spec(name))),
        NoPart::Several(count) => Problematic::malformed(told!(
            "it has {} fields or files of the name {}: rename all but one",
            count,
            Name(name)
        )),
        NoPart::TooLarge => Problematic::malformed(told!("{} is larger than what fits into a Secret", Name(name))),
    }
}

/// `dataFrom.extract`: each field of a JSON object. To Go `null` is an object without fields.
fn extract(value: &SecretBytes, dialect: &Dialect, budget: &Budget) -> Result<Data, Problematic> {
    take_apart(value, budget)?;
    let object = json::object_or_null(value.expose())
        .ok_or_else(|| Problematic::malformed("extract needs a JSON object, and the value is none"))?;
    let write = if dialect.extract_writes_anew { again } else { json::to_bytes };
    Ok(object.into_iter().map(|(field, raw)| (field, write(raw))).collect())
}

/// Gives names that may stand in a Secret, rewritten where that is asked for and converted where it is not, and decodes
/// the values.
fn named(values: Data, request: &Request, means: &Means<'_>) -> Result<Data, Problematic> {
    let remote = &request.remote;
    let rewritten = !request.rewrite.is_empty();
    let mut data = Renamed::default();
    for (name, value) in renamed(values, request, means)? {
        let key = if rewritten { name.clone() } else { convert_key(&name, &remote.conversion_strategy) };
        let field = Some(told_name(&name, request));
        // A conversion may write eight characters for one.
        means.budget.bytes(9 * name.len())?;
        means.budget.steps(name.len())?;
        let value = finish(value, remote, field, means.budget)?;
        data.put(key.clone(), &name, value).map_err(|two| collision(&key, &two))?;
    }
    keys_of(data.into_data(), request)
}

fn renamed(values: Data, request: &Request, means: &Means<'_>) -> Result<Data, Problematic> {
    rewrite(values, &request.rewrite, means).map_err(Problematic::late)
}

/// The data, whose names may stand in a template; an empty one is dropped, as External Secrets Operator does. Whether they
/// may stand in a Secret counts for those that go there.
fn keys_of(mut data: Data, request: &Request) -> Result<Data, Problematic> {
    data.remove("");
    match data.keys().find_map(|key| Some((key, check_name(key).err()?))) {
        None => Ok(data),
        Some((key, problem)) => {
            Err(Problematic::malformed(told!("{} can't be a key of a Secret: it {}", told_name(key, request), problem)))
        }
    }
}

/// The name of a field as it may be told: one that a rewrite made is not.
fn told_name(name: &str, request: &Request) -> Told {
    if request.rewrite.is_empty() { told!("field {}", Name(name)) } else { "a name that rewrite made".into() }
}

fn collision(key: &str, two: &Told) -> Problematic {
    Problematic::malformed(told!(
        "secret name collision during conversion: {}: {}; use conversionStrategy Unicode",
        Told::without_values(key.to_owned()),
        two
    ))
}

/// Decoding, then the check for null bytes.
fn finish(
    value: SecretBytes,
    remote: &RemoteRef,
    field: Option<Told>,
    budget: &Budget,
) -> Result<SecretBytes, Problematic> {
    // Each key of a target holds a copy in the end, however often one value is named.
    budget.bytes(value.len() + ENTRY)?;
    budget.steps(1 + value.len() / 16)?;
    let what = field.unwrap_or_else(|| "the value".into());
    let decoded = decode(&value, &remote.decoding_strategy, budget)?.ok_or_else(|| {
        let strategy = &remote.decoding_strategy;
        Problematic::malformed(told!("{} is not {}, which decodingStrategy asks for", what, strategy))
    })?;
    if remote.null_byte_policy == NullBytePolicy::Fail && decoded.expose().contains(&0) {
        return Err(Problematic::malformed(told!("{} contains null bytes", what)));
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyferry_builders::key;
    use keyferry_limits::Budget;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::engine::Engine;

    /// As every test here renders.
    fn render(requests: &[Request], answers: &Answers, deletion: &DeletionPolicy) -> Result<Rendered, Failure> {
        super::render(requests, answers, deletion, &Means::of_tests(&Engine::new("", ""), &Budget::default()))
    }

    use crate::store::Store;

    fn store() -> Arc<Store> {
        Arc::new(Store::namespaced(keyferry_builders::store(json!({"provider": {"fake": {}}}))))
    }

    fn request(entry: Entry, remote: Json) -> Request {
        let remote: RemoteRef = serde_json::from_value(remote).unwrap();
        let key = key(&remote.key);
        Request { entry, origin: Origin::Store(store(), Wanted::Key(key)), remote, rewrite: Vec::new() }
    }

    fn data(key: &str, remote: Json) -> Request {
        request(Entry::Data(0, key.into()), remote)
    }

    fn answers(values: &[(&str, Result<&str, ErrorKind>)]) -> Answers {
        let mut answers = Answers::default();
        for (name, value) in values {
            let key = key(*name);
            let value = value.map(SecretBytes::from).map_err(|kind| Error::new(kind, kind.as_str()));
            answers.values.insert((store().id.clone(), key), value);
        }
        answers.dialects.insert(store().id.clone(), Dialect::default());
        answers
    }

    fn text(rendered: &Rendered) -> Vec<(&str, &str)> {
        rendered.data.iter().map(|(key, value)| (key.as_str(), value.expose_str().unwrap())).collect()
    }

    #[test]
    fn later_entries_win() {
        let requests = [request(Entry::Extract(0), json!({"key": "j"})), data("user", json!({"key": "a"}))];
        let answers = answers(&[("j", Ok(r#"{"user": "bob", "x/y": 1}"#)), ("a", Ok("alpha"))]);
        let rendered = render(&requests, &answers, &DeletionPolicy::Retain).unwrap();
        assert_eq!(text(&rendered), [("user", "alpha"), ("x_y", "1")]);
    }

    #[test]
    fn every_failed_entry_is_named_and_none_is_dropped() {
        let requests = [
            data("a", json!({"key": "ok"})),
            data("b", json!({"key": "denied"})),
            data("c", json!({"key": "ok", "property": "x"})),
            data("d", json!({"key": "ok", "decodingStrategy": "Base64"})),
            data("e", json!({"key": "nobody answered"})),
        ];
        let answers = answers(&[("ok", Ok(r#"{"y": "!"}"#)), ("denied", Err(ErrorKind::Denied))]);
        let failure = render(&requests, &answers, &DeletionPolicy::Delete).unwrap_err();
        assert_eq!(failure.causes.len(), 4, "{failure}");
        assert!(
            failure.causes[0]
                .as_str()
                .contains(r#"error processing spec.data[0] (secretKey "b"): key "denied" of SecretStore "s": denied"#)
        );
        assert_eq!(failure.retry, Retry::Late);
    }

    #[test]
    fn denied_is_what_the_store_denies_to_its_login() {
        let denied = |request: Request, error: &Error| {
            let mut answers = answers(&[]);
            answers.values.insert((store().id.clone(), key("a")), Err(error.clone()));
            answers.generated.insert(0, Err(error.clone()));
            render(&[request], &answers, &DeletionPolicy::Retain).unwrap_err().denied
        };
        let of_store = || data("a", json!({"key": "a"}));
        let by_store = Error::new(ErrorKind::Denied, "it may not");
        assert!(denied(of_store(), &by_store));
        // An address, say, that we let nobody reach.
        for blame in [Blame::Spec, Blame::Way, Blame::Keyferry] {
            assert!(!denied(of_store(), &by_store.clone().with_blame(blame)), "{blame:?}");
        }
        assert!(!denied(of_store(), &Error::new(ErrorKind::Unauthenticated, "who is it")));
        let reference = serde_json::from_value(json!({"kind": "ECRAuthorizationToken", "name": "g"})).unwrap();
        let generator = Request { origin: Origin::Generator(reference), ..of_store() };
        assert!(!denied(Request { entry: Entry::Generator(0), ..generator }, &by_store));
    }

    #[test]
    fn only_what_the_store_does_not_have_is_missing() {
        let requests = [data("a", json!({"key": "ok"})), data("b", json!({"key": "gone"}))];
        let gone = answers(&[("ok", Ok("1")), ("gone", Err(ErrorKind::NotFound))]);
        let rendered = render(&requests, &gone, &DeletionPolicy::Merge).unwrap();
        assert_eq!(text(&rendered), [("a", "1")]);
        assert_eq!(rendered.missing, [r#"spec.data[0] (secretKey "b") (key=gone)"#.into()]);
        assert!(render(&requests, &gone, &DeletionPolicy::Retain).is_err());
        let mistyped = [data("a", json!({"key": "ok", "property": "nope"}))];
        assert!(render(&mistyped, &answers(&[("ok", Ok("{}"))]), &DeletionPolicy::Delete).is_err());
    }

    /// An item by its parts: fields with the same name twice where `twice` says so, and a file.
    fn parts(rank: usize, fields: &[(&str, &str)]) -> SecretBytes {
        use keyferry_provider_core::parts::Part;
        let fields = fields.iter().map(|(name, value)| {
            let part = if *value == "twice" { Part::Several(2) } else { Part::Value((*value).into()) };
            ((*name).to_owned(), part)
        });
        let files = [("f.txt".to_owned(), Part::Value("file".into()))].into();
        Parts { rank, fields: fields.collect(), files, first_file: Some("f.txt".into()), ..Parts::default() }.write()
    }

    fn with_parts(request: Request, found: &[(&str, SecretBytes)]) -> Result<Rendered, Failure> {
        let mut answers = Answers::default();
        answers.dialects.insert(store().id.clone(), Dialect { property: PropertyLookup::Parts, ..Dialect::default() });
        for (name, value) in found {
            answers.values.insert((store().id.clone(), key(*name)), Ok(value.clone()));
        }
        answers.found.insert(0, Ok(found.iter().map(|(name, _)| key(*name)).collect()));
        render(&[request], &answers, &DeletionPolicy::Retain)
    }

    #[test]
    fn parts_are_read_by_exact_names() {
        let item = || [("i", parts(0, &[("password", "p"), ("a.b", "dotted"), ("b", "twice"), ("", "unnamed")]))];
        for (remote, expected) in [
            (json!({"key": "i"}), Ok("p")),
            (json!({"key": "i", "property": "a.b"}), Ok("dotted")),
            (json!({"key": "i", "property": "file/f.txt"}), Ok("file")),
            (json!({"key": "i", "property": "a"}), Err("has no property \"a\"")),
            (json!({"key": "i", "property": "b"}), Err("2 fields or files of the name \"b\"")),
        ] {
            let rendered = with_parts(data("x", remote.clone()), &item());
            match (rendered, expected) {
                (Ok(rendered), Ok(expected)) => assert_eq!(text(&rendered), [("x", expected)], "{remote}"),
                (Err(failure), Err(words)) => assert!(failure.to_string().contains(words), "{remote}: {failure}"),
                (rendered, _) => panic!("{remote}: {:?}", rendered.map(|rendered| rendered.missing.len())),
            }
        }
        let whole = [("i", parts(0, &[("a", "1"), ("b", "2"), ("", "unnamed")]))];
        let extract = |remote| with_parts(request(Entry::Extract(0), remote), &whole);
        assert_eq!(text(&extract(json!({"key": "i"})).unwrap()), [("a", "1"), ("b", "2")]);
        assert_eq!(text(&extract(json!({"key": "i", "property": "file/"})).unwrap()), [("f.txt", "file")]);
        assert!(extract(json!({"key": "i", "property": "c"})).is_err(), "what yields no key is no answer");
    }

    #[test]
    fn a_search_takes_the_parts_whose_names_match_and_of_each_the_first() {
        let found = |name: &str, items: &[(&str, SecretBytes)]| {
            let query = keyferry_provider_core::Query { name: name.parse().ok(), ..Default::default() };
            let origin = Origin::Store(store(), Wanted::Query(query));
            let entry = Entry::Find(0);
            with_parts(Request { entry, origin, remote: RemoteRef::default(), rewrite: Vec::new() }, items)
        };
        let items = [
            ("id-1", parts(1, &[("user", "default"), ("host", "h"), ("other", "twice")])),
            ("id-2", parts(0, &[("user", "first")])),
        ];
        assert_eq!(text(&found("^(user|host)$", &items).unwrap()), [("host", "h"), ("user", "first")]);
        let failure = found("", &items).unwrap_err().to_string();
        assert!(failure.contains("2 fields or files of the name \"other\""), "{failure}");
        let equals = [("a", parts(0, &[("user", "u")])), ("b", parts(0, &[("user", "u")]))];
        assert_eq!(text(&found("user", &equals).unwrap()), [("user", "u")]);
        let differ = [("a", parts(0, &[("user", "canary-1")])), ("b", parts(0, &[("user", "canary-2")]))];
        let failure = found("user", &differ).unwrap_err().to_string();
        assert!(failure.contains("values differ") && !failure.contains("canary"), "{failure}");
        assert!(found("nobody", &equals).is_err(), "a search that finds nothing is no answer");
    }

    #[test]
    fn a_store_that_looks_up_properties_itself_is_asked_for_each() {
        let mut answers = Answers::default();
        let dialect = Dialect { property: PropertyLookup::OfTheStore, ..Dialect::default() };
        answers.dialects.insert(store().id.clone(), dialect);
        for property in ["a", "b.c"] {
            let answer = Ok(format!("value of {property}").as_str().into());
            answers.values.insert((store().id.clone(), key("k").with_property(property)), answer);
        }
        let of = |name: &str, property: &str| data(name, json!({"key": "k", "property": property}));
        let rendered = render(&[of("x", "a"), of("y", "b.c")], &answers, &DeletionPolicy::Retain).unwrap();
        assert_eq!(text(&rendered), [("x", "value of a"), ("y", "value of b.c")]);
        assert!(render(&[of("z", "d")], &answers, &DeletionPolicy::Retain).is_err());
    }

    #[test]
    fn items_are_shown_taken_and_extracted() {
        let whole = r#"{"Name":"n","Items":[{"FieldName":"Data","Slug":"data","ItemValue":"{\"a\":1}"}]}"#;
        let mut answers = Answers::default();
        let dialect = Dialect { property: PropertyLookup::Items, ..Dialect::default() };
        answers.dialects.insert(store().id.clone(), dialect);
        answers.values.insert((store().id.clone(), key("k")), Ok(whole.into()));
        let of = |name: &str, remote: Json| data(name, remote);
        let requests = [
            of("whole", json!({"key": "k"})),
            of("a", json!({"key": "k", "property": "a"})),
            of("data", json!({"key": "k", "property": "Data"})),
        ];
        let rendered = render(&requests, &answers, &DeletionPolicy::Retain).unwrap();
        assert_eq!(text(&rendered), [("a", "1"), ("data", r#"{"a":1}"#), ("whole", whole)]);
        let extracted = request(Entry::Extract(0), json!({"key": "k"}));
        let rendered = render(&[extracted], &answers, &DeletionPolicy::Retain).unwrap();
        assert_eq!(text(&rendered), [("a", "1")]);
    }

    /// A store of one secret with fields of any bytes: `bin` is no text, and `json` holds `{"a":1}`.
    fn with_fields(entry: Entry, remote: Json) -> Result<Rendered, Failure> {
        let request = request(entry, remote);
        let mut answers = Answers::default();
        let dialect =
            Dialect { property: PropertyLookup::Base64Fields, missing_fails_data: true, ..Dialect::default() };
        answers.dialects.insert(store().id.clone(), dialect);
        let Origin::Store(_, Wanted::Key(key)) = &request.origin else { panic!() };
        let value = match key.name.as_str() {
            "k" => Ok(r#"{"bin":"/w==","json":"eyJhIjoxfQ=="}"#.into()),
            _ => Err(Error::new(ErrorKind::NotFound, "there is none")),
        };
        answers.values.insert((store().id.clone(), key.clone()), value);
        render(&[request], &answers, &DeletionPolicy::Delete)
    }

    #[test]
    fn fields_of_any_bytes_are_shown_taken_and_extracted() {
        let data = |remote: Json| with_fields(Entry::Data(0, "x".into()), remote).unwrap().data["x"].expose().to_vec();
        assert_eq!(data(json!({"key": "k"})), br#"{"bin":"\ufffd","json":"{\"a\":1}"}"#);
        assert_eq!(data(json!({"key": "k", "property": "bin"})), b"\xff");
        assert_eq!(data(json!({"key": "k", "property": "json.a"})), b"1");
        let extracted = with_fields(Entry::Extract(0), json!({"key": "k"})).unwrap().data;
        assert_eq!(extracted["bin"].expose(), b"\xff");
        assert_eq!(extracted["json"].expose(), br#"{"a":1}"#);
    }

    #[test]
    fn tags_are_extracted_under_the_name_of_their_secret() {
        let tags = Data::from([
            ("team".to_owned(), "blue".into()),
            ("json".to_owned(), r#"{"a":"1","b":"x"}"#.into()),
            ("mixed".to_owned(), r#"{"a":1}"#.into()),
            ("attribute.created".to_owned(), "2017-05-04T22:51:29Z".into()),
        ]);
        let key = Key { name: "secret/db".into(), version: None, metadata: true };
        let Ok(named) = tagged(tags, &key, &Budget::default()) else { panic!("within the budget") };
        let names: Vec<&str> = named.keys().map(String::as_str).collect();
        assert_eq!(names, ["db_attribute.created", "db_json_a", "db_json_b", "db_mixed", "db_team"]);
        assert_eq!((named["db_json_b"].expose(), named["db_mixed"].expose()), (&b"x"[..], &br#"{"a":1}"#[..]));
    }

    #[test]
    fn what_is_extracted_is_written_as_the_store_has_it() {
        let value = r#"{"f": 1.0, "e": 1.0e21, "n": 12345678901234567890, "s": "1.0", "obj": {"x": 1.0, "a": [1e-7]}}"#;
        let extracted = |extract_writes_anew| {
            let mut answers = answers(&[("j", Ok(value))]);
            let dialect = Dialect { extract_writes_anew, ..Dialect::default() };
            answers.dialects.insert(store().id.clone(), dialect);
            let rendered =
                render(&[request(Entry::Extract(0), json!({"key": "j"}))], &answers, &DeletionPolicy::Retain).unwrap();
            text(&rendered).into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
        };
        let (whole, string) = ("n=12345678901234567890", "s=1.0");
        assert_eq!(
            extracted(true),
            format!(r#"e=1000000000000000000000 f=1 {whole} obj={{"a":[1e-7],"x":1}} {string}"#)
        );
        assert_eq!(extracted(false), format!(r#"e=1.0e21 f=1.0 {whole} obj={{"x": 1.0, "a": [1e-7]}} {string}"#));
    }

    #[test]
    fn a_missing_secret_may_fail_data_and_still_be_missing_for_extract() {
        let missing = with_fields(Entry::Extract(0), json!({"key": "gone"})).unwrap().missing;
        assert_eq!(missing.len(), 1);
        let failure = with_fields(Entry::Data(0, "x".into()), json!({"key": "gone"})).unwrap_err();
        assert_eq!((failure.headline, failure.retry), (Headline::Fetch, Retry::Late));
    }

    #[test]
    fn fields_that_can_not_be_keys_fail_with_their_name() {
        let render = |json: &str, strategy: &str| {
            let request = request(Entry::Extract(0), json!({"key": "j", "conversionStrategy": strategy}));
            let rendered = render(&[request], &answers(&[("j", Ok(json))]), &DeletionPolicy::Retain);
            rendered
                .map(|rendered| rendered.data.into_keys().collect::<Vec<_>>())
                .map_err(|failure| failure.to_string())
        };
        assert!(
            render(r#"{"a/b": 1, "a b": 2}"#, "Default")
                .unwrap_err()
                .contains("secret name collision during conversion: a_b: \"a b\" and \"a/b\" become the same name")
        );
        assert_eq!(render(r#"{"a/b": 1, "a b": 1}"#, "Default").unwrap(), ["a_b"], "nothing is lost");
        assert_eq!(render(r#"{"a/b": 1, "a b": 2}"#, "Unicode").unwrap(), ["a_U0020_b", "a_U002f_b"]);
        assert_eq!(render(r#"{"\u00e9": 1}"#, "Default").unwrap(), ["é"], "a template may take it elsewhere");
        let long = format!("{{\"{}\": 1}}", "k".repeat(254));
        assert!(render(&long, "Default").unwrap_err().contains("can't be a key of a Secret"));
        for nothing in ["null", "{}", r#"{"": 1}"#] {
            assert!(render(nothing, "Default").unwrap_err().contains("it yields no key"), "{nothing}");
        }
        assert!(render("plain", "Default").unwrap_err().contains("extract needs a JSON object"));
        assert_eq!(render(r#"{"": 1, "a": 2}"#, "Default").unwrap(), ["a"]);
    }

    #[test]
    fn null_bytes_are_refused_where_asked() {
        let request = |policy| data("a", json!({"key": "z", "nullBytePolicy": policy}));
        let answers = answers(&[("z", Ok("a\0b"))]);
        assert!(render(&[request("Ignore")], &answers, &DeletionPolicy::Retain).is_ok());
        let failure = render(&[request("Fail")], &answers, &DeletionPolicy::Retain).unwrap_err();
        assert!(failure.to_string().contains("contains null bytes"));
    }
}

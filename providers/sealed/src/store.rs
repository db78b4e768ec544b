//! What the store answers: values by their names, or SealedSecrets by theirs.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_documents::place::Source;
use keyferry_limits::LOOK_BYTES;
use keyferry_provider_core::json::write_plain_string;
use keyferry_provider_core::{
    Answer, BuildContext, Capabilities, Dialect, Error, ErrorKind, Key, Metadata, Page, PropertyLookup, Provider, Push,
    Query, Reach, Remote, Room, SecretBuf, SecretBytes,
};
use keyferry_provider_core::{Blame, Scope};
use keyferry_provider_session::turns::Turns;
use keyferry_sealing::manifest::{at, plain};
use keyferry_sealing::{Sealed, SealedSecret};
use serde_json::Value;

use crate::config::{Config, Kind};
use crate::opener::Opener;

/// How many are asked for together where any will do.
const TOGETHER: usize = 10;

/// What the store can do.
pub const CAPABILITIES: Capabilities = Capabilities {
    max_batch: 100,
    metadata: Metadata::PassedOver,
    find_by_name: true,
    find_all: true,
    ..Capabilities::READ_ONLY
};

/// What is sealed in a store's spec, or where that says.
pub struct Store {
    kind: Kind,
    /// For whom is opened.
    namespace: String,
    held: Held,
    opener: Opener,
    room: Arc<dyn Room>,
    turns: Turns,
}

enum Held {
    Values(BTreeMap<String, String>),
    Manifests(Vec<(String, Source)>),
}

impl Store {
    /// From the spec, for the namespace that asks.
    pub async fn new(kind: Kind, spec: &Value, ctx: BuildContext) -> Result<Self, Error> {
        let (held, keys) = match Config::new(kind, spec)? {
            Config::Values(values) => (Held::Values(values), Vec::new()),
            Config::Manifests(places, keys) => {
                let mut documents = Vec::new();
                for (field, place) in places {
                    let source = Source::new(&place, &field, &ctx).await?;
                    documents.push((field, source));
                }
                (Held::Manifests(documents), keys)
            }
        };
        let Some(namespace) = ctx.caller.namespace.clone() else {
            let message =
                format!("{kind} is opened for the namespace of the ExternalSecret, and is known from there only");
            return Err(Error::new(ErrorKind::Referent, message));
        };
        let turns = Turns::of(Some(&namespace));
        let opener = Opener::new(kind, &keys, &ctx, &turns).await?;
        Ok(Self { kind, namespace, held, opener, room: ctx.room, turns })
    }

    /// The SealedSecrets of the manifests by their names; of two of one name the first. What can't be read hides only what is in it.
    async fn manifests(&self, sources: &[(String, Source)]) -> (BTreeMap<String, SealedSecret>, Option<Error>) {
        let (mut all, mut unread) = (BTreeMap::new(), None);
        for (field, source) in sources {
            let read = async {
                let text = source.read()?;
                // The tree of a document is some times as long as its text.
                let _room = self.room.take(4 * text.len()).await;
                self.turns.compute(move || SealedSecret::of_file(text.expose())).await
            };
            match read.await {
                Ok(found) => {
                    for one in found {
                        // One that is for nobody else, or for anybody, may be asked for.
                        let name = one.name().to_owned();
                        let known: Option<&SealedSecret> = all.get(&name);
                        if known.is_none_or(|known| !self.is_here(known) && self.is_here(&one)) {
                            all.insert(name, one);
                        }
                    }
                }
                Err(error) => unread = unread.or(Some(error.context(field).with_blame(Blame::Store))),
            }
        }
        (all, unread)
    }

    /// Whether the namespace that asks may have it: it says nothing of another, or is for all.
    fn is_here(&self, one: &SealedSecret) -> bool {
        let said = one.metadata.namespace.as_deref().unwrap_or_default();
        said.is_empty() || said == self.namespace || one.scope(&self.namespace) == Scope::AnySecret
    }

    /// The values of these texts, each for whom it says: all of one scope are opened together.
    async fn values(&self, texts: &[Option<&String>]) -> Vec<Answer> {
        let mut answers: Vec<Answer> = Vec::with_capacity(texts.len());
        let mut sealed: BTreeMap<Vec<u8>, Vec<(usize, Sealed)>> = BTreeMap::new();
        for (n, text) in texts.iter().enumerate() {
            answers.push(Err(self.missing("values names no such value")));
            match text.map(|text| self.sealed(text)) {
                None => {}
                Some(Ok(one)) => sealed.entry(one.scope.label()).or_default().push((n, one)),
                Some(Err(error)) => answers[n] = Err(error),
            }
        }
        for all in sealed.into_values() {
            let Some(scope) = all.first().map(|(_, one)| one.scope.clone()) else { continue };
            let (numbers, bytes): (Vec<usize>, Vec<Vec<u8>>) = all.into_iter().map(|(n, one)| (n, one.bytes)).unzip();
            match self.opener.open(&self.turns, &self.namespace, &scope, bytes).await {
                Ok(opened) => {
                    for (n, one) in numbers.into_iter().zip(opened) {
                        answers[n] = one.map(Into::into);
                    }
                }
                Err(error) => numbers.into_iter().for_each(|n| answers[n] = Err(error.clone())),
            }
        }
        answers
    }

    /// A text that is for the namespace that asks.
    fn sealed(&self, text: &str) -> Result<Sealed, Error> {
        let sealed: Sealed = text.parse()?;
        if sealed.scope.namespace() == Some(&self.namespace) {
            return Ok(sealed);
        }
        let message = format!("it is sealed for {}, and asked for from namespace {:?}", sealed.scope, self.namespace);
        let error = Error::new(ErrorKind::Denied, message).with_blame(Blame::Request);
        Err(error.with_hint("seal it anew with `keyferry seal --for`"))
    }

    /// All values of a SealedSecret, as a JSON object of base64 texts.
    async fn secret(&self, one: &SealedSecret) -> Result<SecretBytes, Error> {
        if !self.is_here(one) {
            let said = one.metadata.namespace.as_deref().unwrap_or_default();
            let message =
                format!("it is sealed for namespace {said:?}, and asked for from namespace {:?}", self.namespace);
            return Err(Error::new(ErrorKind::Denied, message).with_blame(Blame::Request));
        }
        let (names, sealed): (Vec<&str>, Vec<Vec<u8>>) = one.values()?.into_iter().unzip();
        let _room = self.room.take(3 * sealed.iter().map(Vec::len).sum::<usize>()).await;
        let opened = self.opener.open(&self.turns, &self.namespace, &one.scope(&self.namespace), sealed).await?;
        let mut fields = BTreeMap::new();
        for (name, value) in names.into_iter().zip(opened) {
            fields.insert(name.to_owned(), value.map_err(|error| at(name, error))?);
        }
        let fields = plain(fields)?;
        let mut out =
            SecretBuf::with_capacity(fields.iter().map(|(name, value)| 2 * (name.len() + value.len()) + 8).sum());
        for (n, (name, value)) in fields.into_iter().enumerate() {
            out.extend(if n == 0 { b"{" } else { b"," });
            write_plain_string(&name, &mut out);
            out.extend(b":\"");
            let mut text = vec![0; value.len().div_ceil(3) * 4];
            let length = STANDARD.encode_slice(value.expose(), &mut text).unwrap_or_default();
            let text = SecretBytes::new(text);
            out.extend(&text.expose()[..length]);
            out.push(b'"');
        }
        out.extend(if out.is_empty() { b"{}" } else { b"}" });
        Ok(out.into())
    }

    async fn answers(&self, keys: &[Key]) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(keys.len());
        match &self.held {
            Held::Values(values) => {
                let texts: Vec<Option<&String>> = keys.iter().map(|key| values.get(&key.name)).collect();
                for ((key, text), answer) in keys.iter().zip(&texts).zip(self.values(&texts).await) {
                    let at = || format!("{}.values {:?}", self.kind, key.name);
                    answers.push(if text.is_some() { answer.map_err(|error| error.context(at())) } else { answer });
                }
            }
            Held::Manifests(sources) => {
                let (all, unread) = self.manifests(sources).await;
                for key in keys {
                    answers.push(match (all.get(&key.name), &unread) {
                        (Some(one), _) => {
                            let found = self.secret(one).await;
                            found
                                .map(Into::into)
                                .map_err(|error| error.context(format_args!("SealedSecret {:?}", key.name)))
                        }
                        // It may well be in what could not be read.
                        (None, Some(unread)) => Err(unread.clone()),
                        (None, None) => Err(self.missing("documents holds no such SealedSecret")),
                    });
                }
            }
        }
        answers
    }

    fn missing(&self, what: &str) -> Error {
        Error::new(ErrorKind::NotFound, format!("{}.{what}", self.kind))
    }
}

#[async_trait]
impl Provider for Store {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        let property = match self.kind {
            Kind::Sealed => PropertyLookup::ExactThenPath,
            Kind::SealedSecrets => PropertyLookup::Base64Fields,
        };
        Dialect { property, ..Dialect::default() }
    }

    fn joins(&self, _: &[Key], _: &Key) -> bool {
        true
    }

    /// One that does not open says nothing of the others.
    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        let answers = self.answers(keys).await;
        let bytes: usize = answers.iter().flatten().map(|found| found.value.len()).sum();
        if bytes > LOOK_BYTES.size() {
            return Err(Error::limit(&LOOK_BYTES));
        }
        answers
            .into_iter()
            .map(|answer| match answer {
                Err(error) if error.kind().concerns_store() => Err(error),
                answer => Ok(answer),
            })
            .collect()
    }

    async fn find(&self, query: &Query, _: &[String]) -> Result<Page, Error> {
        let names: Vec<String> = match &self.held {
            Held::Values(values) => values.keys().cloned().collect(),
            Held::Manifests(sources) => {
                let (all, unread) = self.manifests(sources).await;
                // Part of what there is would be taken for all.
                if let Some(unread) = unread {
                    return Err(unread);
                }
                all.into_iter().filter(|(_, one)| self.is_here(one)).map(|(name, _)| name).collect()
            }
        };
        Ok(Page::of_names(names.into_iter().filter(|name| query.matches(name)), []))
    }

    async fn push(&self, _: &Push) -> Result<(), Error> {
        Err(Error::cannot("pushed to"))
    }

    async fn delete(&self, _: &Remote, _: Reach) -> Result<(), Error> {
        Err(Error::cannot("deleted from"))
    }

    async fn exists(&self, _: &Remote) -> Result<bool, Error> {
        Err(Error::cannot("pushed to"))
    }

    /// Whether there is anything that opens: what does not is told to who asks for it.
    async fn validate(&self) -> Result<(), Error> {
        let page = self.find(&Query::default(), &[]).await?;
        let mut first = None;
        // Manifests are read once for all that are asked together, and what is opened of them is there at once.
        for keys in page.keys.chunks(TOGETHER) {
            for answer in self.answers(keys).await {
                match answer {
                    Ok(_) => return Ok(()),
                    Err(error) => first = first.or(Some(error)),
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    fn identity_note(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use keyferry_provider_core::Caller;
    use keyferry_provider_testkit::MapCredentials;
    use serde_json::json;

    use super::*;
    use crate::SEALED_SECRETS;

    /// Counts how often room is asked for, as who reads manifests does.
    #[derive(Default)]
    struct Counted(AtomicUsize);

    #[async_trait]
    impl Room for Counted {
        async fn take(&self, _: usize) -> Box<dyn Send + Sync> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Box::new(())
        }
    }

    #[tokio::test]
    async fn a_check_reads_manifests_once_for_several_names() {
        let made = keyferry_sealing::Generated::new(jiff::Timestamp::UNIX_EPOCH, 2048).unwrap();
        let credentials = MapCredentials::new()
            .with("key/tls.crt", made.certificate.as_bytes())
            .with("key/tls.key", made.private.expose());
        let one = |n| {
            json!({"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": {"name": format!("a{n}")},
                "spec": {"encryptedData": {"k": "AAAA"}}})
        };
        let list = json!({"kind": "List", "items": (0..25).map(one).collect::<Vec<_>>()});
        let spec = json!({"documents": [{"inline": list.to_string()}], "keys": [{"secretRef": {"name": "key"}}]});
        let room = Arc::new(Counted::default());
        let caller = Caller { store_kind: "SecretStore", store: "s".to_owned(), namespace: Some("n".to_owned()) };
        let ctx = BuildContext::new(Arc::new(credentials), Arc::new(()));
        let store = (SEALED_SECRETS.build)(&spec, BuildContext { caller, room: room.clone(), ..ctx }).await.unwrap();
        assert!(store.validate().await.is_err());
        // Once for the names, once for each ten; and each that is opened has room of its own.
        assert_eq!(room.0.load(Ordering::Relaxed), 1 + 3 + 25);
    }
}

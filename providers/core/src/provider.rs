//! The trait that every store implements, and what goes in and out.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::SystemTime;

use async_trait::async_trait;
use keyferry_go::regexp::Pattern;

use crate::{Capabilities, Dialect, Error, Push, Reach, Remote, SecretBytes};

/// What to fetch: one secret of a store, whole. Properties are taken out of the value later, once for all stores.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The name or path as the user wrote it (`remoteRef.key`).
    pub name: String,
    /// The version or stage as the user wrote it; `None` is the current one.
    pub version: Option<String>,
    /// Whether to fetch what the store knows about the secret instead of its value (`metadataPolicy: Fetch`).
    pub metadata: bool,
}

/// What stands between a name and a property in one name; no name holds it.
const BEFORE_PROPERTY: char = '\0';

impl Key {
    /// The same secret, by a property that the store itself looks up
    /// ([`OfTheStore`](crate::PropertyLookup::OfTheStore)): each property is a key of its own then.
    pub fn with_property(&self, property: &str) -> Self {
        let mut key = self.clone();
        if !property.is_empty() {
            key.name.push(BEFORE_PROPERTY);
            key.name.push_str(property);
        }
        key
    }

    /// The name as the user wrote it, and the property that was added to it; empty where there is none.
    pub fn name_and_property(&self) -> (&str, &str) {
        self.name.split_once(BEFORE_PROPERTY).unwrap_or((&self.name, ""))
    }
}

/// What a store answers for a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The value, or the metadata.
    pub value: SecretBytes,
    /// The store's own name of the version that this is, where its answer has one. Of a secret that was deleted and made
    /// anew another value may go by the same name.
    pub version: Option<String>,
    /// When the value stops working, where the answer says so.
    pub expires: Option<SystemTime>,
}

impl Fetched {
    /// The same, as this version.
    pub fn of_version(mut self, version: Option<String>) -> Self {
        self.version = version.filter(|version| !version.is_empty());
        self
    }
}

impl From<SecretBytes> for Fetched {
    /// A value of which the store tells nothing else.
    fn from(value: SecretBytes) -> Self {
        Self { value, ..Self::default() }
    }
}

/// What came of one key.
pub type Answer = Result<Fetched, Error>;

/// What to search a store for (`dataFrom.find`). What is given must all hold.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// A pattern that matches anywhere in the name.
    pub name: Option<Pattern>,
    /// Where to begin, by the store's own idea of a path.
    pub path: Option<String>,
    /// Tags that a secret must bear.
    pub tags: BTreeMap<String, String>,
}

impl Query {
    /// Whether the name matches.
    pub fn matches(&self, name: &str) -> bool {
        self.name.as_ref().is_none_or(|pattern| pattern.is_match(name))
    }

    /// The path, where one is given.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref().filter(|path| !path.is_empty())
    }
}

/// What one call of a search came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// What was found.
    pub keys: Vec<Key>,
    /// Where to go on, in words of the store's own; nowhere where that is all.
    pub next: Vec<String>,
}

impl Page {
    /// The current versions of the secrets of these names, and where to go on.
    pub fn of_names(names: impl IntoIterator<Item = String>, next: impl IntoIterator<Item = String>) -> Self {
        let keys = names.into_iter().map(|name| Key { name, version: None, metadata: false });
        Self { keys: keys.collect(), next: next.into_iter().collect() }
    }
}

/// A store, logged in and ready. It lives as long as the store's spec and credentials stay the same, is shared by
/// all who use the store, and renews its own login.
///
/// No method has a body here: what a store can't do it says itself, by [`Error::cannot`], and what is around a store
/// passes each on. What [`capabilities`](Provider::capabilities) leave out is refused before the store is asked, and
/// the same call may be made again after an error that [is temporary](Error::is_temporary).
#[async_trait]
pub trait Provider: Send + Sync {
    /// What this store can do. Constant for the life of the provider, and what its
    /// [registration](crate::Registration::capabilities) says of its spec.
    fn capabilities(&self) -> Capabilities;

    /// How External Secrets Operator reads this store. Constant for the life of the provider.
    fn dialect(&self) -> Dialect;

    /// Whether `key` may travel in one [`fetch`](Provider::fetch) with these, of which there is at least one and fewer
    /// than [`Capabilities::max_batch`].
    fn joins(&self, batch: &[Key], key: &Key) -> bool;

    /// Fetches up to [`Capabilities::max_batch`] distinct keys, each of which [`joins`](Provider::joins) the others.
    ///
    /// - Answers one result per key, in the order of `keys`; an error of one key never touches another's result.
    /// - The outer error is for a call that failed as a whole;
    ///   [`BatchDenied`](crate::ErrorKind::BatchDenied) where only several at once are refused.
    /// - A secret that the store says does not exist is [`NotFound`](crate::ErrorKind::NotFound), and nothing else is:
    ///   a key that an answer simply leaves out is [`Malformed`](crate::ErrorKind::Malformed).
    /// - A version, stage or label that is not there of a secret that is, is [`NoVersion`](crate::ErrorKind::NoVersion),
    ///   and says what there is. Where one answer does not tell the two apart, the store is asked once more; where it does
    ///   not tell then, it is `NoVersion`.
    /// - A key that asks for metadata where they are refused is [`Unsupported`](crate::ErrorKind::Unsupported).
    /// - A store that keeps several fields per secret answers them as one JSON object: compact, keys sorted,
    ///   numbers digit for digit.
    /// - A store with versions says of each value that is one of them which it is, whether or not one was asked for.
    /// - Never retries and never caches a value.
    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error>;

    /// One call of a search for the keys of all secrets that answer `query`; their values are fetched like any others.
    /// `at` is where the page before it says to go on, nothing at the beginning.
    ///
    /// - Called only with what the `find_by_*` capabilities allow; what is given must all hold.
    /// - One call of the store, or a few: each is bounded in time and may be made again. Whoever gathers them is a
    ///   [`Search`](crate::Search), which holds all other bounds.
    /// - Where nothing answers the query that is a page without keys, and no error. A place to search in that is not one
    ///   (no such mount, an engine of another kind) is an error, and never [`NotFound`](crate::ErrorKind::NotFound).
    /// - Secrets that are marked as deleted may be among them: fetching them is what tells.
    /// - Part of a page is an error: what is not told would be taken for gone.
    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error>;

    /// Writes a secret, or one property of it. Called only where [`Capabilities::push`] says so.
    ///
    /// - What is there already and equal is not written again: no new version, and no error.
    /// - A property is written into what is there, which keeps its other properties.
    /// - Where the store can mark secrets, what is made is marked as made by us, in External Secrets Operator's way; what
    ///   is there without the mark is refused as [`Denied`](crate::ErrorKind::Denied), unless [`Push::reach`] covers it.
    /// - Metadata of another form than the store's are [`Invalid`](crate::ErrorKind::Invalid), before anything is written;
    ///   a store that takes none passes them over.
    /// - Whoever wrote in between is not overwritten unseen, as far as the store can tell: that is
    ///   [`Unavailable`](crate::ErrorKind::Unavailable), and the next try looks again.
    async fn push(&self, push: &Push) -> Result<(), Error>;

    /// Deletes a secret, or one property of it, and with the last property the secret. Called only where
    /// [`Capabilities::delete`] says so.
    ///
    /// - What is not there is deleted already: no error.
    /// - Without the mark that [`push`](Provider::push) sets it is not ours: it stays, and that is no error either,
    ///   unless `reach` covers it.
    async fn delete(&self, remote: &Remote, reach: Reach) -> Result<(), Error>;

    /// Whether a secret, or one property of it, is there, whoever made it. Called only where [`Capabilities::push`] says
    /// so, for `updatePolicy: IfNotExists`.
    ///
    /// - `false` is as exact as [`NotFound`](crate::ErrorKind::NotFound): only the store's own word.
    async fn exists(&self, remote: &Remote) -> Result<bool, Error>;

    /// Checks that the store can be reached and that the login is good, without reading a secret.
    async fn validate(&self) -> Result<(), Error>;

    /// What the store's status should say about whom it is used as, where that is not in the store's own spec: the
    /// operator itself.
    fn identity_note(&self) -> Option<String>;
}

/// Asks for `keys` one after the other: the [`fetch`](Provider::fetch) of a store without a batch call. An error that
/// [concerns the whole store](crate::ErrorKind::concerns_store) ends it, and is the outer one.
pub async fn one_by_one<'a, F>(keys: &'a [Key], read: impl Fn(&'a Key) -> F) -> Result<Vec<Answer>, Error>
where
    F: Future<Output = Answer>,
{
    let mut answers = Vec::with_capacity(keys.len());
    for key in keys {
        match read(key).await {
            Err(error) if error.kind().concerns_store() => return Err(error),
            answer => answers.push(answer),
        }
    }
    Ok(answers)
}

/// A text that was given and is not empty. External Secrets Operator takes an empty one for none.
pub fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::ErrorKind;

    /// For futures that wait for nothing.
    fn now<T>(future: impl Future<Output = T>) -> T {
        let Poll::Ready(value) = pin!(future).poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("it waits for something")
        };
        value
    }

    #[test]
    fn one_key_after_the_other_until_the_whole_store_fails() {
        let keys =
            ["a", "gone", "b", "down", "c"].map(|name| Key { name: name.into(), version: None, metadata: false });
        let read = async |key: &Key| match key.name.as_str() {
            "gone" => Err(Error::new(ErrorKind::NotFound, "gone")),
            "down" => Err(Error::new(ErrorKind::Unavailable, "down")),
            "c" => panic!("asked for after the store failed"),
            name => Ok(SecretBytes::from(name).into()),
        };
        let answers = now(one_by_one(&keys[..3], read)).unwrap();
        let kinds: Vec<_> = answers.iter().map(|answer| answer.as_ref().err().map(Error::kind)).collect();
        assert_eq!(kinds, [None, Some(ErrorKind::NotFound), None]);
        assert_eq!(now(one_by_one(&keys, read)).unwrap_err().kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn a_property_goes_along_in_the_name() {
        let key = Key { name: "a".into(), version: None, metadata: false };
        assert_eq!(key.with_property("b.c").name_and_property(), ("a", "b.c"));
        assert_eq!((key.with_property(""), key.name_and_property()), (key.clone(), ("a", "")));
        assert_ne!(key.with_property("b"), key.with_property("c"));
    }

    #[test]
    fn an_empty_version_is_none() {
        let of = |version: Option<&str>| Fetched::default().of_version(version.map(str::to_owned)).version;
        assert_eq!((of(None), of(Some("")), of(Some("1"))), (None, None, Some("1".to_owned())));
    }
}

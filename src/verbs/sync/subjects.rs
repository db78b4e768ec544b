//! What is known of each ExternalSecret, and which is due. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use keyferry_crds::ExternalSecret;
use keyferry_limits::Budget;
use keyferry_sync::dependency::{Name, name_of};
use keyferry_sync::look::{Look, Looked, Memory, Seen};
use keyferry_sync::request::used_stores;

use super::marks::{Synced, outlives_a_restart};
use super::source::{Digest, Loaded, Wanted, cause, digests};

/// One of them.
pub struct Subject {
    /// As it is asked for now.
    pub wanted: Wanted,
    /// What failed last, where it did, as it was told.
    pub trouble: Option<String>,
    /// Whether it was looked at.
    pub is_known: bool,
    memory: Memory,
    due: Option<Timestamp>,
    cause: Digest,
    /// What the look under way is at.
    looking: Option<Digest>,
}

/// All of them.
#[derive(Default)]
pub struct Subjects(BTreeMap<Name, Subject>);

impl Subjects {
    /// Takes what is asked for now. What depends on something that has changed is due, and so is what is new; `remembered`
    /// tells of the last sync of that.
    pub fn take(&mut self, loaded: &Loaded, remembered: impl Fn(&ExternalSecret) -> Option<Synced>, now: Timestamp) {
        let mut before = std::mem::take(&mut self.0);
        let stores = digests(&loaded.stores);
        for wanted in &loaded.wanted {
            let name = name_of(&wanted.es.metadata);
            let cause = cause(&wanted.es, &stores, &loaded.rest);
            let subject = match before.remove(&name) {
                Some(known) => known.again(wanted.clone(), cause, now),
                None => Subject::new(wanted.clone(), cause, remembered(&wanted.es), now),
            };
            self.0.insert(name, subject);
        }
    }

    /// One of them.
    pub fn get_mut(&mut self, name: &Name) -> Option<&mut Subject> {
        self.0.get_mut(name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Subject)> {
        self.0.iter()
    }

    /// Begins looks at all that is due; where they are `only_new`, at nothing a second time.
    pub fn begin(&mut self, loaded: &Loaded, only_new: bool, now: Timestamp) -> Vec<Look> {
        let due = self.0.values_mut().filter(|subject| subject.is_due(now) && !(only_new && subject.is_known));
        due.map(|subject| subject.look(loaded, now)).collect()
    }
}

impl Subject {
    fn new(wanted: Wanted, cause: Digest, last: Option<Synced>, now: Timestamp) -> Self {
        let memory = last.map(Memory::from).unwrap_or_default();
        Self { wanted, trouble: None, is_known: false, memory, due: Some(now), cause, looking: None }
    }

    fn again(mut self, wanted: Wanted, cause: Digest, now: Timestamp) -> Self {
        let status = self.wanted.es.status.clone();
        self.wanted = Wanted { es: Arc::new(ExternalSecret { status, ..(*wanted.es).clone() }), ..wanted };
        if self.cause != cause {
            self.cause = cause;
            self.freshen(now);
        }
        self
    }

    /// Has it looked at soon, and read anew, unless its values are made or read once.
    fn freshen(&mut self, now: Timestamp) {
        self.due = Some(now);
        if !outlives_a_restart(&self.wanted.es) {
            self.memory.last = None;
            if let Some(status) = &mut Arc::make_mut(&mut self.wanted.es).status {
                status.refresh_time = None;
            }
        }
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.looking.is_none() && self.due.is_some_and(|due| due <= now)
    }

    fn look(&mut self, loaded: &Loaded, now: Timestamp) -> Look {
        self.looking = Some(self.cause);
        let es = self.wanted.es.clone();
        let stores = used_stores(&es).into_iter().filter_map(|id| Some((id.clone(), loaded.stores.get(&id)?.clone())));
        let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
        Look {
            stores: stores.collect(),
            began: now,
            is_asked_for: false,
            namespace_labels: loaded.namespaces.get(namespace).cloned().map(Arc::new),
            // Files have nobody who tells of them: they are read where they count.
            seen: Seen::Unknown,
            sources: BTreeMap::new(),
            memory: self.memory.clone(),
            states: Vec::new(),
            budget: Arc::<Budget>::default(),
            cancelled: None,
            es,
        }
    }

    /// Takes what a look came to.
    pub fn looked(&mut self, looked: &Looked, now: Timestamp) {
        let is_overtaken = self.looking.take() != Some(self.cause);
        self.is_known = true;
        self.memory = looked.memory.clone();
        self.due = looked.next;
        if let Some((status, _)) = &looked.status {
            Arc::make_mut(&mut self.wanted.es).status = Some(status.clone());
        }
        if is_overtaken {
            self.freshen(now);
        }
    }

    /// A look ended before its end: the next is due then.
    pub fn ended_by_a_bug(&mut self, next: Timestamp) {
        self.looking = None;
        self.is_known = true;
        self.due = Some(next);
    }

    /// The last sync, where that counts after a restart.
    pub fn to_be_remembered(&self) -> Option<Synced> {
        Synced::of(&self.memory).filter(|_| outlives_a_restart(&self.wanted.es))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use keyferry_provider_core::proxy::Proxies;
    use keyferry_stores::files::Sought;
    use keyferry_sync::outcome::{self, Outcome};

    use super::*;
    use crate::verbs::keyring::With;
    use crate::verbs::sync::credentials::Credentials;
    use crate::verbs::sync::source::Source;

    const MANIFESTS: &str = "apiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {name: s}\n\
        spec: {provider: {fake: {data: [{key: k, value: VALUE}]}}}\n---\n\
        apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: app}\n\
        spec: {secretStoreRef: {name: s}, refreshInterval: 1m, data: [{secretKey: k, remoteRef: {key: k}}]}\n";

    async fn loaded(value: &str) -> Loaded {
        let source = Source::Files {
            paths: vec![PathBuf::from("-")],
            recursive: false,
            namespace: "default".to_owned(),
            credentials: Credentials::default(),
            identities: With::default(),
            sought: Sought::default(),
            unseal: None,
            audit: Arc::new(()),
            proxies: Proxies::default(),
        };
        source.load(&mut MANIFESTS.replace("VALUE", value).as_bytes()).await
    }

    fn synced(next: Timestamp) -> Looked {
        let outcome = Outcome::Synced(outcome::Synced::unchanged());
        Looked { outcome, memory: Memory::default(), status: None, next: Some(next) }
    }

    #[tokio::test]
    async fn what_is_looked_at_is_not_begun_again_and_what_changed_meanwhile_is() {
        let (now, mut subjects) = (Timestamp::from_second(1_000_000).unwrap(), Subjects::default());
        let (first, later) = (loaded("one").await, now + Duration::from_secs(60));
        let take = |subjects: &mut Subjects, loaded: &Loaded| subjects.take(loaded, |_| None, now);
        let looked = |subjects: &mut Subjects| {
            let name = ("default".to_owned(), "app".to_owned());
            subjects.get_mut(&name).unwrap().looked(&synced(later), now);
        };
        take(&mut subjects, &first);
        assert_eq!(subjects.begin(&first, false, now).len(), 1);
        assert_eq!(subjects.begin(&first, false, later).len(), 0, "it is being looked at");
        // The same once more is no change; another value is one, and is looked at when the look under way has ended.
        take(&mut subjects, &loaded("one").await);
        let changed = loaded("two").await;
        take(&mut subjects, &changed);
        assert_eq!(subjects.begin(&changed, false, now).len(), 0);
        looked(&mut subjects);
        assert_eq!(subjects.begin(&changed, false, now).len(), 1, "what it was looked at with is over");
        looked(&mut subjects);
        assert_eq!(subjects.begin(&changed, false, now).len(), 0, "it is due in a minute");
        // Who runs once looks at nothing twice, however long it takes.
        assert_eq!(subjects.begin(&changed, true, later).len(), 0);
        assert_eq!(subjects.begin(&changed, false, later).len(), 1);
    }
}

//! What the life of a secret needs of the world, as traits (ports, to which others are adapters). The operator answers them with an API server and real stores;
//! a mode without a cluster, and tests, with maps.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keyferry_crds::{Condition, ExternalSecret, ExternalSecretStatus, GeneratorState, SecretStoreStatus};
use keyferry_limits::Budget;
use keyferry_provider_core::{
    Answer, Capabilities, Dialect, Error, Keep, Key, Made, Query, SecretBytes, State, Term, Token,
};
use kube_core::ApiResource;
use serde_json::Value;

use crate::asking::Asking;
use crate::audit::{Audit, Object};
use crate::content::Content;
use crate::data::{Data, StringMap};
use crate::dependency::{Dependency, Version};
use crate::outcome::{Failure, TargetChange};
use crate::record::Note;
use crate::states::{Marks, NewState};
use crate::store::{Store, StoreId};

/// While it lives, somebody may still ask a store for something: batches that are not full wait a little for company.
pub type Planning = Box<dyn Send + Sync>;

/// While it lives, it is somebody's turn: there is room for the requests of one more sync, or to compute.
pub type Turn = Box<dyn Send + Sync>;

/// The stores and the generators.
#[async_trait]
pub trait Stores: Send + Sync {
    /// Says that somebody is about to find out what to ask.
    fn planning(&self) -> Planning;

    /// Says that somebody is about to ask this store, and knows by now that it asks no other.
    fn asking(&self, store: &StoreId) -> Planning;

    /// Lets `namespace` into a store.
    async fn enter(&self, store: &Store, namespace: &str) -> Result<Arc<dyn Entered>, Error>;

    /// Tries whether `store` would let `namespace` in, and answer `key`, if `object` held this: what it logs in with is
    /// about to change. Nothing of it is kept.
    async fn rehearse(
        &self,
        store: &Store,
        namespace: &str,
        change: Change<'_>,
        key: Option<&Key>,
    ) -> Result<(), Error>;

    /// Keeps room for so many bytes that a look has beside what stores answered it, until it is over; answers whether there
    /// was any. Where nobody counts there is.
    fn hold(&self, _asking: &Asking, _bytes: usize) -> bool {
        true
    }

    /// Waits for the turn of a look to hold more than there is room for; it has it until it is over. Answers whether it was
    /// given one in time.
    async fn alone(&self, _asking: &Asking) -> bool {
        true
    }

    /// The kinds of generators that there are.
    fn generators(&self) -> &[&'static str];

    /// The field in which a ClusterGenerator holds the spec of a generator of this kind; `None` where there is no such kind.
    fn generator_field(&self, kind: &str) -> Option<&'static str>;

    /// Whether generators of this kind have a state, by which what they made is revoked.
    fn has_state(&self, kind: &str) -> bool;

    /// What a generator makes now. What it makes is written down with `keep`, whoever stops waiting for it.
    async fn make(&self, generator: &Generator<'_>, keep: Arc<dyn Keep>) -> Result<Made, Error>;

    /// Revokes what was made with this state.
    async fn revoke(&self, generator: &Generator<'_>, state: &State) -> Result<(), Error>;

    /// Prolongs what was made with this state; answers its state and term since, where that could be done.
    async fn renew(&self, generator: &Generator<'_>, state: &State) -> Result<Option<(State, Term)>, Error>;
}

/// A generator, for somebody in `namespace`.
#[derive(Clone, Copy, Debug)]
pub struct Generator<'a> {
    /// The namespace of who asks; what the generator refers to is looked up there.
    pub namespace: &'a str,
    /// Its kind; of a ClusterGenerator the kind that it holds.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its spec.
    pub spec: &'a Value,
}

/// What an object would hold.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The object.
    pub object: &'a Dependency,
    /// All that it would hold.
    pub data: &'a Data,
}

/// A store that let somebody in.
#[async_trait]
pub trait Entered: Send + Sync {
    /// How it is read.
    fn dialect(&self) -> Dialect;

    /// Whether this object is among what it logs in with.
    fn logs_in_with(&self, object: &Dependency) -> bool;

    /// Fetches distinct keys; answers each, [paid](Asking::paid) for where it arrives. `planning` is let go as soon as they
    /// are asked for.
    async fn fetch(&self, asking: &Arc<Asking>, keys: Vec<Key>, planning: Planning) -> HashMap<Key, Answer>;

    /// The keys of all that answers `query`, which `namespace` asks for. What the store can't search by is passed over or
    /// refused.
    async fn find(&self, namespace: &str, query: &Query) -> Result<Vec<Key>, Error>;
}

/// Objects that an ExternalSecret refers to, and itself, in full.
#[async_trait]
pub trait Objects: Send + Sync {
    /// Waits for a turn of this [lane](Asking::lane): thousands of syncs that all have their data at once must not all have
    /// begun their requests.
    async fn turn(&self, lane: &str) -> Turn;

    /// What a ConfigMap or Secret holds that templates are taken from, and its version; `None` where there is none.
    async fn source(&self, source: &Dependency) -> Result<Option<(Option<Version>, Data)>, Problem>;

    /// The labels of a Secret or ConfigMap; `None` where there is none.
    async fn labels(&self, object: &Dependency) -> Result<Option<StringMap>, Problem>;

    /// The spec of a generator of this kind, at this version of the API; `None` where there is none, or no such kind. Without
    /// a namespace it is one of the whole cluster.
    async fn generator(
        &self,
        namespace: Option<&str>,
        version: &str,
        kind: &str,
        name: &str,
    ) -> Result<Option<Value>, Problem>;

    /// When the ExternalSecret was last changed in more than its status, by its managed fields.
    async fn changed_at(&self, es: &ExternalSecret) -> Result<Option<Timestamp>, Problem>;
}

/// Where states of generators are written down: GeneratorStates.
#[async_trait]
pub trait States: Send + Sync {
    /// Writes down a new one. Answers its name.
    async fn begin(&self, new: &NewState, state: &State, marks: &Marks) -> Result<String, Problem>;

    /// Writes down what it is now.
    async fn amend(&self, namespace: &str, name: &str, state: &State, marks: &Marks) -> Result<(), Problem>;

    /// Says when what it stands for is to be revoked.
    async fn flag(&self, namespace: &str, name: &str, deadline: Timestamp) -> Result<(), Problem>;

    /// Deletes one that stands for nothing.
    async fn forget(&self, namespace: &str, name: &str) -> Result<(), Problem>;

    /// Sees to it that one does not go before what it stands for is revoked.
    async fn hold(&self, state: &GeneratorState) -> Result<(), Problem>;

    /// Deletes one, as far as it may go.
    async fn delete(&self, state: &GeneratorState) -> Result<(), Problem>;

    /// Lets one go.
    async fn release(&self, state: &GeneratorState) -> Result<(), Problem>;

    /// Writes down how its revocation goes.
    async fn tell(&self, state: &GeneratorState, conditions: &[Condition]) -> Result<(), Problem>;

    /// An event on one. Nobody waits for it.
    fn note(&self, state: &GeneratorState, note: Note);
}

/// Where nothing can be written down: nothing is made there that somebody would have to revoke. Says why, for a person.
#[derive(Clone, Copy, Debug)]
pub struct Unrecorded(pub &'static str);

#[async_trait]
impl States for Unrecorded {
    async fn begin(&self, _: &NewState, _: &State, _: &Marks) -> Result<String, Problem> {
        Err(Problem { message: self.0.to_owned(), is_temporary: false, is_not_found: false })
    }

    async fn amend(&self, _: &str, _: &str, _: &State, _: &Marks) -> Result<(), Problem> {
        Ok(())
    }

    async fn flag(&self, _: &str, _: &str, _: Timestamp) -> Result<(), Problem> {
        Ok(())
    }

    async fn forget(&self, _: &str, _: &str) -> Result<(), Problem> {
        Ok(())
    }

    async fn hold(&self, _: &GeneratorState) -> Result<(), Problem> {
        Ok(())
    }

    async fn delete(&self, _: &GeneratorState) -> Result<(), Problem> {
        Ok(())
    }

    async fn release(&self, _: &GeneratorState) -> Result<(), Problem> {
        Ok(())
    }

    async fn tell(&self, _: &GeneratorState, _: &[Condition]) -> Result<(), Problem> {
        Ok(())
    }

    fn note(&self, _: &GeneratorState, _: Note) {}
}

/// Where is computed what may take long.
#[async_trait]
pub trait Compute: Send + Sync {
    /// Waits for a turn of this namespace. Whose turn takes too long has its budget stopped.
    async fn turn(&self, namespace: &str, budget: &Arc<Budget>) -> Turn;

    /// Runs `work`, once, so that it keeps nobody waiting who needs this thread.
    fn run(&self, work: &mut dyn FnMut());
}

/// ServiceAccounts: what stores log in as.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// A fresh token of a ServiceAccount for these audiences, the API server's own where there are none; `None` where there
    /// is no such account.
    async fn token(&self, namespace: &str, name: &str, audiences: Vec<String>) -> Result<Option<Token>, Problem>;

    /// The annotations of a ServiceAccount; `None` where there is none.
    async fn annotations(&self, namespace: &str, name: &str) -> Result<Option<StringMap>, Problem>;

    /// The Kubernetes token of this process, where it has one.
    async fn own_token(&self) -> Option<SecretBytes>;
}

/// Where targets are written.
pub trait Outputs: Send + Sync {
    /// The target of `es`.
    fn of<'a>(&'a self, es: &'a ExternalSecret) -> Box<dyn Output + 'a>;
}

/// The target of one ExternalSecret. It keeps what it read for the write that follows.
#[async_trait]
pub trait Output: Send + Sync {
    /// The target, as it is written down for whom.
    fn named(&self, es: &ExternalSecret) -> Object {
        Object::target(es)
    }

    /// Reads the target; `None` where there is none.
    async fn observe(&mut self) -> Result<Option<Observed>, Failure>;

    /// Told before a write that this process has synced before: data that change now change between two syncs of ours.
    fn was_synced(&mut self) {}

    /// Makes the target hold `content`, on the ground of what was observed last; where nothing was, of what is presumed, or it
    /// is read first. Where it turns out to be otherwise, it is read once more and decided anew.
    async fn apply(&mut self, content: &Content, presumed: Presumed<'_>) -> Result<Applied, Failure>;

    /// All that a target which is a Secret would hold after [`apply`](Self::apply); `None` where that would change nothing.
    async fn foresee(&mut self, content: &Content) -> Result<Option<Data>, Failure>;

    /// Deletes the target, where the ExternalSecret controls it. Answers whether there was one to delete.
    async fn remove(&mut self) -> Result<bool, Failure>;

    /// Deletes what the ExternalSecret wrote under other names than its target's. Answers their names.
    async fn remove_renamed(&mut self) -> Result<Vec<String>, Failure>;

    /// Puts the managed label on a target that is there and is not written, as External Secrets Operator does: its edits
    /// are seen then.
    async fn mark(&mut self) -> Result<(), Failure>;
}

/// What is presumed of a target that was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presumed<'a> {
    /// Nothing: it has to be read.
    Nothing,
    /// There is none.
    Absent,
    /// It is still at this version, which we wrote of the same content but for its data.
    Alike(&'a Version),
}

/// A target as it was read.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Its version.
    pub version: Option<Version>,
    /// Whether it is as its writer left it.
    pub intact: bool,
    /// When the ExternalSecret wrote it, to the second; `None` where it never did.
    pub written_at: Option<Timestamp>,
    /// By when what it holds is to be replaced, where that is noted there.
    pub refresh_by: Option<Timestamp>,
}

/// What an [`Output::apply`] did.
#[derive(Debug)]
pub struct Applied {
    /// What was done.
    pub change: TargetChange,
    /// The target now; `None` where there is none.
    pub version: Option<Version>,
    /// The keys of an object that became ours.
    pub adopted: Option<Vec<String>>,
    /// Whether it is ours, and in all but its data as it was to be: next time, other data are all that is to be written.
    pub is_alike: bool,
    /// When data that we had written last made room for others, by this write or one before, as far as that is noted.
    pub rotated: Option<Timestamp>,
}

/// Where it is told what happened.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Writes the status; gives the resourceVersion that the object has since.
    async fn status(&self, es: &ExternalSecret, status: &ExternalSecretStatus) -> Result<Option<String>, Problem>;

    /// Leaves an ExternalSecret these finalizers and no other, unless it has changed since.
    async fn finalizers(&self, es: &ExternalSecret, finalizers: &[String]) -> Result<(), Problem>;

    /// An event on the ExternalSecret. Nobody waits for it.
    fn note(&self, es: &ExternalSecret, note: Note);
}

/// The clients of stores, for whoever looks after the stores themselves.
#[async_trait]
pub trait Clients: Send + Sync {
    /// What is known of a store by its spec alone; `None` where that names no provider that there is.
    fn about(&self, store: &Store) -> Option<About>;

    /// Logs in where nobody has, and asks the store whether it lets us in. Answers what its users should know besides.
    async fn check(&self, store: &Store) -> Result<Vec<String>, Refused>;

    /// Lets go of the clients of stores that are not there.
    fn keep(&self, is_there: &dyn Fn(&StoreId) -> bool);
}

/// What is known of a store by its spec alone.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// What it can do.
    pub can: Capabilities,
    /// Whether somebody maintains its provider.
    pub maintained: bool,
}

/// At which step a store did not let us in, and why.
#[derive(Clone, Debug)]
pub enum Refused {
    /// No client could be made.
    Client(Error),
    /// The client was not found good.
    Validation(Error),
}

/// Where it is told how stores are, and of what can't be read at all.
#[async_trait]
pub trait Notices: Send + Sync {
    /// Writes the status of a store.
    async fn status(&self, store: &Store, status: &SecretStoreStatus) -> Result<(), Problem>;

    /// An event on a store. Nobody waits for it.
    fn note(&self, store: &Store, note: Note);

    /// Sets conditions of an object whose spec is not read: it does not decode, or its kind is not built. Not where it has
    /// changed since; tries for a while.
    async fn set_conditions(&self, resource: &ApiResource, metadata: ObjectMeta, conditions: Vec<Condition>);
}

/// Why something could not be read or written, in our own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// Whether the same may succeed in a moment.
    pub is_temporary: bool,
    /// Whether the object is not there.
    pub is_not_found: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What it takes to resolve what an ExternalSecret asks for. Who writes a target has [`Outputs`] besides.
#[derive(Clone)]
pub struct Ports {
    /// The stores and the generators.
    pub stores: Arc<dyn Stores>,
    /// What is referred to.
    pub objects: Arc<dyn Objects>,
    /// Where it is told.
    pub journal: Arc<dyn Journal>,
    /// Where it is computed.
    pub compute: Arc<dyn Compute>,
    /// Where states of generators are written down.
    pub states: Arc<dyn States>,
    /// Where it is written down who was given what.
    pub audit: Arc<dyn Audit>,
}

/// The versions at which objects were read; `None` where there was nothing.
pub type Versions = BTreeMap<Dependency, Option<Version>>;

//! What changes, as the loop is told of it, and where it asks for more.

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;
use keyferry_sync::copies::Seen;
use keyferry_sync::dependency::{Dependency, Kind, Name, Version};
use keyferry_sync::ports::Problem;
use kube::api::ObjectMeta;

use super::index::{Item, SubjectKind};
use super::relist::Update;
use super::subject::{Own, Told};

/// What changed.
pub enum Change {
    /// An object that is looked after, or the list of these.
    Subject(SubjectKind, Update<Told<Own>>),
    /// A namespace.
    Namespace(Update<ObjectMeta>),
    /// A PushSecret, as one that may be a copy.
    PushSecret(Update<(Name, Seen)>),
    /// Any object of a kind that somebody depends on.
    Object(Kind, Update<ObjectMeta>),
    /// The watch of a kind that is not watched from the start failed; whether it has listed what there is.
    Failed(Kind, bool),
    /// Somebody wants this looked at.
    Asked(Item),
    /// A page of the targets that there are.
    Targets(Vec<Target>),
    /// All targets were told.
    Examined,
}

/// What a watch lists when it begins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum List {
    /// Objects that are looked after.
    Subject(SubjectKind),
    /// Namespaces.
    Namespaces,
    /// PushSecrets, as what may be copies.
    PushSecrets,
    /// Objects that somebody depends on.
    Objects(Kind),
}

/// A stream of changes.
pub type Changes = BoxStream<'static, Change>;

/// A target, as a list has it.
pub struct Target {
    /// Which it is.
    pub object: Dependency,
    /// Its state.
    pub version: Version,
    /// Whether it is as its writer left it.
    pub is_intact: bool,
    /// When its data last changed between two syncs of ours, where that is noted.
    pub rotated_at: Option<Timestamp>,
}

/// Where a list of targets goes on; as it comes, where it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The number of the namespace, where several are looked after.
    pub place: usize,
    /// The API server's word for it there.
    pub token: Option<String>,
}

/// Where changes come from.
#[async_trait]
pub trait Watches: Send + Sync {
    /// What the operator looks after, and the namespaces.
    fn looked_after(&self) -> Vec<(List, Changes)>;

    /// Has ExternalSecrets listed anew: what their watch tells from now on begins with a list.
    fn list_again(&self);

    /// The kinds of which somebody always depends on some object: Secrets and ConfigMaps, by metadata alone.
    fn referred_to(&self) -> Vec<(List, Changes)>;

    /// Any other kind, by metadata alone; `None` where nobody has asked yet what it is in the API.
    fn kind(&self, kind: &Kind) -> Option<Changes>;

    /// A kind is not watched any more.
    fn forget(&self, kind: &Kind);

    /// One page of the targets that there are, and where the next begins.
    async fn targets(&self, from: Cursor) -> Result<(Vec<Target>, Option<Cursor>), Problem>;
}

//! What a look at a PushSecret came to. Status, events, metrics and schedule read this and nothing else.

use std::fmt;

use jiff::Timestamp;
use keyferry_provider_core::Error;
use keyferry_sync::outcome::Retry;
use keyferry_sync::told::Told;

/// What a look came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was due; look again then.
    Waiting(Option<Timestamp>),
    /// A store is still being checked; its check will wake us.
    Holding,
    /// Other controllers look after all of its stores.
    Ignored,
    /// The PushSecret is going, and we have done our part.
    Released,
    /// Everything is in the stores as it should be.
    Done(Done),
    /// The source has gone, and what was pushed of it with it.
    SourceGone,
    /// It could not be done, or not all of it.
    Failed(Failure),
}

/// What was done in the stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// The entries that were handed to a store to be written.
    pub pushed: usize,
    /// Those that were deleted.
    pub deleted: usize,
}

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What could not be done, in the words that External Secrets Operator uses for it.
    pub headline: Headline,
    /// Why. A pure function of the causes: no times, attempts or request ids.
    pub causes: Vec<Told>,
    /// When to try again.
    pub retry: Retry,
}

/// Headlines of failures: the messages of External Secrets Operator's conditions, which go before the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headline {
    /// The spec can't be carried out.
    Spec,
    /// A store that it names is not there.
    Stores,
    /// The source can't be read.
    Source,
    /// The template can't be rendered.
    Template,
    /// Something could not be written.
    Set,
    /// Something could not be deleted.
    Delete,
    /// The PushSecret itself could not be written.
    Own,
}

impl Headline {
    /// Every headline.
    pub const ALL: [Self; 6] = [Self::Spec, Self::Source, Self::Template, Self::Set, Self::Delete, Self::Own];

    /// The words of the condition.
    pub fn as_str(self) -> &'static str {
        match self {
            // The cause says all.
            Self::Spec | Self::Stores => "",
            Self::Source => "could not get source secret",
            Self::Template => "could not execute template",
            Self::Set => "set secret failed",
            Self::Delete => "Failed to Delete Secrets from Provider",
            Self::Own => "could not update the PushSecret",
        }
    }
}

/// What keeps a push from being complete.
pub type Causes = Vec<(Told, Retry)>;

/// How many causes a message names before it counts.
pub const NAMED_CAUSES: usize = 10;

impl Failure {
    /// With one cause.
    pub fn new(headline: Headline, cause: impl Into<Told>, retry: Retry) -> Self {
        Self { headline, causes: vec![cause.into()], retry }
    }

    /// The failure of these causes, where there are any.
    pub fn of(headline: Headline, causes: Causes) -> Option<Self> {
        let retry = causes.iter().map(|(_, retry)| *retry).reduce(sooner)?;
        Some(Self { headline, causes: causes.into_iter().map(|(cause, _)| cause).collect(), retry })
    }

    /// All of it, for a condition or an event: nothing but its causes and words of ours.
    pub fn told(&self) -> Told {
        Told::without_values(self.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.headline.as_str())?;
        let first = if self.headline.as_str().is_empty() { "" } else { ": " };
        let separators = [first].into_iter().chain(std::iter::repeat("; "));
        for (separator, cause) in separators.zip(self.causes.iter().take(NAMED_CAUSES)) {
            write!(f, "{separator}{cause}")?;
        }
        match self.causes.len().checked_sub(NAMED_CAUSES) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "; and {more} more"),
        }
    }
}

/// When a store's error is worth another try.
pub fn retry_of(error: &Error) -> Retry {
    error.retry_after().map_or_else(|| Retry::of(error.kind()), Retry::After)
}

/// The sooner of two; what waits for a change holds up nothing else.
pub fn sooner(a: Retry, b: Retry) -> Retry {
    match (a, b) {
        (Retry::OnChange, other) | (other, Retry::OnChange) => other,
        (a, b) => a.min(b),
    }
}

//! What is written down about a target, beside it and without values: that it is ours, how we left it, and what is still to be
//! told of it.

use jiff::Timestamp;
use keyferry_crds::ExternalSecret;
use keyferry_files::problem::Problem;
use keyferry_files::root::Root;
use keyferry_files::target::Place;
use keyferry_sync::look::Memory;
use keyferry_sync::plan::LastSync;
use keyferry_sync::request::generates;
use keyferry_sync::schedule;
use serde::{Deserialize, Serialize};

/// What is written down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mark {
    /// Whose it is: NAMESPACE/NAME of an ExternalSecret.
    pub external_secret: String,
    /// The hash of what it holds; empty where it was removed.
    pub hash: String,
    /// When it was last written.
    pub written: Option<Timestamp>,
    /// When it was last found as the ExternalSecret, at this version, wants it; only where that says when it is made anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synced: Option<Synced>,
    /// Whether the command that is run on changes is still to hear of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub untold: bool,
}

impl Mark {
    /// Whether it was removed, which the command is still to hear of: what is there now is not ours.
    pub fn is_removed(&self) -> bool {
        self.hash.is_empty()
    }
}

/// A sync.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Synced {
    /// When it began.
    pub at: Timestamp,
    /// The version of the ExternalSecret.
    pub version: String,
    /// By when the first of what generators made is to be replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
}

impl Synced {
    /// The last one that is remembered.
    pub fn of(memory: &Memory) -> Option<Self> {
        let LastSync { at, version } = memory.last.clone()?;
        Some(Self { at, version, ends: memory.made_ends })
    }
}

impl From<Synced> for Memory {
    fn from(Synced { at, version, ends }: Synced) -> Self {
        Self { last: Some(LastSync { at, version }), made_ends: ends, ..Self::default() }
    }
}

/// Whether its last sync counts after a restart: where values are made, or read once. All others are read at each start.
pub fn outlives_a_restart(es: &ExternalSecret) -> bool {
    generates(es) || schedule::interval(es).is_none()
}

/// What is written down about a target; `None` where nothing is, or nothing that can be read.
pub fn read(root: &Root, place: &Place) -> Result<Option<Mark>, Problem> {
    Ok(root.mark(&place.mark())?.and_then(|text| serde_json::from_slice(&text).ok()))
}

/// Writes it down.
pub fn write(root: &Root, place: &Place, mark: &Mark) -> Result<(), Problem> {
    let text = serde_json::to_vec(mark).map_err(|_| Problem::new("a bug of keyferry: a mark is no JSON"))?;
    root.set_mark(&place.mark(), &text)
}

/// The targets that something is written down about.
pub fn all(root: &Root) -> Result<Vec<(Place, Mark)>, Problem> {
    let places = root.marks()?;
    let marks = places.iter().filter_map(|name| Place::of_mark(name)).map(|place| {
        let mark = read(root, &place)?.unwrap_or_default();
        Ok((place, mark))
    });
    marks.collect()
}

//! From an outcome to the status, with its conditions, and the events that tell of it. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use keyferry_crds::{Binding, Condition, CreationPolicy, ExternalSecret, ExternalSecretStatus, names};
use keyferry_limits::REFRESH_RATE;

use crate::outcome::{Outcome, SyncResult, Synced, TargetChange};
use crate::schedule;
use crate::time::seconds;
use crate::told;
use crate::told::Told;

/// The reason in the condition of a GeneratorState that can be revoked: External Secrets Operator's.
pub const READY_STATE: &str = "Created";

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Normal or Warning.
    pub severity: Severity,
    /// The reason, a word.
    pub reason: &'static str,
    /// The message.
    pub message: Told,
}

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// All is well.
    Normal,
    /// Something wants attention.
    Warning,
}

impl Note {
    /// An event.
    pub fn new(severity: Severity, reason: &'static str, message: impl Into<Told>) -> Self {
        Self { severity, reason, message: message.into() }
    }
}

/// The reasons of targets that were deleted on purpose.
pub const SECRET_DELETED: &str = "SecretDeleted";
/// The same of a target that is not a Secret.
pub const RESOURCE_DELETED: &str = "ResourceDeleted";

/// The reason of what nobody fetches but who mounts it, and what is told of it.
pub const MOUNT_ONLY: &str = "MountOnly";
const MOUNTED: &str = "pods that mount it log in as themselves (spec.loginBy of its store): nothing is fetched here, and no Secret \
                       is made";

/// The condition that an outcome stands for: its status, reason and message. `None` where it says nothing new.
pub fn verdict(es: &ExternalSecret, outcome: &Outcome) -> Option<(bool, &'static str, Told)> {
    let (ready, reason, message) = judge(es, outcome)?;
    if ready && schedule::is_slowed_down(es) {
        return Some((ready, reason, told!("{}; spec.refreshInterval: {}", message, REFRESH_RATE)));
    }
    Some((ready, reason, message))
}

fn judge(es: &ExternalSecret, outcome: &Outcome) -> Option<(bool, &'static str, Told)> {
    match outcome {
        Outcome::Waiting(_) | Outcome::Holding | Outcome::Ignored | Outcome::Released => None,
        Outcome::MountOnly => Some((true, MOUNT_ONLY, MOUNTED.into())),
        Outcome::Settled { .. } => judge(es, &Outcome::Synced(Synced::unchanged())),
        Outcome::Failed(failure) => Some((false, "SecretSyncedError", clip(failure.told()))),
        Outcome::Synced(synced) if es.target_manifest().is_some() => {
            let (reason, message) = match synced.result {
                SyncResult::Synced | SyncResult::Unwritten => ("ResourceSynced", "resource synced"),
                SyncResult::Deleted => (RESOURCE_DELETED, "resource deleted due to DeletionPolicy=Delete"),
                SyncResult::Missing => ("ResourceMissing", "resource will not be created due to CreationPolicy=Merge"),
            };
            Some((true, reason, message.into()))
        }
        Outcome::Synced(synced) => {
            let (reason, message) = match synced.result {
                SyncResult::Synced | SyncResult::Unwritten => ("SecretSynced", "secret synced"),
                SyncResult::Deleted => (SECRET_DELETED, "secret deleted due to DeletionPolicy=Delete"),
                SyncResult::Missing => ("SecretMissing", "secret will not be created due to CreationPolicy=Merge"),
            };
            Some((true, reason, message.into()))
        }
    }
}

/// The status after `outcome` of a sync that began at `began`, where it has to be written: where it differs in more
/// than times, where a user caused the sync, or where its time is old enough to be told anew. `ends` is by when what was
/// made is to be replaced, where nothing else tells the next process of that.
pub fn status(
    es: &ExternalSecret,
    outcome: &Outcome,
    version: &str,
    began: Timestamp,
    ends: Option<Timestamp>,
) -> Option<ExternalSecretStatus> {
    if let Outcome::Settled { at } = outcome {
        return status(es, &Outcome::Synced(Synced::unchanged()), version, *at, ends);
    }
    let before = es.status.clone().unwrap_or_default();
    let (ready, reason, message) = verdict(es, outcome)?;
    let mut after = before.clone();
    set_ready(&mut after.conditions, ready, reason, message, began);
    if let Outcome::Synced(synced) = outcome {
        after.refresh_time = Some(Time(seconds(began)));
        after.synced_resource_version = Some(version.to_owned());
        after.refresh_by = ends.filter(|_| schedule::interval(es).is_some()).map(|ends| Time(seconds(ends)));
        if synced.result == SyncResult::Synced && es.spec.target.creation_policy != CreationPolicy::None {
            after.binding = Binding { name: es.target_name().to_owned() };
        }
    }
    // Under a former name the target is still to be removed: that name is kept.
    if matches!(outcome, Outcome::Failed(failure) if failure.bound) && before.binding.name.is_empty() {
        after.binding = Binding { name: es.target_name().to_owned() };
    }
    let timeless = ExternalSecretStatus { refresh_time: before.refresh_time.clone(), ..after.clone() };
    let changed = es.status.is_none() || timeless != before;
    let touched = matches!(outcome, Outcome::Synced(Synced { change, .. }) if *change != TargetChange::Nothing);
    let stale = matches!(outcome, Outcome::Synced(_))
        && schedule::writes_time(es, before.refresh_time.map(|time| time.0), began);
    (changed || touched || stale).then_some(after)
}

/// Sets the Ready condition among others; its time moves only when its status flips.
pub fn set_ready(conditions: &mut Vec<Condition>, ready: bool, reason: &str, message: Told, now: Timestamp) {
    set_ready_to(conditions, if ready { "True" } else { "False" }, reason, message, now);
}

/// The same where nobody can tell.
pub fn set_unknown(conditions: &mut Vec<Condition>, reason: &str, message: Told, now: Timestamp) {
    set_ready_to(conditions, "Unknown", reason, message, now);
}

fn set_ready_to(conditions: &mut Vec<Condition>, status: &str, reason: &str, message: Told, now: Timestamp) {
    let before = conditions.iter().position(|condition| condition.type_ == names::CONDITION_READY);
    let since = before.map(|n| &conditions[n]).filter(|condition| condition.status == status);
    let since = since.and_then(|condition| condition.last_transition_time.clone());
    let condition = Condition {
        type_: names::CONDITION_READY.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.into_string()),
        last_transition_time: Some(since.unwrap_or(Time(seconds(now)))),
    };
    match before {
        Some(n) => conditions[n] = condition,
        None => conditions.push(condition),
    }
}

/// The events that tell of an outcome. What was so already is not told again: a failure that repeats has its event
/// from the first time, and a refresh that changed nothing has none.
pub fn notes(es: &ExternalSecret, outcome: &Outcome) -> Vec<Note> {
    let said = es.ready().and_then(|condition| condition.message.as_deref());
    match outcome {
        Outcome::Waiting(_)
        | Outcome::Holding
        | Outcome::Ignored
        | Outcome::MountOnly
        | Outcome::Released
        | Outcome::Settled { .. } => Vec::new(),
        Outcome::Failed(failure) => {
            let message = clip(failure.told());
            if said == Some(message.as_str()) {
                Vec::new()
            } else {
                vec![Note::new(Severity::Warning, "UpdateFailed", message)]
            }
        }
        Outcome::Synced(synced) => {
            let mut notes = Vec::new();
            let normal = |reason, message: Told| Note::new(Severity::Normal, reason, message);
            notes.extend(missing(&synced.missing).map(|message| normal("MissingProviderSecret", message)));
            if let Some(keys) = synced.adopted.as_ref().filter(|keys| !keys.is_empty()) {
                let kind = es.target_manifest().map_or("Secret", |manifest| manifest.kind.as_str());
                // Names that stood there before us: nothing of them was made of a value of ours.
                let message =
                    format!("took over {kind} {:?}, which held the keys {}", es.target_name(), keys.join(", "));
                notes.push(Note::new(Severity::Warning, "Adopted", Told::without_values(message)));
            }
            if !synced.complaints.is_empty() {
                notes.push(Note::new(
                    Severity::Warning,
                    "TemplateFunctionFailed",
                    clip(complained(&synced.complaints)),
                ));
            }
            let done = match synced.change {
                TargetChange::Created => Some(("Created", "secret created")),
                TargetChange::Updated => Some(("Updated", "secret updated")),
                TargetChange::Deleted => Some(("Deleted", "secret deleted due to DeletionPolicy=Delete")),
                TargetChange::Nothing => None,
            };
            notes.extend(done.map(|(reason, message)| match es.target_manifest() {
                None => normal(reason, message.into()),
                Some(manifest) => {
                    let message = format!("{reason} {} {}", manifest.kind, es.target_name());
                    normal(reason, Told::without_values(message))
                }
            }));
            // The entries that are missing were told when they went: the same status says the same again.
            if synced.change == TargetChange::Nothing && said.is_some() && es.ready().is_some_and(Condition::is_true) {
                notes.retain(|note| note.reason != "MissingProviderSecret");
            }
            notes
        }
    }
}

/// What is told of entries that the store does not have: one event for all, however many they are.
fn missing(entries: &[Told]) -> Option<Told> {
    const NAMED: usize = 10;
    if entries.is_empty() {
        return None;
    }
    let named = Told::join(entries.iter().take(NAMED).cloned(), "; ");
    Some(match entries.len().saturating_sub(NAMED) {
        0 => told!("secret does not exist at provider using {}", named),
        more => told!("secret does not exist at provider using {}; and {} more", named, more),
    })
}

/// What is written holds the complaint of a function where its result should be. External Secrets Operator writes it
/// without a word.
fn complained(complaints: &[Told]) -> Told {
    told!(
        "a function failed, and its complaint stands where its result should: {}; correct what it is given, or run the \
         operator with --strict-templates, which makes this an error",
        Told::join(complaints.iter().cloned(), "; ")
    )
}

/// Conditions take 32768 bytes; nobody reads half of that.
fn clip(mut message: Told) -> Told {
    const LONGEST: usize = 4096;
    if let Some((at, _)) = message.as_str().char_indices().nth(LONGEST) {
        message.edit(|text| {
            text.truncate(at);
            text.push('…');
        });
    }
    message
}

#[cfg(test)]
mod tests {
    use keyferry_builders::{at, es};
    use serde_json::json;

    use super::*;
    use crate::outcome::{Failure, Headline, Retry};

    fn synced(change: TargetChange) -> Outcome {
        Outcome::Synced(Synced { change, ..Synced::unchanged() })
    }

    #[test]
    fn a_refresh_that_changes_nothing_writes_no_status_for_a_while() {
        let mut es = es(json!({"refreshInterval": "15s"}));
        es.status = status(&es, &synced(TargetChange::Created), "1-a", at(0), None);
        assert_eq!(es.status.as_ref().unwrap().binding.name, "e");
        assert_eq!(status(&es, &synced(TargetChange::Nothing), "1-a", at(200), None), None);
        assert!(status(&es, &synced(TargetChange::Nothing), "1-a", at(320), None).is_some(), "its time is old");
        assert!(status(&es, &synced(TargetChange::Nothing), "1-b", at(1), None).is_some(), "a user caused it");
        assert!(status(&es, &synced(TargetChange::Updated), "1-a", at(1), None).is_some(), "the target changed");
    }

    #[test]
    fn a_failure_is_written_once_and_its_time_is_that_of_the_flip() {
        let failed = Outcome::Failed(Failure::new(Headline::Fetch, "why", Retry::Soon));
        let mut es = es(json!({}));
        es.status = status(&es, &failed, "1-a", at(10), None);
        let ready = es.ready().unwrap();
        assert_eq!(ready.message.as_deref(), Some("could not get secret data from provider: why"));
        assert_eq!(es.status.as_ref().unwrap().synced_resource_version, None);
        assert_eq!(status(&es, &failed, "1-a", at(20), None), None);
        assert!(notes(&es, &failed).is_empty(), "the event was sent the first time");
        let other = Outcome::Failed(Failure::new(Headline::Fetch, "else", Retry::Soon));
        let after = status(&es, &other, "1-a", at(30), None).unwrap();
        assert_eq!(after.conditions[0].last_transition_time, Some(Time(at(10))));
        assert_eq!(notes(&es, &other).len(), 1);
    }

    #[test]
    fn entries_that_are_missing_are_one_event() {
        let missing = |count: usize| (0..count).map(|n| told!("spec.data[{}]", n)).collect();
        let told = |count| {
            let outcome = Outcome::Synced(Synced { missing: missing(count), ..Synced::unchanged() });
            notes(&es(json!({})), &outcome).into_iter().map(|note| note.message.into_string()).collect::<Vec<_>>()
        };
        assert_eq!(told(1), ["secret does not exist at provider using spec.data[0]"]);
        assert_eq!(told(2), ["secret does not exist at provider using spec.data[0]; spec.data[1]"]);
        let many = told(3000);
        assert_eq!(many.len(), 1);
        assert!(many[0].ends_with("spec.data[9]; and 2990 more"), "{many:?}");
    }

    #[test]
    fn an_interval_that_is_too_short_is_told_and_no_failure() {
        let slowed = es(json!({"refreshInterval": "1ns"}));
        let (ready, reason, message) = verdict(&slowed, &synced(TargetChange::Created)).unwrap();
        assert_eq!((ready, reason), (true, "SecretSynced"));
        assert_eq!(message.as_str(), format!("secret synced; spec.refreshInterval: {REFRESH_RATE}"));
        let usual = es(json!({"refreshInterval": "1s"}));
        assert_eq!(verdict(&usual, &synced(TargetChange::Created)).unwrap().2, "secret synced".into());
    }

    #[test]
    fn conditions_of_others_stay() {
        let mut es = es(json!({}));
        let other = Condition { type_: "Other".into(), status: "True".into(), ..Default::default() };
        es.status = Some(ExternalSecretStatus { conditions: vec![other.clone()], ..Default::default() });
        let after = status(&es, &synced(TargetChange::Created), "1-a", at(0), None).unwrap();
        assert_eq!(after.conditions.len(), 2);
        assert_eq!(after.conditions[0], other);
    }
}

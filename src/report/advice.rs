//! What to do next, for each reason that a condition of ours can give. Pure.

use keyferry_crds::names;
use keyferry_push::outcome::Headline as PushHeadline;
use keyferry_push::record as push;
use keyferry_sync::outcome::Headline;
use keyferry_sync::record::{MOUNT_ONLY, READY_STATE, RESOURCE_DELETED, SECRET_DELETED};

use super::standing::Standing;
use crate::controller::store::{INVALID, LOGIN_BY_MOUNT, UNKNOWN, VALID};

/// What to do about an object that stands so; `None` where its reason is none of ours.
pub fn of(standing: &Standing) -> Option<&'static str> {
    let Standing { kind, status, reason, message, .. } = standing;
    match (*kind, reason.as_str()) {
        (_, "") if *status == "Unknown" => Some(
            "it was not looked at yet: see that an operator of its class runs and holds the Lease, and that its namespace is in scope",
        ),
        ("ExternalSecret", "SecretSyncedError") => Some(failed(message)),
        ("ExternalSecret", "SecretSynced" | "ResourceSynced") => Some("nothing: it is well"),
        ("ExternalSecret", MOUNT_ONLY) => Some("nothing: whoever mounts it is told in events of its pod"),
        ("ExternalSecret", SECRET_DELETED | RESOURCE_DELETED) => Some(
            "put the secret back into the store where it should be there: the target was deleted with it, as deletionPolicy asks",
        ),
        ("ExternalSecret", "SecretMissing" | "ResourceMissing") => {
            Some("make the target, or use creationPolicy CreateOrMerge: Merge waits for one to be there")
        }
        (names::KIND_PUSH_SECRET, push::SYNCED) => Some("nothing: it is in its stores"),
        (names::KIND_PUSH_SECRET, push::SOURCE_DELETED) => {
            Some("make the source again, or delete the PushSecret: what was pushed of it is deleted")
        }
        (names::KIND_PUSH_SECRET, push::ERRORED) => Some(not_pushed(message)),
        ("SecretStore" | "ClusterSecretStore", VALID) => Some("nothing: it lets us in"),
        ("SecretStore" | "ClusterSecretStore", LOGIN_BY_MOUNT) => {
            Some("nothing: pods that mount log in as themselves, and are told in their events where they can't")
        }
        ("SecretStore" | "ClusterSecretStore", UNKNOWN) => {
            Some("nothing: this store can't be asked whether it lets us in, the first read tells")
        }
        ("SecretStore" | "ClusterSecretStore", INVALID) => Some(
            "correct what the message names: the spec of the store, or the Secret or ServiceAccount that it logs in with; it is \
             checked again when either changes, and by time",
        ),
        (names::KIND_GENERATOR_STATE, READY_STATE) => Some("nothing: it can be revoked"),
        (names::KIND_GENERATOR_STATE, "Error") => Some(
            "see to it that the generator and what it logs in with are there until it is revoked, or revoke by hand what it names",
        ),
        (_, "SecretSyncedError" | push::ERRORED) => Some("correct what the message names"),
        _ => None,
    }
}

/// The headline that a message begins with.
fn headline(message: &str) -> Option<Headline> {
    let begins = |headline: &&Headline| message.starts_with(headline.as_str());
    // "could not update secret" begins another one, too.
    Headline::ALL.iter().filter(begins).max_by_key(|headline| headline.as_str().len()).copied()
}

fn failed(message: &str) -> &'static str {
    match headline(message) {
        Some(Headline::Fetch)
            if message.contains("does not exist: create it") || message.contains("does not exist in") =>
        {
            "create the store that it names, or correct the reference: it is looked at again when the store is there"
        }
        Some(Headline::Fetch) if message.contains("is not ready") => {
            "mend the store first: `keyferry explain store/NAME` tells how; who uses it is looked at when it is Ready"
        }
        Some(Headline::Fetch) => {
            "see what the message says of each entry: put the secret there, correct remoteRef, or let the store's login read it; \
             `keyferry refresh` tries at once"
        }
        Some(Headline::Update) => {
            "see what kept the target from being written: the operator's rights, a template, or what refuses the object"
        }
        Some(Headline::Immutable) => "delete the target, or set spec.target.immutable to false before it changes",
        Some(Headline::Delete | Headline::ManifestDelete) => {
            "let the operator delete the target, or delete it by hand, or set deletionPolicy to Retain"
        }
        Some(Headline::Orphans) => "delete the former targets that the message names, or let the operator delete them",
        Some(Headline::Ownership) => {
            "give the target another name, or take its controlling owner off it, or use creationPolicy Merge or Orphan"
        }
        Some(Headline::Owned) => "give one of the two another spec.target.name, or use creationPolicy Merge in one",
        Some(Headline::ManifestKind) => {
            "run the operator with --unsafe-allow-generic-targets, or write a Secret: leave out spec.target.manifest"
        }
        Some(Headline::ManifestGet) => {
            "give the operator rights to the kind of the target, and see that its kind is installed"
        }
        Some(Headline::Manifest) => {
            "correct the template: what it comes to is not an object of the kind that is asked for"
        }
        Some(Headline::Spec) => "correct the spec as the message says: it is looked at again when it changes",
        Some(Headline::Unsupported) => "leave out what is not built yet; the support table of the README lists what is",
        None => "correct what the message names",
    }
}

fn not_pushed(message: &str) -> &'static str {
    let begins = |headline: &&PushHeadline| !headline.as_str().is_empty() && message.starts_with(headline.as_str());
    match PushHeadline::ALL.iter().find(begins) {
        // These two are told by their cause alone.
        None | Some(PushHeadline::Spec | PushHeadline::Stores) if message.starts_with("could not get ") => {
            "create the store that it names, or correct the reference: it is pushed when the store is there"
        }
        None | Some(PushHeadline::Spec | PushHeadline::Stores) => {
            "correct the spec as the message says: it is looked at again when it changes"
        }
        Some(PushHeadline::Source) => {
            "make the source, or correct spec.selector: it is pushed when the Secret is there"
        }
        Some(PushHeadline::Template) => "correct spec.template",
        Some(PushHeadline::Set) => {
            "see what the message says of each entry: let the store's login write there, or correct data"
        }
        Some(PushHeadline::Delete) => {
            "let the store's login delete there, or set deletionPolicy to None to leave what was pushed"
        }
        Some(PushHeadline::Own) => "let the operator write PushSecrets and their status",
    }
}

#[cfg(test)]
mod tests {
    use keyferry_builders::es;
    use keyferry_sync::outcome::{Failure, Outcome, Retry, SyncResult, Synced};
    use keyferry_sync::record::verdict;
    use serde_json::json;

    use super::*;

    fn standing(kind: &'static str, reason: &str, message: &str) -> Standing {
        let es = es(json!({}));
        let mut standing = super::super::standing::external_secret(&es, None, jiff::Timestamp::UNIX_EPOCH);
        (standing.kind, standing.reason, standing.message) = (kind, reason.to_owned(), message.to_owned());
        standing.status = "Failed";
        standing
    }

    /// Every reason of an ExternalSecret, as its conditions are made.
    #[test]
    fn every_outcome_of_a_sync_has_a_next_step() {
        let manifest = json!({"target": {"manifest": {"apiVersion": "v1", "kind": "ConfigMap"}}});
        let results = [SyncResult::Synced, SyncResult::Unwritten, SyncResult::Deleted, SyncResult::Missing];
        let mut seen = std::collections::BTreeSet::new();
        for es in [es(json!({})), es(manifest)] {
            let synced = results.into_iter().map(|result| Outcome::Synced(Synced { result, ..Synced::unchanged() }));
            let failed =
                Headline::ALL.into_iter().map(|headline| Outcome::Failed(Failure::new(headline, "why", Retry::Late)));
            for outcome in synced.chain(failed) {
                let (_, reason, message) = verdict(&es, &outcome).unwrap();
                let step = of(&standing("ExternalSecret", reason, message.as_str()));
                assert!(step.is_some_and(|step| step != "correct what the message names"), "{reason}: {message}");
                seen.insert(reason);
            }
        }
        assert_eq!(seen.len(), 7, "{seen:?}");
    }

    #[test]
    fn each_headline_has_a_step_of_its_own() {
        for headline in Headline::ALL {
            assert_eq!(super::headline(&format!("{}: why", headline.as_str())), Some(headline));
        }
        for headline in PushHeadline::ALL {
            let step = of(&standing(names::KIND_PUSH_SECRET, push::ERRORED, headline.as_str()));
            assert!(step.is_some_and(|step| step != "correct what the message names"), "{headline:?}");
        }
    }

    /// Each reason, with the words that its message begins with.
    fn every_reason() -> Vec<(&'static str, &'static str, String)> {
        const ES: &str = "ExternalSecret";
        let manifest = json!({"target": {"manifest": {"apiVersion": "v1", "kind": "ConfigMap"}}});
        let results = [SyncResult::Synced, SyncResult::Deleted, SyncResult::Missing];
        let mut all = Vec::new();
        for es in [es(json!({})), es(manifest)] {
            for result in results {
                let outcome = Outcome::Synced(Synced { result, ..Synced::unchanged() });
                let (_, reason, message) = verdict(&es, &outcome).unwrap();
                all.push((ES, reason, message.to_string()));
            }
        }
        all.push((ES, MOUNT_ONLY, "pods that mount it log in as themselves".to_owned()));
        let fetch = Headline::Fetch.as_str();
        let more = ["does not exist: create it", "is not ready"].map(|end| format!("{fetch}: ... {end}"));
        let headlines = Headline::ALL.iter().map(|headline| headline.as_str().to_owned()).chain(more);
        all.extend(headlines.map(|words| (ES, "SecretSyncedError", words)));

        let of_push = names::KIND_PUSH_SECRET;
        let headlines = PushHeadline::ALL.iter().map(|headline| headline.as_str()).filter(|words| !words.is_empty());
        let headlines = headlines.chain(["could not get ...", "anything else"]);
        all.extend(headlines.map(|words| (of_push, push::ERRORED, words.to_owned())));
        all.extend([push::SYNCED, push::SOURCE_DELETED].map(|reason| (of_push, reason, String::new())));
        all.extend([VALID, LOGIN_BY_MOUNT, UNKNOWN, INVALID].map(|reason| ("SecretStore", reason, String::new())));
        all.extend([READY_STATE, "Error"].map(|reason| (names::KIND_GENERATOR_STATE, reason, String::new())));
        all
    }

    /// Whoever searches the page for the words of a condition finds what `keyferry explain` says of it, and nothing else is promised.
    #[test]
    fn the_page_about_troubles_has_every_reason_with_its_next_step() {
        let page = include_str!("../../docs/troubleshooting.md");
        let all = every_reason();
        for (kind, reason, words) in &all {
            let step = of(&standing(kind, reason, words)).unwrap();
            let row = format!("| `{reason}` | {words} | {step} |\n");
            assert!(page.contains(&row), "docs/troubleshooting.md must have this row:\n{row}");
        }
        let rows = page.lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() == 2);
        assert_eq!(rows.count(), all.len(), "docs/troubleshooting.md has rows of reasons that do not exist");
        let (step, page) = (of(&Standing { status: "Unknown", ..standing("ExternalSecret", "", "") }), page);
        assert!(page.contains(step.unwrap()));
    }

    /// The reasons that sources of ours write into conditions: whoever adds one finds out here that it has no next step.
    #[test]
    fn every_reason_in_the_sources_has_a_next_step() {
        let kinds = [
            ("ExternalSecret", "sync/src/record.rs"),
            (names::KIND_PUSH_SECRET, "push/src/record.rs"),
            ("SecretStore", "src/controller/store.rs"),
            (names::KIND_GENERATOR_STATE, "src/controller/generator_state.rs"),
        ];
        let mut walked = 0;
        for (kind, file) in kinds {
            let text = std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            let constants = text.lines().filter(|line| line.contains("const ") && line.contains(": &str = \""));
            let reasons = text.lines().filter(|line| line.contains("=> (\"") || line.contains("Some((false, \""));
            for line in constants.chain(reasons) {
                let reason = line.split('"').nth(1).unwrap_or_default();
                // Events have reasons of their own, and a GeneratorState's stands beside those of ExternalSecrets.
                let is_text = reason.contains(' ');
                if is_text || line.contains("Some((\"") || kind == "ExternalSecret" && reason == READY_STATE {
                    continue;
                }
                assert!(of(&standing(kind, reason, "")).is_some(), "{kind}: {reason}");
                walked += 1;
            }
        }
        assert!(walked >= 12, "the check found its subjects: {walked}");
        let undecodable = of(&standing("ClusterExternalSecret", push::ERRORED, ""));
        assert!(undecodable.is_some() && of(&standing("ExternalSecret", "Strange", "")).is_none());
    }
}

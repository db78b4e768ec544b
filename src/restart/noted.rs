//! For which changes a workload was restarted, as its pods bear it: `app=2026-01-02T03:04:05Z,db=...`. Names and times, and
//! nothing that is made of a value. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use keyferry_cluster::workloads::Workload;
use keyferry_crds::names;

use super::who::Changed;

/// How many Secrets are noted: those that changed last.
const MOST: usize = 64;

/// By Secret, the change that the pods have seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Noted(BTreeMap<String, Timestamp>);

impl Noted {
    /// What is noted in a pod template.
    pub fn of(workload: &Workload) -> Self {
        let annotations = workload.pod_metadata.annotations.as_ref();
        annotations
            .and_then(|all| all.get(names::ANNOTATION_RESTARTED_FOR))
            .map(|text| Self::read(text))
            .unwrap_or_default()
    }

    fn read(text: &str) -> Self {
        let entries = text.split(',').filter_map(|entry| {
            let (secret, at) = entry.split_once('=')?;
            Some((secret.to_owned(), at.parse().ok()?))
        });
        Self(entries.collect())
    }

    /// Whether pods that bear this have begun after the change.
    pub fn has(&self, changed: &Changed) -> bool {
        self.0.get(&changed.secret).is_some_and(|seen| *seen >= changed.at)
    }

    /// The same with these changes, to be written.
    pub fn with<'a>(mut self, all: impl IntoIterator<Item = &'a Changed>) -> String {
        self.0.extend(all.into_iter().map(|changed| (changed.secret.clone(), changed.at)));
        let mut entries: Vec<(String, Timestamp)> = self.0.into_iter().collect();
        entries.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
        entries.truncate(MOST);
        entries.sort();
        let entries: Vec<String> = entries.into_iter().map(|(secret, at)| format!("{secret}={at}")).collect();
        entries.join(",")
    }
}

/// When a change is noted its write is yet to be sent, and may be answered late.
const WRITE_TAKES: SignedDuration = SignedDuration::from_secs(120);

/// Whether the workload came to be after the change: its pods all hold what the Secret holds since.
pub fn is_younger(workload: &Workload, changed: &Changed) -> bool {
    let born = workload.metadata.creation_timestamp.as_ref();
    born.is_some_and(|born| born.0.duration_since(changed.at) > WRITE_TAKES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(secret: &str, second: i64) -> Changed {
        Changed {
            secret: secret.to_owned(),
            at: Timestamp::from_second(second).unwrap(),
            says: super::super::who::Says::default(),
            asked: Vec::new(),
        }
    }

    #[test]
    fn each_secret_has_its_own_change() {
        let text = Noted::default().with(&[changed("b", 2), changed("a", 1)]);
        assert_eq!(text, "a=1970-01-01T00:00:01Z,b=1970-01-01T00:00:02Z");
        let noted = Noted::read(&text);
        assert!(noted.has(&changed("a", 1)) && noted.has(&changed("b", 1)));
        assert!(!noted.has(&changed("a", 2)) && !noted.has(&changed("c", 1)));
        assert_eq!(noted.with(&[changed("a", 5)]), "a=1970-01-01T00:00:05Z,b=1970-01-01T00:00:02Z");
        assert_eq!(Noted::read("what,else=is,=there"), Noted::default());
    }

    #[test]
    fn what_changed_long_ago_is_forgotten_first() {
        let all: Vec<Changed> = (0..100).map(|n| changed(&format!("s{n:02}"), n)).collect();
        let text = Noted::default().with(&all);
        assert_eq!((text.split(',').count(), text.starts_with("s36=")), (MOST, true));
    }
}

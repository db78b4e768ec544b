//! What the page's table shows, and what of it changed since it was last told. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use keyferry_sync::store::Store;
use kube::ResourceExt as _;
use serde::Serialize;

use crate::report::snapshot::Object;
use crate::report::standing::{self, Standing};
use crate::report::tries::Tries;
use crate::verbs::follow::{Change, KINDS, Key};

/// How many rows are told at once: the first are shown while the last are on their way.
const MOST: usize = 500;

/// How many that were deleted are remembered. Who was away for longer is told all anew.
const MOST_GONE: usize = 4096;

/// All rows. Each change has a number of its own, and the next is higher.
#[derive(Default)]
pub struct Board {
    rows: BTreeMap<Key, Row>,
    /// The rows by when they changed.
    order: BTreeMap<u64, Key>,
    /// Those that were deleted, by when.
    gone: BTreeMap<u64, Key>,
    /// Until when those that were deleted are forgotten.
    forgotten: u64,
    revision: u64,
    listed: BTreeSet<&'static str>,
    unread: BTreeMap<&'static str, String>,
    tries: Option<Tries>,
    tries_unread: Option<String>,
    /// By namespace that is watched, the number of the last change of who uses its Secrets.
    users: BTreeMap<String, u64>,
}

struct Row {
    revision: u64,
    object: Object,
    standing: Standing,
}

/// What changed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct News<'a> {
    /// Whether all that was told before is to be forgotten.
    pub reset: bool,
    /// Those that were deleted, before what follows.
    pub gone: Vec<&'a Key>,
    /// Those that changed.
    pub rows: Vec<&'a Standing>,
    /// Whether there is more already.
    pub more: bool,
    /// Whether some are still being listed for the first time.
    pub listing: bool,
    /// What can't be read, and why.
    pub unread: Vec<&'a str>,
    /// Whether tries are known.
    pub knows_tries: bool,
    /// Why they are not.
    pub tries_unread: Option<&'a str>,
    /// By namespace that is watched, a number that is another one when who uses its Secrets has changed.
    pub users: &'a BTreeMap<String, u64>,
}

impl Board {
    /// The number of the last change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Takes a change; `hint` is what may help where somebody is forbidden to read.
    pub fn take(&mut self, change: Change, hint: &str, now: Timestamp) {
        match change {
            Change::Put(key, object) => self.put(key, object, now),
            Change::Gone(key) => self.remove(&key),
            Change::All(kind, there) => {
                let all = self.rows.keys().filter(|key| key.0 == kind && !there.contains(*key));
                all.cloned().collect::<Vec<_>>().iter().for_each(|key| self.remove(key));
                self.unread.remove(kind);
                self.listed.insert(kind);
                self.revision += 1;
            }
            Change::Unread { kind, why, is_refused } => {
                let why = format!("{why}{}", if is_refused { hint } else { "" });
                // It is asked for again and again, and mostly told the same.
                if self.unread.get(kind) != Some(&why) {
                    self.unread.insert(kind, why);
                    self.revision += 1;
                }
            }
        }
    }

    fn put(&mut self, key: Key, object: Object, now: Timestamp) {
        let standing = standing::of(&object, self.tries.as_ref(), now);
        if let Some(row) = self.rows.get_mut(&key) {
            let is_same = version(&row.object).is_some() && version(&row.object) == version(&object);
            if is_same && row.standing == standing {
                row.object = object;
                return;
            }
            self.order.remove(&row.revision);
        }
        self.revision += 1;
        self.order.insert(self.revision, key.clone());
        self.rows.insert(key, Row { revision: self.revision, object, standing });
    }

    fn remove(&mut self, key: &Key) {
        let Some(row) = self.rows.remove(key) else { return };
        self.order.remove(&row.revision);
        self.revision += 1;
        self.gone.insert(self.revision, key.clone());
        while self.gone.len() > MOST_GONE {
            self.forgotten = self.gone.pop_first().map_or(self.forgotten, |(revision, _)| revision);
        }
    }

    /// Whether somebody would miss tries.
    pub fn wants_tries(&self) -> bool {
        self.rows.values().any(|row| row.standing.kind == "ExternalSecret" && row.standing.status == "Failed")
    }

    /// Takes what metrics tell, or why they can't be read.
    pub fn take_tries(&mut self, tries: Option<Tries>, unread: Option<String>, now: Timestamp) {
        if self.tries != tries || self.tries_unread != unread {
            self.revision += 1;
        }
        (self.tries, self.tries_unread) = (tries, unread);
        let of_failed = self.rows.iter().filter(|(key, row)| key.0 == KINDS[0] && row.standing.status == "Failed");
        let failed: Vec<(Key, Object)> = of_failed.map(|(key, row)| (key.clone(), row.object.clone())).collect();
        failed.into_iter().for_each(|(key, object)| self.put(key, object, now));
    }

    /// What changed after a change that was told, and the number of the last of it.
    pub fn news(&self, since: u64) -> (u64, News<'_>) {
        let reset = since == 0 || since < self.forgotten || since > self.revision;
        let since = if reset { 0 } else { since };
        let mut changed = self.order.range(since + 1..);
        let told: Vec<(&u64, &Key)> = changed.by_ref().take(MOST).collect();
        let more = changed.next().is_some();
        let upto = told.last().filter(|_| more).map_or(self.revision, |(revision, _)| **revision);
        let news = News {
            reset,
            gone: self.gone.range(since + 1..=upto.max(since + 1)).map(|(_, key)| key).collect(),
            rows: told.iter().filter_map(|(_, key)| Some(&self.rows.get(*key)?.standing)).collect(),
            more,
            listing: KINDS.iter().any(|kind| !self.listed.contains(kind) && !self.unread.contains_key(kind)),
            unread: self.unread.values().map(String::as_str).collect(),
            knows_tries: self.tries.is_some(),
            tries_unread: self.tries_unread.as_deref(),
            users: &self.users,
        };
        (upto, news)
    }

    /// Who uses the Secrets of a namespace has changed, or is watched now.
    pub fn users_changed(&mut self, namespace: &str) {
        self.revision += 1;
        // Who was told a number before it was forgotten is not told it again.
        self.users.insert(namespace.to_owned(), self.revision);
    }

    /// That is watched no more.
    pub fn forget_users(&mut self, namespace: &str) {
        self.users.remove(namespace);
        self.revision += 1;
    }

    /// An object, and how it stands.
    pub fn get(&self, key: &Key) -> Option<(Object, Standing)> {
        self.rows.get(key).map(|row| (row.object.clone(), row.standing.clone()))
    }

    /// All stores.
    pub fn stores(&self) -> Vec<Arc<Store>> {
        let stores = self.rows.values().filter_map(|row| match &row.object {
            Object::Store(store) => Some(store.clone()),
            Object::ExternalSecret(_) | Object::PushSecret(_) => None,
        });
        stores.collect()
    }

    /// Whether there are ExternalSecrets in a namespace.
    pub fn has_any(&self, namespace: &str) -> bool {
        self.rows.keys().any(|key| key.0 == KINDS[0] && key.1 == namespace)
    }

    /// The names of the Secrets of a namespace that ExternalSecrets write.
    pub fn targets(&self, namespace: &str) -> BTreeSet<String> {
        let of_namespace = self.rows.iter().filter(|(key, _)| key.1 == namespace);
        let targets = of_namespace.filter_map(|(_, row)| row.standing.target.as_deref()?.strip_prefix("Secret "));
        targets.map(str::to_owned).collect()
    }
}

/// What tells two versions of an object apart.
fn version(object: &Object) -> Option<String> {
    match object {
        Object::ExternalSecret(es) => {
            es.as_ref().as_ref().map_or_else(|of| of.resource_version.clone(), |es| es.resource_version())
        }
        Object::PushSecret(ps) => {
            ps.as_ref().as_ref().map_or_else(|of| of.resource_version.clone(), |ps| ps.resource_version())
        }
        Object::Store(store) => store.metadata.resource_version.clone(),
    }
}

#[cfg(test)]
mod tests {
    use keyferry_builders::{at, es};
    use serde_json::json;

    use super::*;

    fn key(name: &str) -> Key {
        ("ExternalSecret", "ns".to_owned(), name.to_owned())
    }

    fn put(board: &mut Board, name: &str, status: &str, version: u64) {
        let mut es = es(json!({"refreshInterval": "1h"}));
        es.metadata.name = Some(name.to_owned());
        es.metadata.resource_version = Some(version.to_string());
        let conditions = json!([{"type": "Ready", "status": status, "reason": "R", "message": "why"}]);
        es.status = serde_json::from_value(json!({ "conditions": conditions })).unwrap();
        board.take(Change::Put(key(name), Object::ExternalSecret(Arc::new(Ok(es)))), "", at(1000));
    }

    /// What is told: deleted ones, then rows.
    fn told(board: &Board, since: u64) -> (u64, Vec<String>, Vec<String>) {
        let (upto, news) = board.news(since);
        let gone = news.gone.iter().map(|key| key.2.clone()).collect();
        (upto, gone, news.rows.iter().map(|row| format!("{} {}", row.name, row.status)).collect())
    }

    #[test]
    fn only_what_changed_since_is_told() {
        let mut board = Board::default();
        put(&mut board, "a", "True", 1);
        put(&mut board, "b", "True", 2);
        let (first, gone, rows) = told(&board, 0);
        assert_eq!((gone.len(), rows), (0, vec!["a Ready".to_owned(), "b Ready".to_owned()]));
        put(&mut board, "b", "True", 2);
        assert_eq!(board.revision(), first, "a list that tells the same is no news");
        put(&mut board, "b", "False", 3);
        let (second, _, rows) = told(&board, first);
        assert_eq!(rows, ["b Failed"]);
        board.take(Change::Gone(key("a")), "", at(1000));
        put(&mut board, "c", "True", 4);
        let (third, gone, rows) = told(&board, second);
        assert_eq!((gone, rows), (vec!["a".to_owned()], vec!["c Ready".to_owned()]));
        let there = BTreeSet::from([key("c")]);
        board.take(Change::All("ExternalSecret", there), "", at(1000));
        let (last, gone, rows) = told(&board, third);
        assert_eq!((gone, rows.len()), (vec!["b".to_owned()], 0));
        assert_eq!(told(&board, last), (last, vec![], vec![]));
        assert!(board.news(last + 1).1.reset, "a number of another process");
    }

    #[test]
    fn many_rows_are_told_in_parts_and_none_is_left_out() {
        let mut board = Board::default();
        (0..1300).for_each(|n| put(&mut board, &format!("e{n}"), "True", n));
        let (mut since, mut parts, mut names) = (0, 0, BTreeSet::new());
        loop {
            let (upto, news) = board.news(since);
            assert!(news.rows.len() <= MOST && news.reset == (parts == 0));
            names.extend(news.rows.iter().map(|row| row.name.clone()));
            (since, parts) = (upto, parts + 1);
            if !news.more {
                break;
            }
        }
        assert_eq!((since, parts, names.len()), (board.revision(), 3, 1300));
    }

    #[test]
    fn who_was_away_for_too_long_is_told_all_anew() {
        let mut board = Board::default();
        put(&mut board, "stays", "True", 1);
        put(&mut board, "goes", "True", 2);
        let since = board.revision();
        board.take(Change::Gone(key("goes")), "", at(0));
        for n in 0..MOST_GONE as u64 {
            put(&mut board, "other", "True", n + 3);
            assert!(!board.news(since).1.reset);
            board.take(Change::Gone(key("other")), "", at(0));
        }
        let (_, news) = board.news(since);
        assert!(news.reset && news.rows.len() == 1, "{news:?}");
        assert_eq!(board.gone.len(), MOST_GONE);
    }

    #[test]
    fn what_can_not_be_read_is_told_and_no_longer_when_it_can() {
        let mut board = Board::default();
        let unread = |kind, is_refused| Change::Unread { kind, why: format!("can't list the {kind}s"), is_refused };
        board.take(unread("PushSecret", true), "; do this", at(0));
        board.take(unread("SecretStore", false), "; do this", at(0));
        let (_, news) = board.news(0);
        assert_eq!(news.unread, ["can't list the PushSecrets; do this", "can't list the SecretStores"]);
        assert!(news.listing);
        for kind in ["ExternalSecret", "SecretStore", "ClusterSecretStore"] {
            board.take(Change::All(kind, BTreeSet::new()), "", at(0));
        }
        let (_, news) = board.news(0);
        assert_eq!((news.unread.len(), news.listing), (1, false));
    }

    #[test]
    fn tries_change_the_rows_that_failed_and_no_others() {
        let mut board = Board::default();
        put(&mut board, "well", "True", 1);
        assert!(!board.wants_tries());
        put(&mut board, "broken", "False", 2);
        assert!(board.wants_tries());
        let since = board.revision();
        let metrics =
            "keyferry_queue_length 0\nkeyferry_externalsecret_failed_attempts{name=\"broken\",namespace=\"ns\"} 4\n";
        board.take_tries(Tries::of(metrics), None, at(1000));
        let (upto, news) = board.news(since);
        assert_eq!((news.rows.len(), news.rows[0].tries, news.knows_tries), (1, Some(4), true));
        board.take_tries(Tries::of(metrics), None, at(1000));
        assert_eq!(board.revision(), upto, "the same again is no news");
    }
}

use std::sync::atomic::{AtomicI64, AtomicUsize};

use futures::FutureExt as _;
use keyferry_builders::{at, es, key, store};
use keyferry_limits::Budget;
use keyferry_provider_core::{ErrorKind, Fetched, SecretBytes};
use serde_json::json;

use super::*;

/// A store that counts what it is asked, and answers with that number; or with an error.
#[derive(Default)]
struct Counting {
    asked: Arc<AtomicUsize>,
    entered: AtomicUsize,
    is_closed: bool,
    fails: bool,
}

struct Open {
    asked: Arc<AtomicUsize>,
    fails: bool,
}

fn refusal() -> Error {
    Error::new(ErrorKind::Denied, "no")
}

#[async_trait]
impl Entered for Open {
    fn dialect(&self) -> Dialect {
        Dialect::default()
    }

    fn logs_in_with(&self, _: &Dependency) -> bool {
        false
    }

    async fn fetch(&self, _: &Arc<Asking>, keys: Vec<Key>, _: Planning) -> HashMap<Key, Answer> {
        let answer = || {
            let n = self.asked.fetch_add(1, Ordering::SeqCst);
            if self.fails { Err(refusal()) } else { Ok(Fetched::from(SecretBytes::from(n.to_string().as_str()))) }
        };
        keys.into_iter().map(|key| (key, answer())).collect()
    }

    async fn find(&self, _: &str, _: &Query) -> Result<Vec<Key>, Error> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Stores for Counting {
    fn planning(&self) -> Planning {
        Box::new(())
    }

    fn asking(&self, _: &StoreId) -> Planning {
        Box::new(())
    }

    async fn enter(&self, _: &Store, _: &str) -> Result<Arc<dyn Entered>, Error> {
        self.entered.fetch_add(1, Ordering::SeqCst);
        if self.is_closed {
            return Err(refusal());
        }
        Ok(Arc::new(Open { asked: self.asked.clone(), fails: self.fails }))
    }

    async fn rehearse(&self, _: &Store, _: &str, _: Change<'_>, _: Option<&Key>) -> Result<(), Error> {
        Ok(())
    }

    fn generators(&self) -> &[&'static str] {
        &[]
    }

    fn generator_field(&self, _: &str) -> Option<&'static str> {
        None
    }

    fn has_state(&self, _: &str) -> bool {
        false
    }

    async fn make(&self, _: &Generator<'_>, _: Arc<dyn Keep>) -> Result<Made, Error> {
        Ok(Made::default())
    }

    async fn revoke(&self, _: &Generator<'_>, _: &State) -> Result<(), Error> {
        Ok(())
    }

    async fn renew(&self, _: &Generator<'_>, _: &State) -> Result<Option<(State, Term)>, Error> {
        Ok(None)
    }
}

/// A ServiceAccount's, with a clock that tests set. Each test has a thread of its own, and that a clock.
struct World {
    stores: Arc<Counting>,
    shared: Arc<Shared>,
}

thread_local! {
    static NOW: AtomicI64 = const { AtomicI64::new(1000) };
}

fn now() -> Timestamp {
    at(NOW.with(|now| now.load(Ordering::SeqCst)))
}

fn at_second(second: i64) {
    NOW.with(|now| now.store(second, Ordering::SeqCst));
}

fn last(second: i64) -> LastSync {
    LastSync { at: at(second), version: "1".to_owned() }
}

impl World {
    fn new(stores: Counting) -> Self {
        Self { stores: Arc::new(stores), shared: Shared::new(Arc::default(), now) }
    }

    /// What a pod is shown that looks at `version` at this second, arrived then, and showed what was read `last`; and as of when.
    async fn look(&self, second: i64, arrived: i64, version: &str, last: Option<LastSync>) -> (String, Timestamp) {
        at_second(second);
        let stores: Arc<dyn Stores> = self.stores.clone();
        let sharing = Sharing::new(
            stores,
            self.shared.clone(),
            at(arrived),
            ("app", version, Some(Duration::from_secs(110))),
            last.as_ref(),
        );
        let asking = Asking::new("team", Arc::<Budget>::default());
        let store = Store::namespaced(store(json!({"provider": {"fake": {}}})));
        let entered = match sharing.enter(&store, "team").await {
            Ok(entered) => entered,
            Err(error) => return (error.to_string(), now()),
        };
        let answers = entered.fetch(&asking, vec![key("a")], Box::new(())).await;
        let read = sharing.oldest();
        match answers.into_values().next().expect("an answer") {
            Ok(fetched) => {
                sharing.is_read("app", version);
                (fetched.value.expose_str().expect("text").to_owned(), read)
            }
            Err(error) => (error.to_string(), read),
        }
    }

    async fn shown(&self, second: i64, version: &str, last: Option<LastSync>) -> (String, i64) {
        let (shown, read) = self.look(second, second, version, last).await;
        (shown, read.as_second() - at(0).as_second())
    }
}

#[tokio::test]
async fn pods_that_are_due_take_what_one_of_them_fetched_and_are_as_old_as_that() {
    let world = World::new(Counting::default());
    let of = |shown: &str, second| (shown.to_owned(), second);
    assert_eq!(world.shown(1000, "1", None).await, of("0", 1000));
    assert_eq!(world.shown(1009, "1", None).await, of("0", 1000), "begun some seconds later");
    assert_eq!(world.shown(1011, "1", None).await, of("1", 1011), "a pod that begins has what is there now");
    // Those that stand take what is newer than theirs, though it is a while ago.
    assert_eq!(world.shown(1100, "1", Some(last(1000))).await, of("1", 1011));
    assert_eq!(world.shown(1100, "1", Some(last(1011))).await, of("2", 1100), "and never their own again");
    assert_eq!(world.shown(1221, "1", Some(last(1000))).await, of("3", 1221), "nothing is kept for longer");
    assert_eq!(world.stores.entered.load(Ordering::SeqCst), 6, "each is let in, by one login of the pool");
}

#[tokio::test]
async fn a_volume_is_never_given_its_own_answer_again_nor_one_that_is_due() {
    let world = World::new(Counting::default());
    world.shown(1000, "1", None).await;
    assert_eq!(world.shown(1075, "1", Some(last(1000))).await.0, "1");
    assert_eq!(world.shown(1186, "1", Some(last(1000))).await.0, "2", "as old as the interval");
}

#[tokio::test]
async fn who_changed_it_is_given_what_was_asked_for_since() {
    let world = World::new(Counting::default());
    let of = |shown: &str, second| (shown.to_owned(), second);
    assert_eq!(world.shown(1000, "1", None).await, of("0", 1000));
    assert_eq!(world.shown(1001, "2", Some(last(990))).await, of("1", 1001), "nobody has read it as it is");
    assert_eq!(world.shown(1002, "2", Some(last(1000))).await, of("1", 1001), "one has since");
}

#[tokio::test]
async fn who_waits_for_a_store_that_fails_waits_once() {
    for (is_closed, fails) in [(true, false), (false, true)] {
        let world = World::new(Counting { is_closed, fails, ..Counting::default() });
        let calls = || world.stores.entered.load(Ordering::SeqCst) + world.stores.asked.load(Ordering::SeqCst);
        let first = world.look(1000, 1000, "1", None).await.0;
        let before = calls();
        assert_eq!(world.look(1005, 999, "1", None).await.0, first, "it came before that was asked");
        assert_eq!(calls(), before + usize::from(fails), "but for the pool, which has a login");
        world.look(1005, 1001, "1", None).await;
        assert!(calls() > before + usize::from(fails), "who comes later asks anew");
    }
}

#[tokio::test]
async fn what_is_newer_is_taken_along_where_that_costs_nothing() {
    let world = World::new(Counting::default());
    world.shown(1000, "1", None).await;
    let entry =
        json!({"secretStoreRef": {"name": "s"}, "refreshInterval": "1h", "dataFrom": [{"extract": {"key": "a"}}]});
    let named = |spec: serde_json::Value| {
        let mut es = es(spec);
        es.metadata.name = Some("app".to_owned());
        es
    };
    let is_newer = |spec: serde_json::Value, last: LastSync| world.shared.is_newer(&named(spec), &last);
    assert!(is_newer(entry.clone(), last(999)));
    assert!(!is_newer(entry.clone(), last(1000)));
    assert!(!is_newer(entry.clone(), LastSync { version: "2".to_owned(), ..last(999) }));
    let with = |field: &str, value: serde_json::Value| {
        let mut spec = entry.clone();
        spec[field] = value;
        spec
    };
    assert!(!is_newer(with("refreshPolicy", json!("CreatedOnce")), last(999)));
    let windows = json!({"windows": [{"schedule": "0 2 * * *", "duration": "1h"}]});
    assert!(!is_newer(with("syncWindows", windows), last(999)));
    assert!(!is_newer(with("dataFrom", json!([{"find": {"name": {"regexp": "a"}}}])), last(999)));
    at_second(1120);
    assert!(!is_newer(entry, last(999)), "it is kept no longer");
}

#[tokio::test]
async fn what_others_do_not_find_or_take_is_not_newer_to_them() {
    let is_read = |world: &World| world.shared.read_at("app", "1").is_some();
    let full = World::new(Counting::default());
    full.shared.in_all.store(IN_ALL, Ordering::SeqCst);
    assert_eq!(full.shown(1000, "1", None).await.0, "0");
    assert!(!is_read(&full), "there was no room for it");
    let world = World::new(Counting::default());
    world.shown(1000, "1", None).await;
    assert!(is_read(&world));
    // What a store says it has not, with deletionPolicy Delete.
    let (stores, shared): (Arc<dyn Stores>, _) =
        (Arc::new(Counting { fails: true, ..Counting::default() }), Shared::new(Arc::default(), now));
    for (second, arrived) in [(1000, 1000), (1005, 999)] {
        at_second(second);
        let sharing = Sharing::new(stores.clone(), shared.clone(), at(arrived), ("app", "1", None), None);
        let entered =
            sharing.enter(&Store::namespaced(store(json!({"provider": {"fake": {}}}))), "team").await.unwrap();
        let asking = Asking::new("team", Arc::<Budget>::default());
        assert!(entered.fetch(&asking, vec![key("a")], Box::new(())).await.into_values().all(|answer| answer.is_err()));
        sharing.is_read("app", "1");
        assert_eq!(shared.read_at("app", "1"), None, "fetched, or taken from who fetched it");
    }
}

#[tokio::test]
async fn no_more_is_kept_than_there_is_room_for_and_room_is_given_back() {
    let in_all = Arc::new(AtomicUsize::new(0));
    let shared = Shared::new(in_all.clone(), now);
    let place = (StoreId { namespace: None, name: "s".to_owned() }, String::new(), 1);
    let large = || Ok(Fetched::from(SecretBytes::new(vec![0; MOUNT_SHARED.size() / 2 - 1000])));
    for name in ["a", "b", "c"] {
        shared.keep(&place, now(), &[(key(name), large())].into());
    }
    assert_eq!(shared.lock().answers.len(), 2);
    shared.keep(&place, now(), &[(key("a"), Err(refusal()))].into());
    assert!(in_all.load(Ordering::SeqCst) < MOUNT_SHARED.size());
    at_second(1120);
    shared.tidy();
    assert_eq!((shared.lock().answers.len(), in_all.load(Ordering::SeqCst)), (0, 0));
    shared.keep(&place, now(), &[(key("a"), large())].into());
    drop(shared);
    assert_eq!(in_all.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn one_at_a_time_resolves_an_external_secret() {
    let world = World::new(Counting::default());
    let held = world.shared.alone("app").await;
    assert!(world.shared.alone("app").now_or_never().is_none());
    assert!(world.shared.alone("other").now_or_never().is_some());
    drop(held);
    assert!(world.shared.alone("app").now_or_never().is_some());
}

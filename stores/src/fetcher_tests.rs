use std::collections::BTreeSet;

use async_trait::async_trait;
use keyferry_builders::key;
use keyferry_limits::CALLS_AT_ONCE;
use keyferry_provider_core::{Capabilities, Dialect, Page, Push, Query, Reach, Remote, SecretBytes};
use keyferry_sync::store::StoreId;
use tokio::time::sleep;

use super::*;

/// A store that answers each key with its name, after a while, and remembers its calls.
#[derive(Default)]
struct Double {
    batch: usize,
    takes: Duration,
    /// The value of every key, where that is not its name.
    value: Option<SecretBytes>,
    denies_batches: bool,
    /// How long it asks for, of whoever asks for the key `slow`.
    asks_for: Option<Duration>,
    calls: Mutex<Vec<Vec<String>>>,
}

#[async_trait]
impl Provider for Double {
    fn capabilities(&self) -> Capabilities {
        Capabilities { max_batch: self.batch, ..Capabilities::default() }
    }

    fn dialect(&self) -> Dialect {
        Dialect::default()
    }

    fn joins(&self, _: &[Key], _: &Key) -> bool {
        true
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        self.calls.lock().unwrap().push(keys.iter().map(|key| key.name.clone()).collect());
        sleep(self.takes).await;
        if self.denies_batches && keys.len() > 1 {
            return Err(Error::new(ErrorKind::BatchDenied, "no batches"));
        }
        if let Some(wait) = self.asks_for.filter(|_| keys.iter().any(|key| key.name == "slow")) {
            return Err(Error::new(ErrorKind::Throttled, "slow down").with_retry_after(Some(wait)));
        }
        if keys.iter().any(|key| key.name.starts_with("poison")) {
            Err(Error::new(ErrorKind::Malformed, "poisoned"))
        } else {
            let name = |key: &Key| SecretBytes::from(key.name.as_str());
            let value = |key| self.value.clone().unwrap_or_else(|| name(key));
            Ok(keys.iter().map(|key| Ok(value(key).into())).collect())
        }
    }

    async fn find(&self, _: &Query, _: &[String]) -> Result<Page, Error> {
        Err(Error::cannot("searched"))
    }

    async fn push(&self, _: &Push) -> Result<(), Error> {
        Err(Error::cannot("pushed to"))
    }

    async fn delete(&self, _: &Remote, _: Reach) -> Result<(), Error> {
        Err(Error::cannot("deleted from"))
    }

    async fn exists(&self, _: &Remote) -> Result<bool, Error> {
        Err(Error::cannot("pushed to"))
    }

    async fn validate(&self) -> Result<(), Error> {
        Ok(())
    }

    fn identity_note(&self) -> Option<String> {
        None
    }
}

struct Setup {
    double: Arc<Double>,
    fetcher: Arc<Fetcher>,
    planning: Arc<Barrier>,
}

fn setup(double: Double) -> Setup {
    let (double, planning) = (Arc::new(double), Arc::new(Barrier::default()));
    Setup { fetcher: Fetcher::new(double.clone(), planning.clone(), room(), nobody(), || {}), double, planning }
}

fn room() -> (Arc<Rooms>, Arc<Door>) {
    let rooms = Arc::new(Rooms::default());
    let store = StoreId { namespace: Some("ns".to_owned()), name: "s".to_owned() };
    let door = rooms.of_store(&store);
    (rooms, door)
}

/// Nobody counts.
fn nobody() -> Counted {
    (Arc::new(()), "fake")
}

/// What is told of calls.
#[derive(Default)]
struct Noted(Mutex<Vec<String>>);

impl Calls for Noted {
    fn record(&self, _: &'static str, _: &'static str, _: bool, _: Duration) {}

    fn fetching(&self, store_type: &'static str, keys: usize, most: usize) {
        self.0.lock().unwrap().push(format!("{store_type}: {keys} of {most}"));
    }

    fn fetched(&self, store_type: &'static str, answers: usize, calls: usize) {
        self.0.lock().unwrap().push(format!("{store_type}: {answers} by {calls}"));
    }

    fn throttled(&self, store_type: &'static str) {
        self.0.lock().unwrap().push(format!("{store_type}: slow down"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_shared_is_counted() {
    let told = async |double: Double, keys: &[&str]| {
        let (noted, planning) = (Arc::new(Noted::default()), Arc::new(Barrier::default()));
        let double = Arc::new(double);
        let fetcher = Fetcher::new(double.clone(), planning.clone(), room(), (noted.clone(), "double"), || {});
        let setup = Setup { double, fetcher, planning };
        setup.due(keys.iter().map(|name| ("ns".to_owned(), key(*name))).collect()).await;
        noted.0.lock().unwrap().join(", ")
    };
    let batch = || Double { batch: 4, ..Double::default() };
    assert_eq!(told(batch(), &["a", "b", "a"]).await, "double: 2 of 4, double: 3 by 1");
    // A call that fails as a whole is made again in parts, which saves nothing.
    let poisoned = "double: 2 of 4, double: 1 of 4, double: 1 of 4, double: 2 by 3";
    assert_eq!(told(batch(), &["a", "poison"]).await, poisoned);
    let busy = Double { asks_for: Some(Duration::from_secs(1)), ..batch() };
    assert_eq!(told(busy, &["slow"]).await, "double: 1 of 4, double: slow down, double: 1 by 1");
}

fn look(namespace: &str) -> Arc<Asking> {
    Asking::new(namespace, Arc::default())
}

impl Setup {
    fn calls(&self) -> Vec<Vec<String>> {
        self.double.calls.lock().unwrap().clone()
    }

    /// As many looks as keys, all due at once.
    async fn due(&self, keys: Vec<(String, Key)>) -> Vec<Answer> {
        let looks: Vec<_> = keys.into_iter().map(|look| (look, self.planning.begin())).collect();
        let asked = looks.into_iter().map(|((namespace, key), guard)| async move {
            self.fetcher.fetch(&look(&namespace), vec![key.clone()], Some(Box::new(guard))).await.remove(&key).unwrap()
        });
        futures::future::join_all(asked).await
    }
}

#[tokio::test(start_paused = true)]
async fn due_refreshes_fill_batches_and_the_same_key_is_fetched_once() {
    let setup = setup(Double { batch: 20, takes: Duration::from_millis(100), ..Double::default() });
    let keys = (0..400).map(|n| ("ns".to_owned(), key(format!("k{}", n % 200)))).collect();
    let answers = setup.due(keys).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(setup.calls().len(), 10, "200 distinct keys, 20 to a call");
}

#[tokio::test(start_paused = true)]
async fn who_finds_the_store_idle_does_not_wait() {
    let setup = setup(Double { batch: 20, takes: Duration::from_millis(100), ..Double::default() });
    let begun = Instant::now();
    setup.fetcher.fetch(&look("ns"), vec![key("a")], None).await;
    assert_eq!(begun.elapsed(), Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_requests_shares_calls_and_none_waits_long() {
    let setup = setup(Double { batch: 20, takes: Duration::from_millis(100), ..Double::default() });
    let looks = (0..200).map(|n| {
        let fetcher = setup.fetcher.clone();
        async move {
            sleep(Duration::from_millis(20 * n)).await;
            let begun = Instant::now();
            fetcher.fetch(&look("ns"), vec![key(format!("k{n}"))], None).await;
            begun.elapsed()
        }
    });
    let longest = futures::future::join_all(looks).await.into_iter().max().unwrap();
    assert!(setup.calls().len() <= 30, "{} calls", setup.calls().len());
    // The call before its own, the wait for company, and its own.
    assert!(longest <= Duration::from_millis(250), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_holds_up_no_other() {
    let setup = setup(Double { batch: 20, takes: Duration::from_secs(30), ..Double::default() });
    let fetcher = setup.fetcher.clone();
    let _hanging = tokio::spawn(async move { fetcher.fetch(&look("ns"), vec![key("a")], None).await });
    sleep(Duration::from_millis(1)).await;
    let fetcher = setup.fetcher.clone();
    let _other = tokio::spawn(async move { fetcher.fetch(&look("ns"), vec![key("b")], None).await });
    sleep(Duration::from_millis(250)).await;
    assert_eq!(setup.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_question_after_the_call_was_sent_is_asked_anew() {
    let setup = setup(Double { batch: 20, takes: Duration::from_millis(100), ..Double::default() });
    let fetcher = setup.fetcher.clone();
    let first = tokio::spawn(async move { fetcher.fetch(&look("ns"), vec![key("a")], None).await });
    sleep(Duration::from_millis(50)).await;
    setup.fetcher.fetch(&look("ns"), vec![key("a")], None).await;
    first.await.unwrap();
    assert_eq!(setup.calls().len(), 2, "the second must not get what was read before it asked");
}

#[tokio::test(start_paused = true)]
async fn a_culprit_fails_alone_and_then_travels_alone() {
    let setup = setup(Double { batch: 20, ..Double::default() });
    let keys = |n: usize| ("ns".to_owned(), key(if n == 7 { "poison".to_owned() } else { format!("k{n}") }));
    let answers = setup.due((0..20).map(keys).collect()).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1);
    let before = setup.calls().len();
    sleep(Duration::from_secs(1)).await;
    let answers = setup.due((0..20).map(keys).collect()).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1);
    assert_eq!(setup.calls().len() - before, 2, "nineteen together, one alone");
}

#[tokio::test(start_paused = true)]
async fn a_refused_batch_call_falls_back_to_single_calls_and_is_remembered() {
    let setup = setup(Double { batch: 20, denies_batches: true, ..Double::default() });
    let keys = || (0..5).map(|n| ("ns".to_owned(), key(format!("k{n}")))).collect::<Vec<_>>();
    assert!(setup.due(keys()).await.iter().all(Result::is_ok));
    assert_eq!(setup.calls().len(), 6);
    assert!(setup.fetcher.is_singly());
    sleep(Duration::from_secs(1)).await;
    assert!(setup.due(keys()).await.iter().all(Result::is_ok));
    assert_eq!(setup.calls().len(), 11);
    sleep(SINGLY_FOR).await;
    assert!(!setup.fetcher.is_singly());
}

#[tokio::test(start_paused = true)]
async fn namespaces_take_turns() {
    let setup = setup(Double { batch: 4, takes: Duration::from_millis(10), ..Double::default() });
    let big = (0..40).map(|n| ("big".to_owned(), key(format!("big{n}"))));
    let small = (0..2).map(|n| ("small".to_owned(), key(format!("small{n}"))));
    // The big namespace asks first, and the small one need not wait for the end of it.
    setup.due(big.chain(small).collect()).await;
    assert_eq!(setup.calls()[0], ["big0", "small0", "big1", "small1"]);
    assert_eq!(setup.calls().len(), 11);
}

async fn fetch_one(fetcher: &Arc<Fetcher>, name: &str) -> Answer {
    fetcher.fetch(&look("ns"), vec![key(name)], None).await.remove(&key(name)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_store_that_asks_for_long_is_left_alone_and_nobody_waits_for_it() {
    for asked in [60, 365 * 86400, u64::MAX] {
        let asks_for = Some(Duration::from_secs(asked));
        let setup = setup(Double { batch: 1, takes: Duration::from_millis(10), asks_for, ..Double::default() });
        let begun = Instant::now();
        // Those that are under way are answered, and so are those in the queue.
        let names: Vec<String> = (0..100).map(|n| format!("k{n}")).chain(["slow".to_owned()]).collect();
        let answers = names.iter().rev().map(|name| fetch_one(&setup.fetcher, name));
        let answers = futures::future::join_all(answers).await;
        assert!(answers.iter().filter(|answer| answer.is_err()).count() > 1);
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        let calls = setup.calls().len();
        let error = fetch_one(&setup.fetcher, "k0").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Throttled);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(asked.min(300))));
        assert_eq!(setup.calls().len(), calls, "it was asked although it wants to be left alone");
        sleep(Duration::from_secs(301)).await;
        assert!(fetch_one(&setup.fetcher, "k0").await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_waits_for_a_store_so_long_and_no_longer() {
    let setup = setup(Double { batch: 20, takes: Duration::from_secs(86400), ..Double::default() });
    let begun = Instant::now();
    let error = fetch_one(&setup.fetcher, "a").await.unwrap_err();
    assert_eq!(begun.elapsed(), Duration::from_secs(300));
    assert!(error.is_temporary() && error.message().contains("store-wait"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_any_more_is_not_asked_for() {
    let setup = setup(Double { batch: 1, takes: Duration::from_secs(1), ..Double::default() });
    let busy = (0..SINGLES_AT_ONCE).map(|n| format!("busy{n}"));
    let fetcher = setup.fetcher.clone();
    let busy = tokio::spawn(async move {
        futures::future::join_all(busy.map(|name| {
            let fetcher = &fetcher;
            async move { fetch_one(fetcher, &name).await }
        }))
        .await
    });
    sleep(Duration::from_millis(1)).await;
    let fetcher = setup.fetcher.clone();
    let given_up = tokio::spawn(async move { fetch_one(&fetcher, "given up").await });
    sleep(Duration::from_millis(1)).await;
    given_up.abort();
    busy.await.unwrap();
    assert!(fetch_one(&setup.fetcher, "another").await.is_ok());
    assert!(!setup.calls().contains(&vec!["given up".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn who_is_about_to_ask_one_store_holds_up_no_other() {
    let all = Arc::new(Barrier::default());
    let of = |all: &Arc<Barrier>| {
        let double = Arc::new(Double { batch: 20, ..Double::default() });
        let planning = Arc::new(Barrier::of_store(all));
        (Fetcher::new(double.clone(), planning.clone(), room(), nobody(), || {}), planning)
    };
    let ((slow, asking_slow), (other, _)) = (of(&all), of(&all));
    let _search = asking_slow.begin();
    let begun = Instant::now();
    fetch_one(&other, "a").await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    fetch_one(&slow, "a").await.unwrap();
    assert_eq!(begun.elapsed(), PLANNING_PATIENCE);
    // Who does not know yet whom to ask holds up both.
    let _look = all.begin();
    fetch_one(&other, "a").await.unwrap();
    assert!(begun.elapsed() > PLANNING_PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn those_who_plan_one_after_the_other_are_waited_for_and_not_for_ever() {
    let setup = setup(Double { batch: 20, ..Double::default() });
    let plan = async |looks: u64| {
        // The first begins before anybody waits; each ends after the next began.
        let mut look = setup.planning.begin();
        for _ in 0..looks {
            tokio::time::sleep(PLANNING_PATIENCE / 2).await;
            look = setup.planning.begin();
        }
        drop(look);
    };
    for (looks, expected) in [(6, 6 * PLANNING_PATIENCE / 2), (60, LONGEST_PLANNING)] {
        let begun = Instant::now();
        let waited = async {
            tokio::task::yield_now().await;
            fetch_one(&setup.fetcher, "a").await.unwrap();
            begun.elapsed()
        };
        let ((), waited) = tokio::join!(plan(looks), waited);
        assert_eq!(waited, expected, "{looks} looks");
    }
}

#[tokio::test(start_paused = true)]
async fn no_key_waits_anew_for_those_who_plan_after_each_call() {
    let setup = setup(Double { batch: 2, ..Double::default() });
    let _search = setup.planning.begin();
    let begun = Instant::now();
    let keys = (0..20).map(|n| key(format!("k{n}"))).collect();
    setup.fetcher.fetch(&look("ns"), keys, None).await;
    assert_eq!(begun.elapsed(), PLANNING_PATIENCE);
}

const MIB: usize = 1 << 20;

/// A value of so many MiB, which is there once.
fn large(mib: usize) -> Option<SecretBytes> {
    Some(SecretBytes::new(vec![b'v'; mib * MIB]))
}

#[tokio::test(start_paused = true)]
async fn what_a_look_can_not_pay_for_is_dropped_where_it_arrives_and_not_asked_for() {
    let setup = setup(Double { batch: 1, takes: Duration::from_secs(1), value: large(15), ..Double::default() });
    let asking = look("ns");
    let keys = (0..1000).map(|n| key(format!("k{n}"))).collect();
    let answers = setup.fetcher.fetch(&asking, keys, None).await;
    assert!(asking.is_over());
    let held: usize = answers.values().flatten().map(|fetched| fetched.value.len()).sum();
    assert!(held <= 64 * MIB, "{} MiB", held / MIB);
    assert!(setup.calls().len() <= 3 * SINGLES_AT_ONCE, "{} calls", setup.calls().len());
    drop((asking, answers));
    // Another's budget is another's.
    let other = look("other");
    let answers = setup.fetcher.fetch(&other, vec![key("k0")], None).await;
    assert!(answers.values().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn looks_of_a_namespace_hold_so_much_together_and_all_are_answered() {
    let setup = setup(Double { batch: 20, takes: Duration::from_secs(1), value: large(1), ..Double::default() });
    let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let looks = (0..20).map(|look_number| {
        let (fetcher, held, most) = (&setup.fetcher, &held, &most);
        async move {
            let asking = look("ns");
            let keys = (0..10).map(|n| key(format!("k{look_number}-{n}"))).collect();
            let answers = fetcher.fetch(&asking, keys, None).await;
            assert!(answers.len() == 10 && answers.values().all(Result::is_ok));
            most.fetch_max(held.fetch_add(10, Ordering::SeqCst) + 10, Ordering::SeqCst);
            sleep(Duration::from_secs(1)).await; // renders and writes
            held.fetch_sub(10, Ordering::SeqCst);
        }
    });
    futures::future::join_all(looks).await;
    let most = most.into_inner();
    assert!(most <= (NAMESPACE_HELD.size() / MIB) + 10, "{most} MiB were held at once");
}

#[tokio::test(start_paused = true)]
async fn looks_that_share_a_large_answer_go_on_one_at_a_time() {
    let setup = setup(Double { batch: 20, takes: Duration::from_secs(1), value: large(2), ..Double::default() });
    let (going, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let looks = (0..20).map(|_| async {
        let asking = look("ns");
        assert!(setup.fetcher.fetch(&asking, vec![key("k")], None).await.values().all(Result::is_ok));
        most.fetch_max(going.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        sleep(Duration::from_secs(1)).await; // makes something of it
        going.fetch_sub(1, Ordering::SeqCst);
    });
    futures::future::join_all(looks).await;
    // The first did not wait for the others.
    assert_eq!((setup.calls().len(), most.into_inner()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_look_at_several_stores_has_one_turn_for_all_of_them() {
    let double = || Arc::new(Double { batch: 20, value: large(1), ..Double::default() });
    let (rooms, door) = room();
    let fetcher = || Fetcher::new(double(), Arc::default(), (rooms.clone(), door.clone()), nobody(), || {});
    let (one, another, asking) = (fetcher(), fetcher(), look("ns"));
    let keys = |store: &str| (0..30).map(|n| key(format!("{store}{n}"))).collect();
    let both = futures::future::join(one.fetch(&asking, keys("a"), None), another.fetch(&asking, keys("b"), None));
    let (one, another) = both.await;
    assert!(one.values().chain(another.values()).all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn the_stores_of_a_namespace_are_called_so_often_at_once() {
    let double = Arc::new(Double { batch: 1, takes: Duration::from_secs(1), ..Double::default() });
    let room = room();
    let fetchers: Vec<_> =
        (0..10).map(|_| Fetcher::new(double.clone(), Arc::default(), room.clone(), nobody(), || {})).collect();
    let looks = fetchers.iter().enumerate().map(|(store, fetcher)| async move {
        fetcher.fetch(&look("ns"), (0..100).map(|n| key(format!("{store}-{n}"))).collect(), None).await
    });
    let calls = async {
        sleep(Duration::from_millis(500)).await;
        double.calls.lock().unwrap().len()
    };
    let (_, at_once) = futures::future::join(futures::future::join_all(looks), calls).await;
    assert_eq!(at_once, CALLS_AT_ONCE.size());
}

#[tokio::test(start_paused = true)]
async fn replicas_that_share_a_store_ask_it_as_much_at_once_as_one_would() {
    let store = StoreId { namespace: Some("ns".to_owned()), name: "s".to_owned() };
    // 120 calls of a second, four at once.
    const KEYS: usize = 480;
    for replicas in [1, 2, 4, 8] {
        let double = Arc::new(Double { batch: 4, takes: Duration::from_secs(1), ..Double::default() });
        let fetchers = (0..replicas).map(|_| {
            let (rooms, door) = room();
            rooms.divide(&BTreeSet::from([store.clone()]), 1, replicas);
            Fetcher::new(double.clone(), Arc::default(), (rooms, door), nobody(), || {})
        });
        let begun = Instant::now();
        let asked = fetchers.enumerate().map(|(replica, fetcher)| async move {
            let keys = (0..KEYS / replicas).map(|n| key(format!("{replica}-{n}")));
            fetcher.fetch(&look("ns"), keys.collect(), None).await
        });
        let answers = futures::future::join_all(asked).await;
        assert!(answers.iter().flat_map(HashMap::values).all(Result::is_ok));
        assert_eq!(double.calls.lock().unwrap().len(), KEYS / 4, "batches are full");
        let took = begun.elapsed();
        assert!(took.as_secs().abs_diff(30) <= 1, "{replicas} took {took:?}");
    }
}

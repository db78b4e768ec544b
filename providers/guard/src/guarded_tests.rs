use std::collections::VecDeque;
use std::sync::Mutex;

use keyferry_provider_core::{Metadata, Origin, Payload};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::Delay;

type Answers = Result<Vec<Answer>, Error>;

/// Answers what it is told to, in turn, and remembers when it was asked for what. Without a script it echoes names.
struct Script {
    can: Capabilities,
    takes: Duration,
    answers: Option<Mutex<VecDeque<Answers>>>,
    asked: Mutex<Vec<(Duration, String)>>,
    start: Instant,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Answers>) -> Arc<Self> {
        Self { answers: Some(Mutex::new(answers.into_iter().collect())), ..Self::echo(Capabilities::default()) }.into()
    }

    fn echo(can: Capabilities) -> Self {
        Self { can, takes: Duration::ZERO, answers: None, asked: Mutex::default(), start: Instant::now() }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(_, what)| what.clone()).collect()
    }

    /// Milliseconds between the calls.
    fn waits(&self) -> Vec<u128> {
        let asked = self.asked.lock().unwrap();
        asked.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_millis()).collect()
    }

    async fn answer(&self, what: String, names: &[Key]) -> Answers {
        self.asked.lock().unwrap().push((self.start.elapsed(), what));
        sleep(self.takes).await;
        match &self.answers {
            Some(answers) => answers.lock().unwrap().pop_front().expect("one call too many"),
            None => Ok(names.iter().map(|key| Ok(fetched(&key.name))).collect()),
        }
    }
}

#[async_trait]
impl Provider for Script {
    fn capabilities(&self) -> Capabilities {
        self.can
    }

    fn dialect(&self) -> Dialect {
        Dialect { missing_fails_data: true, ..Dialect::default() }
    }

    fn joins(&self, _: &[Key], key: &Key) -> bool {
        key.name == "joins"
    }

    async fn fetch(&self, keys: &[Key]) -> Answers {
        let names: Vec<_> = keys.iter().map(|key| key.name.as_str()).collect();
        self.answer(names.join(" "), keys).await
    }

    /// A page for each answer that is left.
    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        let found = self.answer(format!("find {:?} {at:?}", query.path), &[]).await?;
        let left = self.answers.as_ref().map_or(0, |answers| answers.lock().unwrap().len());
        let names = found.iter().map(|answer| answer.as_ref().unwrap().value.expose_str().unwrap().to_owned());
        Ok(Page::of_names(names, (left > 0).then(|| left.to_string())))
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        self.answer(format!("push {} {:?}", push.remote.key, push.reach), &[]).await.map(|_| ())
    }

    async fn delete(&self, remote: &Remote, reach: Reach) -> Result<(), Error> {
        self.answer(format!("delete {} {reach:?}", remote.key), &[]).await.map(|_| ())
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        self.answer(format!("exists {}", remote.key), &[]).await.map(|_| true)
    }

    async fn validate(&self) -> Result<(), Error> {
        self.answer("validate".into(), &[]).await.map(|_| ())
    }

    fn identity_note(&self) -> Option<String> {
        Some("a note".into())
    }
}

/// Two tries more, after some time.
const TWICE: Retries = Retries { most: 2, delay: Delay::Growing(Duration::from_millis(200)), patience: Duration::MAX };

fn key(name: &str) -> Key {
    Key { name: name.into(), version: None, metadata: false }
}

fn keys(names: &str) -> Vec<Key> {
    names.split(' ').map(key).collect()
}

fn fetched(text: &str) -> keyferry_provider_core::Fetched {
    keyferry_provider_core::SecretBytes::from(text).into()
}

fn error(kind: ErrorKind) -> Error {
    Error::new(kind, "no")
}

fn down() -> Error {
    error(ErrorKind::Unavailable)
}

fn value() -> Answer {
    Ok(fetched("v"))
}

const LIMIT: Duration = Duration::from_secs(30);

fn guarded(script: &Arc<Script>, retries: Retries) -> Guarded {
    Guarded::new(script.clone(), LIMIT, retries)
}

async fn fetch(script: &Arc<Script>, retries: Retries, names: &str) -> Answers {
    guarded(script, retries).fetch(&keys(names)).await
}

async fn kinds(can: Capabilities, keys: &[Key]) -> (Vec<Option<ErrorKind>>, usize) {
    let script = Arc::new(Script::echo(can));
    let answers = guarded(&script, TWICE).fetch(keys).await.unwrap();
    for (key, answer) in keys.iter().zip(&answers) {
        assert!(answer.as_ref().map_or(true, |answer| answer.value.expose_str() == Some(&key.name)), "out of order");
    }
    (answers.into_iter().map(|answer| answer.err().map(|error| error.kind())).collect(), script.asked().len())
}

#[tokio::test]
async fn what_the_store_lacks_is_refused_before_the_call() {
    let no = Some(ErrorKind::Unsupported);
    let metadata = |name| Key { metadata: true, ..key(name) };
    let asked = [metadata("c"), key("a"), Key { version: Some("1".into()), ..key("b") }, metadata("d")];
    let can = |metadata| Capabilities { metadata, ..Capabilities::default() };
    assert_eq!(kinds(can(Metadata::Answered), &asked).await, (vec![None; 4], 1));
    assert_eq!(kinds(can(Metadata::PassedOver), &asked).await, (vec![None; 4], 1));
    assert_eq!(kinds(can(Metadata::Refused), &asked).await, (vec![no, None, None, no], 1));
    assert_eq!(kinds(can(Metadata::Refused), &[metadata("c")]).await, (vec![no], 0), "a call for nothing");
    let write_only = Capabilities { max_batch: 0, push: true, ..Capabilities::default() };
    assert_eq!(kinds(write_only, &[key("a")]).await, (vec![no], 0));
}

fn by_name() -> Query {
    Query { name: Some("n".parse().unwrap()), ..Query::default() }
}

fn searchable(answers: impl IntoIterator<Item = Answers>) -> Arc<Script> {
    let can = Capabilities { find_by_name: true, ..Capabilities::default() };
    Arc::new(Script { answers: Some(Mutex::new(answers.into_iter().collect())), ..Script::echo(can) })
}

#[tokio::test]
async fn a_search_that_the_store_can_not_make_does_not_reach_it() {
    let script = Arc::new(Script::echo(Capabilities { find_by_name: true, ..Capabilities::default() }));
    let guarded = guarded(&script, TWICE);
    guarded.find_all(&by_name(), &Semaphore::new(1)).await.unwrap();
    assert_eq!(script.asked(), ["find None []"]);
    let by_path = Query { path: Some("p".to_owned()), ..by_name() };
    for query in [Query::default(), by_path] {
        assert_eq!(guarded.find_all(&query, &Semaphore::new(1)).await.unwrap_err().kind(), ErrorKind::Unsupported);
    }
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn each_call_of_a_search_is_made_again_and_none_before_it() {
    let page = |name: &str| Ok(vec![Ok(fetched(name))]);
    let script = searchable([page("b"), Err(down()), page("a"), Err(down()), Err(down()), page("c")]);
    let found = guarded(&script, TWICE).find_all(&by_name(), &Semaphore::new(1)).await.unwrap();
    assert_eq!(found.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    let asked: Vec<_> =
        ["[]", "[\"5\"]", "[\"5\"]", "[\"3\"]", "[\"3\"]", "[\"3\"]"].map(|at| format!("find None {at}")).into();
    assert_eq!(script.asked(), asked);
}

#[tokio::test(start_paused = true)]
async fn of_searches_that_hold_much_so_many_are_made_at_once() {
    let page = |length: usize| Ok(vec![Ok(fetched(&"n".repeat(length)))]);
    let large = Semaphore::new(0);
    let small = searchable([page(1), page(2)]);
    assert_eq!(guarded(&small, TWICE).find_all(&by_name(), &large).await.unwrap().len(), 2);
    // Its second call is made again when it is its turn.
    let script = searchable([page(1), page(200 << 10), page(200 << 10)]);
    let guarded = guarded(&script, TWICE);
    let query = by_name();
    let search = guarded.find_all(&query, &large);
    tokio::pin!(search);
    assert!(tokio::time::timeout(Duration::from_secs(60), &mut search).await.is_err());
    assert_eq!(script.asked().len(), 2);
    large.add_permits(1);
    assert_eq!(search.await.unwrap().len(), 2);
    assert_eq!((script.asked().len(), large.available_permits()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_search_is_whole_or_an_error() {
    let page = || Ok(vec![Ok(fetched("a"))]);
    let broken = searchable([page(), Err(error(ErrorKind::Denied)), page()]);
    assert_eq!(
        guarded(&broken, TWICE).find_all(&by_name(), &Semaphore::new(1)).await.unwrap_err().kind(),
        ErrorKind::Denied
    );
    // Each call is fast enough, and there are too many of them.
    let can = Capabilities { find_by_name: true, ..Capabilities::default() };
    let answers = Some(Mutex::new((0..100).map(|_| page()).collect()));
    let slow = Arc::new(Script { answers, takes: Duration::from_secs(10), ..Script::echo(can) });
    let begun = Instant::now();
    let error = guarded(&slow, TWICE).find_all(&by_name(), &Semaphore::new(1)).await.unwrap_err();
    assert_eq!((error.kind(), begun.elapsed()), (ErrorKind::Timeout, Duration::from_secs(300)));
    assert!(error.message().contains("search-time"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn all_tries_of_a_call_together_are_bounded() {
    let can = Capabilities::default();
    let script = Arc::new(Script { takes: Duration::from_secs(60), ..Script::echo(can) });
    let begun = Instant::now();
    let retries = Retries { most: 10, delay: Delay::Fixed(Duration::from_secs(30)), patience: Duration::MAX };
    let error = fetch(&script, retries, "a").await.unwrap_err();
    assert_eq!((error.kind(), begun.elapsed()), (ErrorKind::Timeout, Duration::from_secs(300)));
    assert!(error.message().contains("store-wait"), "{error}");
}

#[tokio::test]
async fn writing_and_deleting_are_gated_one_by_one() {
    let remote = Remote { key: "k".into(), ..Remote::default() };
    let payload = Payload::Value("v".into());
    let push = Push { remote: remote.clone(), payload, origin: Origin::default(), reach: Reach::Ours };
    for (can_push, can_delete, expected) in [
        (false, false, vec![]),
        (true, false, vec!["push k Ours", "exists k"]),
        (false, true, vec!["delete k All"]),
        (true, true, vec!["push k Ours", "exists k", "delete k All"]),
    ] {
        let can = Capabilities { push: can_push, delete: can_delete, ..Capabilities::default() };
        let script = Arc::new(Script::echo(can));
        let guarded = guarded(&script, TWICE);
        let results = [
            (can_push, guarded.push(&push).await),
            (can_push, guarded.exists(&remote).await.map(|there| assert!(there))),
            (can_delete, guarded.delete(&remote, Reach::All).await),
        ];
        for (can, result) in results {
            assert_eq!(result.map_err(|error| error.kind()), if can { Ok(()) } else { Err(ErrorKind::Unsupported) });
        }
        assert_eq!(script.asked(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_keys_that_failed_for_now_are_asked_for_again() {
    let denied = || Err(error(ErrorKind::Denied));
    let throttled = || Err(error(ErrorKind::Throttled));
    let script = Script::new([
        Ok(vec![value(), Err(down()), denied(), throttled()]),
        Ok(vec![throttled(), value()]),
        Ok(vec![value()]),
    ]);
    let answers = fetch(&script, TWICE, "a b c d").await.unwrap();
    assert_eq!(answers, [value(), value(), denied(), value()]);
    assert_eq!(script.asked(), ["a b c d", "b d", "b"]);
}

#[tokio::test(start_paused = true)]
async fn waits_grow_and_are_spread() {
    let script = Script::new([Err(down()), Err(down()), Err(down())]);
    assert_eq!(fetch(&script, TWICE, "a b").await, Err(down()));
    assert!(matches!(script.waits()[..], [150..=251, 300..=501]), "{:?}", script.waits());
}

#[tokio::test(start_paused = true)]
async fn without_settings_hiccups_are_bridged() {
    let of = |kind| Script::new((0..6).map(move |_| Err(error(kind))));
    for kind in [ErrorKind::Throttled, ErrorKind::Unavailable] {
        let script = of(kind);
        assert_eq!(fetch(&script, Retries::default(), "a").await, Err(error(kind)));
        assert_eq!(script.asked().len(), 6, "{kind:?}");
        assert!(script.waits().iter().sum::<u128>() < 4000, "{:?}", script.waits());
    }
    // One call in six fails.
    let mut random = StdRng::seed_from_u64(1);
    for n in 0..3000 {
        let failed = |random: &mut StdRng| random.random_range(0..100) < 17;
        let mut answers: Vec<Answers> = Vec::new();
        while failed(&mut random) {
            answers.push(Err(down()));
        }
        answers.push(Ok(vec![Ok(fetched("a"))]));
        assert!(fetch(&Script::new(answers), Retries::default(), "a").await.is_ok(), "call {n}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_settings_of_the_store_win() {
    let delay = Delay::Fixed(Duration::from_secs(3));
    let retries = Retries { most: 4, delay, patience: Duration::MAX };
    let script = Script::new((0..5).map(|_| Err(down())));
    assert_eq!(fetch(&script, retries, "a").await, Err(down()));
    assert_eq!(script.waits(), [3000; 4]);
    let script = Script::new([Err(down())]);
    assert_eq!(fetch(&script, Retries { most: 0, ..retries }, "a").await, Err(down()));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_told_after_one_try_where_nobody_asked_for_more() {
    let takes = Duration::from_secs(3600);
    let script = Arc::new(Script { takes, ..Script::echo(Capabilities::default()) });
    let start = Instant::now();
    assert_eq!(fetch(&script, Retries::default(), "a").await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!((start.elapsed(), script.asked().len()), (LIMIT, 1));
}

#[tokio::test(start_paused = true)]
async fn what_lasts_is_not_tried_again() {
    for kind in [
        ErrorKind::NotFound,
        ErrorKind::Denied,
        ErrorKind::BatchDenied,
        ErrorKind::Unauthenticated,
        ErrorKind::Invalid,
        ErrorKind::Malformed,
        ErrorKind::Tls,
    ] {
        let script = Script::new([Err(error(kind))]);
        assert_eq!(fetch(&script, TWICE, "a").await, Err(error(kind)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_asks_for_time_gets_it_within_bounds() {
    let asks = |seconds| Err(error(ErrorKind::Throttled).with_retry_after(Some(Duration::from_secs(seconds))));
    let script = Script::new([asks(2), Ok(vec![value()])]);
    assert_eq!(fetch(&script, TWICE, "a").await, Ok(vec![value()]));
    assert_eq!(script.waits(), [2000]);
    let script = Script::new([asks(60)]);
    assert_eq!(fetch(&script, TWICE, "a").await, asks(60));
}

#[tokio::test(start_paused = true)]
async fn answers_are_kept_when_a_later_try_fails_as_a_whole() {
    let denied = || error(ErrorKind::BatchDenied);
    let script = Script::new([Ok(vec![value(), Err(down()), Err(down())]), Err(denied())]);
    let answers = fetch(&script, TWICE, "a b c").await.unwrap();
    assert_eq!(answers, [value(), Err(denied()), Err(denied())]);
}

#[tokio::test(start_paused = true)]
async fn every_other_call_is_tried_again_too() {
    let can = Capabilities { find_all: true, push: true, delete: true, ..Capabilities::default() };
    let remote = Remote { key: "k".into(), ..Remote::default() };
    let payload = Payload::Value("v".into());
    let push = Push { remote: remote.clone(), payload, origin: Origin::default(), reach: Reach::All };
    let answers = (0..5).flat_map(|_| [Err(down()), Ok(vec![])]).collect();
    let script = Arc::new(Script { answers: Some(Mutex::new(answers)), ..Script::echo(can) });
    let guarded = guarded(&script, TWICE);
    guarded.validate().await.unwrap();
    guarded.find(&Query::default(), &[]).await.unwrap();
    guarded.push(&push).await.unwrap();
    guarded.delete(&remote, Reach::Ours).await.unwrap();
    guarded.exists(&remote).await.unwrap();
    assert_eq!(script.asked().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_passes_unchanged() {
    let takes = Duration::from_secs(29);
    let script = Arc::new(Script { takes, ..Script::echo(Capabilities::default()) });
    assert_eq!(fetch(&script, TWICE, "a").await.unwrap(), [Ok(fetched("a"))]);
    let answers = Some(Mutex::new([Err(error(ErrorKind::Denied))].into()));
    let script = Arc::new(Script { takes, answers, ..Script::echo(Capabilities::default()) });
    assert_eq!(guarded(&script, TWICE).validate().await, Err(error(ErrorKind::Denied)));
}

#[tokio::test(start_paused = true)]
async fn each_try_is_bounded_and_a_late_answer_is_a_timeout() {
    let takes = Duration::from_secs(3600);
    let script = Arc::new(Script { takes, ..Script::echo(Capabilities::default()) });
    let once = Retries { most: 0, ..TWICE };
    let delay = Delay::Fixed(Duration::from_secs(1));
    let twice = Retries { most: 1, delay, patience: Duration::MAX };
    let start = Instant::now();
    let fetch = fetch(&script, once, "a").await.unwrap_err();
    let validate = guarded(&script, twice).validate().await.unwrap_err();
    assert_eq!(start.elapsed(), 3 * LIMIT + Duration::from_secs(1));
    for error in [fetch, validate] {
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(error.message(), "the store did not answer within 30s");
    }
}

#[tokio::test]
async fn the_rest_passes_through() {
    let script = Arc::new(Script::echo(Capabilities { max_batch: 7, ..Capabilities::default() }));
    let guarded = guarded(&script, TWICE);
    assert_eq!(guarded.capabilities().max_batch, 7);
    assert!(guarded.dialect().missing_fails_data);
    assert!(guarded.joins(&[], &key("joins")) && !guarded.joins(&[], &key("other")));
    assert_eq!(guarded.identity_note().as_deref(), Some("a note"));
}

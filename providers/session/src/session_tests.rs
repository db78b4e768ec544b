//! What the machine does, on a paused clock: that of the day stands still here, as one does that is set back.

use async_trait::async_trait;
use tokio::time::{advance, sleep};

use super::*;

/// When what lives for an hour is renewed, and how long it is good after that.
const DUE: Duration = secs(3300);
const LEFT: Duration = secs(300);

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// How a source answers.
#[derive(Clone, Copy)]
enum Mood {
    Gives,
    /// At once, as a kind that can't renew in place.
    Declines,
    Fails,
    /// It fails, and asks for this pause.
    Throttles(Duration),
    Hangs,
    Panics,
}

/// Gives `login N`, or `login N, prolonged`, each after a second.
struct Double {
    life: Life,
    now: Mutex<Now>,
}

struct Now {
    login: Mood,
    renewal: Mood,
    /// Attempts that began, by kind.
    logins: usize,
    renewals: usize,
}

impl Double {
    /// Of a kind that is renewed by a login.
    fn new(life: Life) -> (Arc<Self>, Session<String>) {
        let now = Now { login: Mood::Gives, renewal: Mood::Declines, logins: 0, renewals: 0 };
        let source = Arc::new(Self { life, now: Mutex::new(now) });
        (source.clone(), Session::new(source))
    }

    fn of_an_hour() -> (Arc<Self>, Session<String>) {
        Self::new(Life::of(secs(3600)))
    }

    /// Of a kind that is renewed in place.
    fn in_place() -> (Arc<Self>, Session<String>) {
        let (source, session) = Self::of_an_hour();
        source.renewal(Mood::Gives);
        (source, session)
    }

    fn login(&self, mood: Mood) {
        self.now.lock().unwrap().login = mood;
    }

    fn renewal(&self, mood: Mood) {
        self.now.lock().unwrap().renewal = mood;
    }

    fn logins(&self) -> usize {
        self.now.lock().unwrap().logins
    }

    fn renewals(&self) -> usize {
        self.now.lock().unwrap().renewals
    }

    async fn answer(&self, mood: Mood, value: String) -> Result<Option<Grant<String>>, Error> {
        if !matches!(mood, Mood::Declines) {
            sleep(secs(1)).await;
        }
        match mood {
            Mood::Gives => Ok(Some(Grant { value, life: self.life })),
            Mood::Declines => Ok(None),
            Mood::Fails => Err(Error::new(ErrorKind::Unavailable, "down")),
            Mood::Throttles(pause) => Err(Error::new(ErrorKind::Throttled, "slow down").with_retry_after(Some(pause))),
            Mood::Hangs => std::future::pending().await,
            Mood::Panics => panic!("as the test wants it"),
        }
    }
}

#[async_trait]
impl Source<String> for Arc<Double> {
    async fn get(&self) -> Result<Grant<String>, Error> {
        let (mood, value) = {
            let mut now = self.now.lock().unwrap();
            now.logins += 1;
            (now.login, format!("login {}", now.logins))
        };
        self.answer(mood, value).await.map(|grant| grant.expect("a login gives or fails"))
    }

    async fn renew(&self, held: &String) -> Result<Option<Grant<String>>, Error> {
        let mood = {
            let mut now = self.now.lock().unwrap();
            now.renewals += 1;
            now.renewal
        };
        self.answer(mood, format!("{held}, prolonged")).await
    }
}

/// What a call is made with; it is there at once.
#[track_caller]
fn at_once(session: &Session<String>) -> String {
    let mut get = std::pin::pin!(session.get());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match get.as_mut().poll(&mut context) {
        std::task::Poll::Ready(held) => held.unwrap().to_string(),
        std::task::Poll::Pending => panic!("somebody waits"),
    }
}

async fn get(session: &Session<String>) -> Result<String, ErrorKind> {
    session.get().await.map(|held| held.to_string()).map_err(|error| error.kind())
}

/// Long enough for an attempt.
async fn a_moment() {
    sleep(secs(2)).await;
}

#[tokio::test(start_paused = true)]
async fn one_login_is_for_all_who_ask() {
    let (source, session) = Double::of_an_hour();
    a_moment().await;
    assert_eq!((source.logins(), session.held().is_none()), (0, true), "nobody asked yet");
    let (a, b, c) = tokio::join!(get(&session), get(&session), get(&session));
    assert_eq!([a.unwrap(), b.unwrap(), c.unwrap()], ["login 1"; 3]);
    assert_eq!((at_once(&session).as_str(), source.logins(), source.renewals()), ("login 1", 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_the_answer_of_all_who_waited_and_of_nobody_else() {
    let (source, session) = Double::of_an_hour();
    source.login(Mood::Fails);
    let (a, b, c) = tokio::join!(get(&session), get(&session), get(&session));
    assert_eq!([a, b, c], [const { Err(ErrorKind::Unavailable) }; 3]);
    assert_eq!(source.logins(), 1);
    source.login(Mood::Gives);
    assert_eq!(get(&session).await.unwrap(), "login 2");
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_ends_no_attempt() {
    let (source, session) = Double::of_an_hour();
    let impatient = async { timeout(Duration::from_millis(1), session.get()).await.is_err() };
    assert_eq!(tokio::join!(impatient, get(&session)), (true, Ok("login 1".to_owned())));
    session.forget(1);
    assert!(timeout(Duration::from_millis(1), session.get()).await.is_err());
    a_moment().await;
    assert_eq!((at_once(&session).as_str(), source.logins()), ("login 2", 2), "it is kept for the next");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_renewal() {
    let (source, session) = Double::of_an_hour();
    get(&session).await.unwrap();
    advance(DUE).await;
    assert_eq!([(); 3].map(|()| at_once(&session)), ["login 1"; 3]);
    a_moment().await;
    assert_eq!((at_once(&session).as_str(), source.logins()), ("login 2", 2), "one renewal for all");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_renewed_for_nobody() {
    for (source, session) in [Double::of_an_hour(), Double::in_place()] {
        get(&session).await.unwrap();
        sleep(DUE + secs(1)).await;
        assert_eq!((source.logins(), source.renewals()), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_costs_nothing_until_the_end_and_is_tried_again_after_a_pause() {
    let (source, session) = Double::of_an_hour();
    get(&session).await.unwrap();
    source.login(Mood::Fails);
    let asked = Instant::now() + DUE;
    advance(DUE).await;
    while asked.elapsed() < LEFT - secs(3) {
        assert_eq!(at_once(&session), "login 1");
        a_moment().await;
    }
    let tries = source.logins() - 1;
    assert!((20..=27).contains(&tries), "{tries} tries in five minutes, each a second long and ten after the last");
    sleep(secs(3)).await;
    assert_eq!(get(&session).await, Err(ErrorKind::Unavailable), "its end is its end");
    source.login(Mood::Gives);
    assert!(get(&session).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_store_may_ask_for_a_longer_pause() {
    let (source, session) = Double::of_an_hour();
    get(&session).await.unwrap();
    source.login(Mood::Throttles(secs(60)));
    advance(DUE).await;
    for (wait, logins) in [(secs(2), 2), (secs(50), 2), (secs(10), 3)] {
        assert_eq!(at_once(&session), "login 1");
        sleep(wait).await;
        at_once(&session);
        a_moment().await;
        assert_eq!(source.logins(), logins);
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_be_renewed_in_place_is() {
    let (source, session) = Double::in_place();
    get(&session).await.unwrap();
    for expected in ["login 1, prolonged", "login 1, prolonged, prolonged"] {
        advance(DUE).await;
        at_once(&session);
        a_moment().await;
        assert_eq!(at_once(&session), expected);
    }
    assert_eq!((source.logins(), source.renewals()), (1, 2));
    assert_eq!(session.held().unwrap().number(), 1, "it is the same login");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_renewed_in_place_any_more_is_got_anew() {
    let (source, session) = Double::in_place();
    get(&session).await.unwrap();
    source.renewal(Mood::Declines);
    advance(DUE).await;
    at_once(&session);
    sleep(secs(3)).await;
    assert_eq!((at_once(&session).as_str(), source.logins(), source.renewals()), ("login 2", 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_in_place_that_fails_makes_no_login() {
    let (source, session) = Double::in_place();
    get(&session).await.unwrap();
    source.renewal(Mood::Fails);
    advance(DUE).await;
    at_once(&session);
    a_moment().await;
    assert_eq!((at_once(&session).as_str(), source.logins(), source.renewals()), ("login 1", 1, 1));
    sleep(secs(11)).await;
    source.renewal(Mood::Gives);
    at_once(&session);
    a_moment().await;
    assert_eq!(at_once(&session), "login 1, prolonged");
}

#[tokio::test(start_paused = true)]
async fn what_is_over_is_neither_used_nor_renewed() {
    let (source, session) = Double::in_place();
    get(&session).await.unwrap();
    advance(DUE + LEFT).await;
    assert!(session.held().is_none());
    assert_eq!(get(&session).await.unwrap(), "login 2");
    assert_eq!(source.renewals(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_ends_at_once_is_used_by_those_who_waited() {
    let (source, session) = Double::new(Life::of(Duration::ZERO));
    let (a, b) = tokio::join!(get(&session), get(&session));
    assert_eq!([a.unwrap(), b.unwrap()], ["login 1"; 2]);
    assert_eq!(get(&session).await.unwrap(), "login 2");
    source.login(Mood::Fails);
    assert_eq!(get(&session).await, Err(ErrorKind::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn what_has_no_end_is_never_renewed() {
    let (source, session) = Double::new(Life::ENDLESS);
    get(&session).await.unwrap();
    advance(secs(365 * 24 * 3600)).await;
    assert_eq!((at_once(&session).as_str(), source.logins()), ("login 1", 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_young_is_not_taken_for_ended() {
    let (source, session) = Double::new(Life::ENDLESS);
    assert!(!session.refused(None), "there is nothing that could have ended");
    get(&session).await.unwrap();
    assert!(!session.refused(Some(1)));
    assert!(!session.refused(None), "it was got for this very call");
    advance(TOO_YOUNG_TO_END).await;
    assert!(session.refused(Some(1)));
    assert_eq!((get(&session).await.unwrap().as_str(), source.logins()), ("login 2", 2));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_is_made_once_more_where_that_may_help() {
    let (source, session) = Double::new(Life::ENDLESS);
    let made = Mutex::new(Vec::new());
    let call = async |refused: &str| {
        made.lock().unwrap().clear();
        let make = async |held: Held<String>| {
            made.lock().unwrap().push(held.to_string());
            Ok(held.to_string())
        };
        let answer = session.call(make, |answer| refused == "all" || answer == refused).await;
        (answer, made.lock().unwrap().clone())
    };
    let one = |login: &str| (Ok(login.to_owned()), vec![login.to_owned()]);
    assert_eq!(call("none").await, one("login 1"));
    assert_eq!(call("all").await, one("login 1"), "what is young is wrong, and not ended");
    advance(TOO_YOUNG_TO_END).await;
    let both = vec!["login 1".to_owned(), "login 2".to_owned()];
    assert_eq!(call("login 1").await, (Ok("login 2".to_owned()), both));
    advance(TOO_YOUNG_TO_END).await;
    assert_eq!(call("all").await.1.len(), 2, "once more, and no oftener");
    source.login(Mood::Fails);
    advance(TOO_YOUNG_TO_END).await;
    let (answer, made) = call("all").await;
    assert!(answer.is_err() && made.len() == 1, "there is no other");
    assert!(call("none").await.1.is_empty(), "nothing is called without a login");
}

#[tokio::test(start_paused = true)]
async fn calls_that_met_the_same_end_are_all_made_again_after_one_login() {
    let (source, session) = Double::of_an_hour();
    get(&session).await.unwrap();
    advance(TOO_YOUNG_TO_END).await;
    assert!(session.refused(Some(1)));
    assert!(session.refused(Some(1)), "the first forgot it, and there is no other yet");
    let (a, b) = tokio::join!(get(&session), get(&session));
    assert_eq!([a.unwrap(), b.unwrap()], ["login 2"; 2]);
    assert!(session.refused(Some(1)), "there is another, however young");
    assert_eq!((at_once(&session).as_str(), source.logins()), ("login 2", 2));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_in_place_makes_nothing_young() {
    let (source, session) = Double::in_place();
    get(&session).await.unwrap();
    advance(DUE).await;
    at_once(&session);
    a_moment().await;
    assert_eq!(at_once(&session), "login 1, prolonged");
    assert!(session.refused(Some(1)));
    assert_eq!((get(&session).await.unwrap().as_str(), source.logins()), ("login 2", 2));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_knows_the_end_is_believed_at_once() {
    let (source, session) = Double::of_an_hour();
    get(&session).await.unwrap();
    session.forget(1);
    assert_eq!(get(&session).await.unwrap(), "login 2");
    session.forget(1);
    assert_eq!((at_once(&session).as_str(), source.logins()), ("login 2", 2), "only what was refused is forgotten");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_what_is_forgotten() {
    struct Lent(Arc<()>);

    #[async_trait]
    impl Source<Arc<()>> for Lent {
        async fn get(&self) -> Result<Grant<Arc<()>>, Error> {
            Ok(Grant { value: self.0.clone(), life: Life::ENDLESS })
        }
    }

    let value = Arc::new(());
    let session = Session::new(Lent(value.clone()));
    let lent = session.get().await.unwrap();
    session.forget(lent.number());
    drop(lent);
    assert_eq!(Arc::strong_count(&value), 2, "this test's and the source's");
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_while_it_is_renewed_does_not_come_back() {
    for outcome in [Mood::Gives, Mood::Fails] {
        let (source, session) = Double::in_place();
        get(&session).await.unwrap();
        source.renewal(outcome);
        advance(DUE).await;
        at_once(&session);
        tokio::task::yield_now().await; // it has begun
        assert_eq!(source.renewals(), 1);
        session.forget(1);
        assert_eq!(get(&session).await.unwrap(), "login 2");
        assert_eq!((source.logins(), source.renewals()), (2, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_ends_and_the_next_begins_anew() {
    let (source, session) = Double::of_an_hour();
    source.login(Mood::Hangs);
    let began = Instant::now();
    let (a, b) = tokio::join!(get(&session), get(&session));
    assert_eq!([a, b], [const { Err(ErrorKind::Timeout) }; 2]);
    assert_eq!((began.elapsed(), source.logins()), (LONGEST_ATTEMPT, 1));
    source.login(Mood::Gives);
    assert_eq!(get(&session).await.unwrap(), "login 2");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_breaks_off_blocks_nobody() {
    let (source, session) = Double::of_an_hour();
    source.login(Mood::Panics);
    let (a, b) = tokio::join!(get(&session), get(&session));
    assert_eq!([a, b], [const { Err(ErrorKind::Unavailable) }; 2]);
    source.login(Mood::Gives);
    assert_eq!(get(&session).await.unwrap(), "login 2");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_ends_with_its_session() {
    let (source, session) = Double::of_an_hour();
    source.login(Mood::Hangs);
    assert!(timeout(secs(2), session.get()).await.is_err());
    drop(session);
    a_moment().await;
    assert_eq!(Arc::strong_count(&source), 1, "nobody asks the source any more");
}

//! What the double does wrong, and to whom.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::Question;
use super::http::Reply;

/// One thing that goes wrong: built from what happens (`Rule::reset()`), narrowed by when.
#[derive(Clone, Debug)]
pub struct Rule {
    effect: Effect,
    action: Option<String>,
    identity: Option<String>,
    keys: Vec<String>,
    whole_call: bool,
    share: f64,
    times: Option<usize>,
    lasting: Option<Duration>,
    until: Option<Instant>,
    above: Option<Bucket>,
}

/// Why a store refuses, whatever its protocol calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The caller may not do that.
    Denied,
    /// There is no such key.
    NotFound,
    /// The value can't be decrypted.
    Undecryptable,
    /// Too many calls.
    Throttled,
    /// The call makes no sense to the store.
    Invalid,
    /// The store knows no such caller.
    UnknownCaller,
    /// The store is in trouble.
    Internal,
}

#[derive(Clone, Debug)]
enum Effect {
    Delay(Duration, Duration),
    Refuse(Refusal),
    Status(u16, Option<u64>),
    Bytes(Vec<u8>),
    Reset,
    Hang,
}

/// Lets so many calls through in a second.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    per_second: f64,
    tokens: f64,
    filled: Option<Instant>,
}

impl Rule {
    /// Every answer comes this much later.
    pub fn delay(by: Duration) -> Self {
        Self::delay_between(by, by)
    }

    /// Every answer comes later by something between these.
    pub fn delay_between(least: Duration, most: Duration) -> Self {
        Self::new(Effect::Delay(least, most))
    }

    /// The store refuses, in the words of its protocol. With [`Self::key`] it refuses these keys only, where the
    /// protocol's batch can tell them apart, and serves their neighbours.
    pub fn refuse(refusal: Refusal) -> Self {
        Self::new(Effect::Refuse(refusal))
    }

    /// Calls above so many in a second are throttled.
    pub fn throttle_above(per_second: f64) -> Self {
        let bucket = Bucket { per_second, tokens: per_second.max(1.0), filled: None };
        Self { above: Some(bucket), ..Self::refuse(Refusal::Throttled) }
    }

    /// What stands before the store answers, with this HTTP status and words of its own.
    pub fn status(status: u16) -> Self {
        Self::new(Effect::Status(status, None))
    }

    /// The same, saying after how many seconds to come back.
    pub fn status_retry_after(status: u16, seconds: u64) -> Self {
        Self::new(Effect::Status(status, Some(seconds)))
    }

    /// What comes back is no HTTP.
    pub fn garbage() -> Self {
        Self::new(Effect::Bytes(b"\x16\x03\x01\x02\x00 nothing that anybody understands\r\n\r\n".to_vec()))
    }

    /// What comes back is HTTP with status 200 and a body that is not what it should be.
    pub fn nonsense(body: &str) -> Self {
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        Self::new(Effect::Bytes([head.as_bytes(), body.as_bytes()].concat()))
    }

    /// The connection is reset.
    pub fn reset() -> Self {
        Self::new(Effect::Reset)
    }

    /// Nothing comes back, ever.
    pub fn hang() -> Self {
        Self::new(Effect::Hang)
    }

    fn new(effect: Effect) -> Self {
        Self {
            effect,
            action: None,
            identity: None,
            keys: Vec::new(),
            whole_call: false,
            share: 1.0,
            times: None,
            lasting: None,
            until: None,
            above: None,
        }
    }

    /// Only calls of this action.
    pub fn action(self, action: &str) -> Self {
        Self { action: Some(action.to_owned()), ..self }
    }

    /// Only calls of this identity.
    pub fn identity(self, identity: &str) -> Self {
        Self { identity: Some(identity.to_owned()), ..self }
    }

    /// Only calls that ask for this key; may be said several times.
    pub fn key(mut self, key: &str) -> Self {
        self.keys.push(key.to_owned());
        self
    }

    /// One bad key fails its neighbours too: the batch is refused as a whole.
    pub fn whole_call(self) -> Self {
        Self { whole_call: true, ..self }
    }

    /// Only this share of the calls, by chance.
    pub fn share(self, share: f64) -> Self {
        Self { share, ..self }
    }

    /// Only so many times.
    pub fn times(self, times: usize) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Only for so long, from when the rule is added.
    pub fn lasting(self, time: Duration) -> Self {
        Self { lasting: Some(time), ..self }
    }

    /// Whether it is about this call; counts it, where it is.
    fn strikes(&mut self, question: &Question, now: Instant, random: &mut StdRng) -> bool {
        let narrow = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        let about = narrow(&self.action, &question.action)
            && narrow(&self.identity, &question.identity)
            && (self.keys.is_empty() || question.keys.iter().any(|key| self.keys.contains(key)))
            && self.until.is_none_or(|until| now < until)
            && self.times != Some(0)
            && (self.share >= 1.0 || random.random::<f64>() < self.share);
        let strikes = about && self.above.as_mut().is_none_or(|bucket| !bucket.takes(now));
        if let (true, Some(times)) = (strikes, &mut self.times) {
            *times -= 1;
        }
        strikes
    }
}

impl Bucket {
    fn takes(&mut self, now: Instant) -> bool {
        let since = now.duration_since(self.filled.unwrap_or(now)).as_secs_f64();
        self.filled = Some(now);
        self.tokens = (self.tokens + since * self.per_second).min(self.per_second.max(1.0));
        let takes = self.tokens >= 1.0;
        self.tokens -= if takes { 1.0 } else { 0.0 };
        takes
    }
}

/// All rules in force, and what chance is drawn from.
pub(super) struct Script {
    rules: Vec<Rule>,
    random: StdRng,
}

/// What becomes of a call.
pub(super) struct Verdict {
    pub delay: Duration,
    pub outcome: Outcome,
}

pub(super) enum Outcome {
    /// It is answered, but for these keys.
    Answer(HashMap<String, Refusal>),
    /// It is refused in the words of the protocol.
    Refuse(Refusal),
    /// This comes back.
    Reply(Reply),
}

impl Script {
    pub fn new(seed: u64) -> Self {
        Self { rules: Vec::new(), random: StdRng::seed_from_u64(seed) }
    }

    /// Takes all rules back.
    pub fn calm(&mut self) {
        self.rules.clear();
    }

    pub fn add(&mut self, mut rule: Rule, now: Instant) {
        rule.until = rule.lasting.map(|time| now + time);
        self.rules.push(rule);
    }

    pub fn judge(&mut self, question: &Question, now: Instant) -> Verdict {
        let mut delay = Duration::ZERO;
        let mut refused = HashMap::new();
        for rule in &mut self.rules {
            if !rule.strikes(question, now, &mut self.random) {
                continue;
            }
            let outcome = match rule.effect.clone() {
                Effect::Delay(least, most) => {
                    delay += least + (most.saturating_sub(least)).mul_f64(self.random.random());
                    continue;
                }
                Effect::Refuse(refusal) if !rule.keys.is_empty() && !rule.whole_call => {
                    let keys = rule.keys.iter().map(|key| (key.clone(), refusal));
                    keys.for_each(|(key, refusal)| _ = refused.entry(key).or_insert(refusal));
                    continue;
                }
                Effect::Refuse(refusal) => Outcome::Refuse(refusal),
                Effect::Status(status, retry_after) => {
                    let mut reply = Reply::text(status, "text/html", "<html><h1>upstream trouble</h1></html>");
                    if let (Reply::Http { headers, .. }, Some(seconds)) = (&mut reply, retry_after) {
                        headers.push_str(&format!("retry-after: {seconds}\r\n"));
                    }
                    Outcome::Reply(reply)
                }
                Effect::Bytes(bytes) => Outcome::Reply(Reply::Bytes(bytes)),
                Effect::Reset => Outcome::Reply(Reply::Reset),
                Effect::Hang => Outcome::Reply(Reply::Hang),
            };
            return Verdict { delay, outcome };
        }
        Verdict { delay, outcome: Outcome::Answer(refused) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(action: &str, keys: &[&str]) -> Question {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        Question { action: action.to_owned(), identity: "me".to_owned(), keys }
    }

    fn script(rule: Rule) -> Script {
        let mut script = Script::new(7);
        script.add(rule, Instant::now());
        script
    }

    fn fails(script: &mut Script, question: &Question, now: Instant) -> bool {
        !matches!(script.judge(question, now).outcome, Outcome::Answer(refused) if refused.is_empty())
    }

    #[test]
    fn a_rule_is_narrowed_by_action_key_and_identity() {
        let now = Instant::now();
        let mut rules = script(Rule::reset().action("get").key("bad").identity("me"));
        assert!(fails(&mut rules, &question("get", &["good", "bad"]), now));
        assert!(!fails(&mut rules, &question("get", &["good"]), now));
        assert!(!fails(&mut rules, &question("list", &["bad"]), now));
        assert!(!fails(&mut script(Rule::reset().identity("you")), &question("get", &["a"]), now));
    }

    #[test]
    fn a_rule_ends_after_its_times_and_its_time() {
        let now = Instant::now();
        let mut rules = script(Rule::hang().times(2));
        assert_eq!([0; 4].map(|_| fails(&mut rules, &question("get", &[]), now)), [true, true, false, false]);
        let mut rules = script(Rule::hang().lasting(Duration::from_secs(5)));
        assert!(fails(&mut rules, &question("get", &[]), now));
        assert!(!fails(&mut rules, &question("get", &[]), now + Duration::from_secs(6)));
    }

    #[test]
    fn a_key_is_refused_alone_unless_said_otherwise() {
        let now = Instant::now();
        let asked = question("get", &["good", "bad"]);
        let rule = Rule::refuse(Refusal::Denied).key("bad");
        match script(rule.clone()).judge(&asked, now).outcome {
            Outcome::Answer(refused) => assert_eq!(refused, HashMap::from([("bad".to_owned(), Refusal::Denied)])),
            _ => panic!("refused as a whole"),
        }
        assert!(matches!(script(rule.whole_call()).judge(&asked, now).outcome, Outcome::Refuse(Refusal::Denied)));
    }

    #[test]
    fn a_rate_is_held() {
        let now = Instant::now();
        let mut rules = script(Rule::throttle_above(10.0));
        let mut passed = |now| (0..50).filter(|_| !fails(&mut rules, &question("get", &[]), now)).count();
        assert_eq!([passed(now), passed(now), passed(now + Duration::from_millis(500))], [10, 0, 5]);
    }

    #[test]
    fn delays_add_up() {
        let mut rules = script(Rule::delay(Duration::from_millis(3)));
        rules.add(Rule::delay_between(Duration::from_millis(1), Duration::from_millis(2)), Instant::now());
        let delay = rules.judge(&question("get", &[]), Instant::now()).delay;
        assert!(delay >= Duration::from_millis(4) && delay <= Duration::from_millis(5), "{delay:?}");
    }
}

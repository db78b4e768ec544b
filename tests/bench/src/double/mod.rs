//! A store of ours that counts, delays, throttles and fails as it is told.
//!
//! It speaks the protocols of AWS (Secrets Manager, Parameter Store) and of Vault (KV version 2) on one loopback port,
//! over the same values, and runs on a thread of its own, so that it works from any runtime and can be killed by none.
//!
//! ```
//! use keyferry_bench::double::{Double, Refusal, Rule};
//!
//! let double = Double::start();
//! double.set("app", r#"{"password": "s3cr3t"}"#);
//! double.script(Rule::delay(std::time::Duration::from_millis(100)));
//! double.script(Rule::refuse(Refusal::Denied).action("BatchGetSecretValue"));
//! // ... point a store at double.url() ...
//! assert_eq!(double.counts().calls("BatchGetSecretValue"), 0);
//! ```
//!
//! Modules, in reading order: [`rule`] what it does wrong, [`record`] what it has seen, [`values`] what it keeps;
//! `http` the server, `aws` and `vault` the protocols.

pub mod rule;
pub mod record;
mod values;
mod http;
mod aws;
mod vault;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use keyferry_seed::Seed;
pub use record::{Call, Counts};
pub use rule::{Refusal, Rule};
use tokio::sync::oneshot;

use self::http::{Reply, Request};
use self::rule::{Outcome, Script};
use self::values::Values;

/// A running double; clones are handles of the same one, which ends with the last.
#[derive(Clone)]
pub struct Double {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Told where a test fails that has a double.
    _seed: Arc<Seed>,
    _end: Arc<oneshot::Sender<()>>,
}

/// What the handles and the server share.
struct Shared(Mutex<State>);

struct State {
    values: Values,
    script: Script,
    calls: Vec<Call>,
}

impl Double {
    /// A double without values on a port of its own.
    ///
    /// # Panics
    /// Where there is no loopback network.
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener.local_addr().expect("it is bound");
        let seed = Seed::new("chances and delays of the store double");
        let script = Script::new(seed.number());
        let state = State { values: Values::default(), script, calls: Vec::new() };
        let shared = Arc::new(Shared(Mutex::new(state)));
        let (end, ended) = oneshot::channel();
        let serving = shared.clone();
        std::thread::spawn(move || http::run(listener, serving, ended));
        Self { shared, address, _seed: Arc::new(seed), _end: Arc::new(end) }
    }

    /// Its URL, for every protocol.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes a new version of a value. Vault's protocol shows a JSON object as it is, and other texts as the field
    /// `value`.
    pub fn set(&self, key: &str, value: &str) {
        self.shared.lock().values.set(None, key, value);
    }

    /// The same, for those only who log in as `identity`: an access key id, or a token of Vault.
    pub fn set_for(&self, identity: &str, key: &str, value: &str) {
        self.shared.lock().values.set(Some(identity), key, value);
    }

    /// Removes a value, with its versions.
    pub fn remove(&self, key: &str) {
        self.shared.lock().values.remove(key);
    }

    /// Gives every value that everybody sees a new version, all at one moment.
    pub fn rotate(&self, new: impl Fn(&str) -> String) {
        self.shared.lock().values.rotate(new);
    }

    /// Adds a rule to what it does wrong. Delays add up; of rules that fail a call the first that was added counts.
    pub fn script(&self, rule: Rule) {
        self.shared.lock().script.add(rule, Instant::now());
    }

    /// Ends all that the rules did: it answers well, and at once.
    pub fn calm(&self) {
        self.shared.lock().script.calm();
    }

    /// What was asked since the start, or since [`Self::reset_counts`].
    pub fn counts(&self) -> Counts {
        Counts::new(self.shared.lock().calls.clone())
    }

    /// Begins to count anew; gives what was counted.
    pub fn reset_counts(&self) -> Counts {
        Counts::new(std::mem::take(&mut self.shared.lock().calls))
    }
}

/// What a protocol understood of a request.
struct Question {
    action: String,
    identity: String,
    /// The keys it asks for, in its own spelling of them made plain.
    keys: Vec<String>,
}

/// What is to be done with a connection after a request.
struct Decision {
    delay: std::time::Duration,
    reply: Reply,
    /// The start of the call: finds it in the record, to tell its end.
    at: Instant,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Judges and answers a request: what it reads is read now, whatever the delay.
    fn answer(&self, request: &Request) -> Decision {
        let at = Instant::now();
        let aws = aws::Aws::of(request);
        let question = match &aws {
            Some(aws) => aws.question(request),
            None => vault::question(request),
        };
        let mut state = self.lock();
        let State { values, script, calls } = &mut *state;
        let verdict = script.judge(&question, at);
        let reply = match (verdict.outcome, &aws) {
            (Outcome::Answer(refused), Some(aws)) => aws.answer(&question, values, &refused),
            (Outcome::Answer(refused), None) => vault::answer(request, &question, values, &refused),
            (Outcome::Refuse(refusal), Some(aws)) => aws.refuse(&question, refusal),
            (Outcome::Refuse(refusal), None) => vault::refuse(refusal),
            (Outcome::Reply(reply), _) => reply,
        };
        let failed = !matches!(reply, Reply::Http { status: 200, .. });
        let Question { action, identity, keys } = question;
        calls.push(Call { action, identity, keys, at, ended: None, failed });
        Decision { delay: verdict.delay, reply, at }
    }

    /// Remembers when the answer of a call went out.
    fn ended(&self, at: Instant, action_end: Instant) {
        let mut state = self.lock();
        // The latest calls end last; a record that was reset meanwhile has it no more.
        if let Some(call) = state.calls.iter_mut().rev().find(|call| call.at == at) {
            call.ended = Some(action_end);
        }
    }
}

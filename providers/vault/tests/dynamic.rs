//! What a making hangs on where the token of the spec has no children, or could not get one now.

mod double;

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use double::{CANARY, Double, answer, context, crypto};
use keyferry_provider_core::{Error, ErrorKind, Generator, Keep, State, Term};
use keyferry_provider_testkit::MapCredentials;
use keyferry_provider_vault::DYNAMIC;
use serde_json::{Value, json};

/// What was written down.
#[derive(Default)]
struct Kept(Mutex<Vec<State>>);

#[async_trait]
impl Keep for Kept {
    async fn keep(&self, state: &State, _: Option<Term>) -> Result<(), Error> {
        self.0.lock().unwrap().push(state.clone());
        Ok(())
    }
}

/// A server that answers requests for tokens and for what is made with these statuses.
struct Bench {
    double: Double,
    create: Arc<AtomicU16>,
    make: Arc<AtomicU16>,
    generator: Arc<dyn Generator>,
}

impl Bench {
    async fn new() -> Self {
        crypto();
        let (create, make) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicU16::new(200)));
        let (of_create, of_make) = (create.clone(), make.clone());
        let double = Double::new(move |request| match request.line.as_str() {
            "POST /v1/auth/token/create" => {
                let auth = json!({"client_token": CANARY, "accessor": "child", "lease_duration": 60});
                answer(of_create.load(Ordering::SeqCst), json!({"auth": auth, "errors": ["no"]}))
            }
            "GET /v1/db/creds/r" => answer(
                of_make.load(Ordering::SeqCst),
                json!({"lease_id": "db/creds/r/1", "lease_duration": 30, "data": {"password": CANARY}, "errors": ["no"]}),
            ),
            _ => answer(204, json!(null)),
        })
        .await;
        let auth = json!({"tokenSecretRef": {"name": "login", "key": "token"}});
        let spec = json!({"path": "db/creds/r", "provider": {"server": double.url(), "auth": auth}});
        let credentials = MapCredentials::new().with("login/token", CANARY);
        let generator = (DYNAMIC.build)(&spec, context(credentials)).unwrap();
        Self { double, create, make, generator }
    }

    async fn make(&self) -> (Result<Option<Value>, Error>, Vec<State>) {
        let kept = Kept::default();
        let made = self.generator.make(&kept).await.map(|made| made.state);
        (made, kept.0.into_inner().unwrap())
    }
}

#[tokio::test]
async fn a_token_that_may_have_no_child_is_used_itself_and_only_then() {
    let bench = Bench::new().await;
    let (made, kept) = bench.make().await;
    assert_eq!(
        (made.unwrap().unwrap()["accessor"].clone(), kept[0]["accessor"].clone()),
        (json!("child"), json!("child"))
    );
    for status in [403, 400] {
        bench.create.store(status, Ordering::SeqCst);
        let (made, kept) = bench.make().await;
        let state = made.unwrap().unwrap();
        assert_eq!((&state["accessor"], &state["leaseID"]), (&json!(null), &json!("db/creds/r/1")), "{status}");
        assert_eq!(kept, [json!({"accessor": null, "tokenEnds": null})]);
    }
    for (status, kind) in [
        (429, ErrorKind::Throttled),
        (412, ErrorKind::Unavailable),
        (473, ErrorKind::Unavailable),
        (503, ErrorKind::Unavailable),
    ] {
        bench.create.store(status, Ordering::SeqCst);
        bench.double.take();
        let (made, kept) = bench.make().await;
        assert_eq!((made.unwrap_err().kind(), kept.len()), (kind, 0), "{status}");
        assert!(!bench.double.take().iter().any(|request| request.line.contains("/creds/")), "nothing is made");
    }
}

#[tokio::test]
async fn what_was_refused_leaves_nothing_to_look_for() {
    let bench = Bench::new().await;
    bench.create.store(403, Ordering::SeqCst);
    for (status, expected) in [(403, 2), (503, 1)] {
        bench.make.store(status, Ordering::SeqCst);
        let (made, kept) = bench.make().await;
        assert!(made.is_err());
        assert_eq!(kept.len(), expected, "{status}");
        assert_eq!(kept.last() == Some(&json!({})), status == 403, "{kept:?}");
    }
    bench.double.take();
    for state in [json!({}), json!({"accessor": null, "tokenEnds": null})] {
        bench.generator.revoke(&state).await.unwrap();
    }
    assert_eq!(bench.double.take().len(), 0, "there is nothing to revoke by");
}

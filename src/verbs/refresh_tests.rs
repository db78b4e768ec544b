use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use clap::Parser;
use serde_json::Value;

use super::*;

#[derive(Parser)]
struct Alone {
    #[command(flatten)]
    args: Refresh,
}

fn args(more: &[&str]) -> Refresh {
    Alone::parse_from(["refresh"].iter().chain(more)).args
}

#[test]
fn only_what_is_refreshed_is_taken_for_a_name_and_only_stores_for_a_store() {
    let one = |kind, name| Ok(Wanted::One(kind, name));
    assert_eq!(wanted(&args(&["db"]), "ns"), one("ExternalSecret", "db"));
    assert_eq!(wanted(&args(&["push/db"]), "ns"), one("PushSecret", "db"));
    assert_eq!(wanted(&args(&["--all", "-A"]), "ns"), Ok(Wanted::All));
    let of = |namespace: Option<&str>| {
        Ok(Wanted::Of(StoreId { namespace: namespace.map(str::to_owned), name: "s".to_owned() }))
    };
    assert_eq!(wanted(&args(&["--store=s"]), "ns"), of(Some("ns")));
    assert_eq!(wanted(&args(&["--store=clusterstore/s", "-A"]), "ns"), of(None));
    for (bad, why) in [
        (&["store/s"][..], "--store refreshes all that use one"),
        (&["clusterstore/s"], "--store refreshes all that use one"),
        (&["db", "-A"], "give --namespace"),
        (&["--store=s", "-A"], "give --namespace"),
        (&["--store=es/db"], "is no store"),
        (&["--store=push/db"], "is no store"),
    ] {
        let told = wanted(&args(bad), "ns").map(|_| ());
        assert!(told.as_ref().is_err_and(|told| told.contains(why)), "{bad:?}: {told:?}");
    }
}

/// What an API server is asked, and what it answers: ExternalSecrets `e0` to `e19` that use the store `s`, of which `e3` goes at once;
/// PushSecrets may not be listed.
#[derive(Clone, Default)]
struct Server {
    /// How many patches are under way, and how many were at most.
    patches: Arc<Mutex<(usize, usize)>>,
    /// Whether patches are answered.
    is_stuck: bool,
}

fn es(n: usize) -> Value {
    let spec = json!({"secretStoreRef": {"name": "s"}, "data": [{"secretKey": "k", "remoteRef": {"key": "a"}}]});
    json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": format!("e{n}"), "namespace": "ns"}, "spec": spec})
}

impl Server {
    async fn patched(&self, name: &str) -> (u16, Value) {
        {
            let mut count = self.patches.lock().unwrap();
            count.0 += 1;
            count.1 = count.1.max(count.0);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        if self.is_stuck {
            std::future::pending::<()>().await;
        }
        self.patches.lock().unwrap().0 -= 1;
        if name == "e3" { status(404) } else { (200, es(name.trim_start_matches('e').parse().unwrap())) }
    }

    fn client(&self) -> Client {
        let server = self.clone();
        let serve = move |request: Request| {
            let server = server.clone();
            async move {
                let (is_patch, path) = (request.method() == "PATCH", request.uri().path().to_owned());
                let name = path.rsplit('/').next().unwrap_or_default();
                let store =
                    json!({"metadata": {"name": "s", "namespace": "ns"}, "spec": {"provider": {"fake": {"data": []}}}});
                let (code, body) = match name {
                    name if is_patch => server.patched(name).await,
                    "externalsecrets" => (200, list((0..20).map(es).collect())),
                    "secretstores" => (200, list(vec![store])),
                    "clustersecretstores" => (200, list(Vec::new())),
                    "pushsecrets" => status(403),
                    _ => status(404),
                };
                (axum::http::StatusCode::from_u16(code).unwrap(), body.to_string())
            }
        };
        Client::new(Router::new().fallback(serve), "ns")
    }

    async fn told(&self, more: &[&str]) -> (String, String, Result<ExitCode, String>) {
        let (mut out, mut err, args) = (Vec::new(), Vec::new(), args(more));
        let code = run_with(&args, &self.client(), &Limit::of(args.timeout), &mut out, &mut err).await;
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), code)
    }
}

fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items})
}

fn status(code: u16) -> (u16, Value) {
    let reason = if code == 404 { "NotFound" } else { "Forbidden" };
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "", "reason": reason, "code": code}),
    )
}

#[tokio::test(start_paused = true)]
async fn one_that_went_ends_nothing_and_eight_are_asked_for_at_once() {
    let server = Server::default();
    let (out, err, code) = server.told(&["--store=s"]).await;
    assert_eq!(out.lines().filter(|line| line.ends_with(": asked for")).count(), 19, "{out}");
    assert!(out.contains("ExternalSecret ns/e3: it went meanwhile\n"), "{out}");
    assert_eq!(code, Ok(ExitCode::FAILURE));
    assert!(err.starts_with("note: can't list the PushSecrets"), "{err}");
    assert_eq!(server.patches.lock().unwrap().1, AT_ONCE);
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_given_up() {
    let began = Instant::now();
    let server = Server { is_stuck: true, ..Server::default() };
    let (out, _, code) = server.told(&["--all", "--timeout=5"]).await;
    assert_eq!(out.lines().filter(|line| line.ends_with(": not asked for within 5 s")).count(), 20, "{out}");
    assert!(code == Ok(ExitCode::FAILURE) && began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    let began = Instant::now();
    // What was asked for and is not there any more is not waited for.
    let (out, _, code) = Server::default().told(&["e1", "--wait", "--timeout=5"]).await;
    assert_eq!((out.as_str(), code), ("ExternalSecret ns/e1: failed: it went meanwhile\n", Ok(ExitCode::FAILURE)));
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_not_there_has_a_hint() {
    let server = Server::default();
    let (_, _, code) = server.told(&["--store=clusterstore/t"]).await;
    assert!(code.as_ref().is_err_and(|why| why.starts_with("there is no ")), "{code:?}");
    let (_, _, code) = server.told(&["--store=ss"]).await;
    assert!(code.as_ref().is_err_and(|why| why.ends_with("; did you mean s?")), "{code:?}");
    let (_, _, code) = server.told(&["e99"]).await;
    assert!(code.as_ref().is_err_and(|why| why.contains("did you mean e19?")), "{code:?}");
}

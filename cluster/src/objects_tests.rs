//! No request leaves for what can't be an object, whoever asks.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::header;
use keyferry_crds::Manifest;
use keyferry_sync::outcome::Headline;
use serde_json::json;

use super::*;
use crate::target;
use crate::target::fake_api::FakeApi;
use crate::target::kinds::Kinds;

const HOSTILE: [&str; 8] = ["../x", "a/b", "a?b", "a%2fb", "..", "a#b", "A", "a/../../other/secrets/b"];

fn objects(api: &FakeApi) -> ClusterObjects {
    ClusterObjects::new(api.client(), Turns::new(1, crate::leader::Lead::always()), PathBuf::new())
}

#[tokio::test]
async fn no_reference_leads_elsewhere() {
    let api = FakeApi::default();
    let objects = objects(&api);
    let says = |problem: Problem| {
        assert!(problem.message.contains(" is no ") && !problem.is_temporary, "{problem}");
    };
    for text in HOSTILE {
        for (namespace, name) in [("ns", text), (text, "a")] {
            for kind in [Kind::Secret, Kind::ConfigMap] {
                let source = Dependency { kind, namespace: namespace.to_owned(), name: name.to_owned() };
                says(objects.source(&source).await.unwrap_err());
            }
            says(objects.token(namespace, name, Vec::new()).await.unwrap_err());
            says(objects.annotations(namespace, name).await.unwrap_err());
            says(objects.generator(Some(namespace), "v1alpha1", "Fake", name).await.unwrap_err());
        }
        says(objects.generator(Some("ns"), text, "Fake", "a").await.unwrap_err());
        says(objects.generator(None, "v1alpha1", "ClusterGenerator", text).await.unwrap_err());
        if text != "A" {
            says(objects.generator(Some("ns"), "v1alpha1", text, "a").await.unwrap_err());
        }
    }
    let elsewhere = "v1alpha1/namespaces/other/fakes/theirs?";
    says(objects.generator(Some("ns"), elsewhere, "Fake", "a").await.unwrap_err());
    assert_eq!(api.cluster().requests, Vec::<String>::new());
}

#[tokio::test]
async fn a_token_is_for_ten_minutes_and_for_whoever_is_named() {
    let asked: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
    let seen = asked.clone();
    let server = Router::new().fallback(async move |request: Request| {
        let (parts, body) = request.into_parts();
        let body = serde_json::from_slice(&to_bytes(body, usize::MAX).await.unwrap()).unwrap();
        seen.lock().unwrap().push((format!("{} {}", parts.method, parts.uri.path()), body));
        // A server may give less than it was asked for, or more.
        let status = json!({"token": "t", "expirationTimestamp": "1970-01-01T01:00:00Z"});
        let answer = json!({"metadata": {}, "spec": {"audiences": ["a"]}, "status": status});
        ([(header::CONTENT_TYPE, "application/json")], answer.to_string())
    });
    let objects = ClusterObjects { client: kube::Client::new(server, "ns"), ..objects(&FakeApi::default()) };
    let token = objects.token("ns", "sa", vec!["a".to_owned()]).await.unwrap().unwrap();
    assert_eq!(token.expires, SystemTime::UNIX_EPOCH + Duration::from_secs(3600), "what it got counts");
    objects.token("ns", "sa", Vec::new()).await.unwrap().unwrap();
    let path = "POST /api/v1/namespaces/ns/serviceaccounts/sa/token".to_owned();
    let asked = asked.lock().unwrap();
    assert_eq!(asked.iter().map(|(request, _)| request).collect::<Vec<_>>(), [&path, &path]);
    let specs = asked.iter().map(|(_, body)| &body["spec"]);
    for (spec, audiences) in specs.zip([json!(["a"]), Value::Null]) {
        assert_eq!(spec["expirationSeconds"], json!(600));
        assert_eq!(spec.get("audiences").unwrap_or(&Value::Null), &audiences);
    }
}

#[tokio::test]
async fn who_does_not_lead_has_no_token_made() {
    let api = FakeApi::default();
    let lead = crate::leader::Lead::until(tokio::time::Instant::now(), Duration::ZERO);
    let objects = ClusterObjects { turns: Turns::new(1, lead), ..objects(&api) };
    let problem = objects.token("ns", "account", Vec::new()).await.unwrap_err();
    assert_eq!(problem, ApiProblem::NotLeading.into());
    assert_eq!(api.cluster().requests, Vec::<String>::new());
}

#[tokio::test]
async fn many_who_wait_for_one_source_have_one_answer() {
    let asked: Arc<Mutex<usize>> = Arc::default();
    let seen = asked.clone();
    let server = Router::new().fallback(async move || {
        *seen.lock().unwrap() += 1;
        tokio::task::yield_now().await;
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
        ([(header::CONTENT_TYPE, "application/json")], map.to_string())
    });
    let objects = ClusterObjects { client: kube::Client::new(server, "ns"), ..objects(&FakeApi::default()) };
    let source = Dependency { kind: Kind::ConfigMap, namespace: "ns".to_owned(), name: "a".to_owned() };
    for answer in futures::future::join_all((0..100).map(|_| objects.source(&source))).await {
        assert_eq!(answer.unwrap().unwrap().1["k"].expose(), b"v");
    }
    assert_eq!(*asked.lock().unwrap(), 2, "the one that went out at once, and the one that waited for its turn");
}

#[tokio::test]
async fn no_target_leads_elsewhere() {
    let api = FakeApi::default();
    let (client, turns, kinds) = (api.client(), Turns::new(1, crate::leader::Lead::always()), Kinds::default());
    for text in HOSTILE {
        let es = keyferry_builders::es(json!({"target": {"name": text}}));
        let mut output = target::of(&client, &turns, &kinds, &es, keyferry_sync::settings::Adopt::Any, None);
        assert!(output.observe().await.unwrap().is_none(), "{text}");
        assert!(!output.remove().await.unwrap(), "{text}: it may go, as there is nothing to delete");
        let versions = [Manifest { api_version: text.to_owned(), kind: "Widget".to_owned() }];
        let kinds_of = [Manifest { api_version: "example.org/v1".to_owned(), kind: text.to_owned() }];
        for manifest in versions.iter().chain(kinds_of.iter().filter(|manifest| manifest.kind != "A")) {
            let failure = kinds.resolve(&client, &turns, manifest).await.unwrap_err();
            assert_eq!(failure.headline, Headline::ManifestKind);
            assert!(failure.to_string().contains(" is no "), "{failure}");
        }
    }
    assert!(
        api.cluster().requests.iter().all(|request| !request.starts_with("get") && !request.starts_with("discover")),
        "{:?}",
        api.cluster().requests
    );
}

//! Generators: what they make, how it is revoked, and what is said where that fails.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyferry_doubles::{github, gitlab, grafana, robots};
use keyferry_provider_core::{BuildContext, Error, ErrorKind, Generator, GeneratorRegistration, Keep, State, Term};
use keyferry_provider_rest::generate::{CLOUDSMITH, GITHUB, GITLAB, GRAFANA, QUAY};
use keyferry_provider_testkit::MapCredentials;
use serde_json::{Value, json};

/// Notes what is to be kept, or can't keep anything.
#[derive(Default)]
struct Kept(Mutex<Vec<State>>, bool);

#[async_trait]
impl Keep for Kept {
    async fn keep(&self, state: &State, _: Option<Term>) -> Result<(), Error> {
        self.0.lock().unwrap().push(state.clone());
        if self.1 { Err(Error::new(ErrorKind::Unavailable, "nothing can be written")) } else { Ok(()) }
    }
}

fn build(registration: &GeneratorRegistration, spec: Value, credentials: MapCredentials) -> Arc<dyn Generator> {
    _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let ctx = BuildContext::new(Arc::new(credentials), Arc::new(())).trusted();
    (registration.build)(&spec, ctx).unwrap()
}

async fn made(generator: &dyn Generator) -> (Vec<(String, String)>, Option<State>, Option<Term>) {
    let made = generator.make(&()).await.unwrap();
    let text = |value: &keyferry_provider_core::SecretBytes| value.expose_str().unwrap().to_owned();
    (made.values.iter().map(|(key, value)| (key.clone(), text(value))).collect(), made.state, made.term)
}

#[tokio::test]
async fn tokens_of_github_are_for_what_the_spec_says() {
    let double = github::Double::start();
    let spec = |more: Value| {
        let mut spec = json!({"url": double.server().url(), "appID": github::APP, "installID": github::INSTALLATION,
            "repositories": ["a"], "permissions": {"contents": "read"},
            "auth": {"privateKey": {"secretRef": {"name": "app", "key": "key"}}}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let credentials =
        || MapCredentials::new().with("app/key", double.key()).with("app/id", github::APP).with("app/other", "9\n");
    let (values, state, term) = made(&*build(&GITHUB, spec(json!({})), credentials())).await;
    assert_eq!((values, state), (vec![("token".to_owned(), "ghs_canary".to_owned())], None));
    assert!(term.is_some_and(|term| !term.renews));
    let by_reference = spec(json!({"appID": null, "appIDRef": {"name": "app", "key": "id"}}));
    made(&*build(&GITHUB, by_reference, credentials())).await;
    let refused = async |more: Value| build(&GITHUB, spec(more), credentials()).make(&()).await.unwrap_err();
    let other = refused(json!({"appID": "9"})).await;
    assert_eq!(other.kind(), ErrorKind::Unauthenticated, "{other}");
    let nowhere = refused(json!({"installID": null, "installIDRef": {"name": "app", "key": "other"}})).await;
    assert!(nowhere.message().contains("spec.installID"), "{nowhere}");
    let no_key = refused(json!({"auth": {"privateKey": {"secretRef": {"name": "app", "key": "id"}}}})).await;
    assert!(no_key.message().contains("no RSA key in PEM"), "{no_key}");
    let ctx = BuildContext::new(Arc::new(credentials()), Arc::new(()));
    assert!((GITHUB.build)(&spec(json!({"appIDRef": {"name": "app"}})), ctx).is_err(), "one of both");
}

#[tokio::test]
async fn tokens_of_gitlab_stand_until_they_are_revoked() {
    let double = gitlab::Double::start();
    let spec = json!({"url": double.server().url(), "projectID": "1", "name": "n", "scopes": ["read_registry"],
        "auth": {"token": {"secretRef": {"name": "t", "key": "k"}}}});
    let generator = build(&GITLAB, spec.clone(), MapCredentials::new().with("t/k", gitlab::TOKEN));
    let kept = Kept::default();
    let one = generator.make(&kept).await.unwrap();
    assert_eq!(one.values.keys().collect::<Vec<_>>(), ["token", "username"]);
    let state = one.state.unwrap();
    let begun = kept.0.lock().unwrap().clone();
    assert_eq!((begun.len(), &begun[0]["tokenID"], &begun[0]["projectID"]), (1, &json!(0), &json!("1")));
    assert_eq!(double.deploy_tokens("projects/1"), 1);
    generator.revoke(&state).await.unwrap();
    assert_eq!(double.deploy_tokens("projects/1"), 0);
    generator.revoke(&state).await.expect("what is gone is no error");
    generator.revoke(&begun[0]).await.expect("nobody knows which it is");
    // A state of External Secrets Operator's.
    let other = generator.make(&()).await.unwrap().state.unwrap();
    generator.revoke(&json!({"url": other["url"], "projectID": "1", "tokenID": other["tokenID"]})).await.unwrap();
    assert_eq!(double.deploy_tokens("projects/1"), 0);
    // What can't be written down is not made.
    assert!(generator.make(&Kept(Mutex::default(), true)).await.is_err());
    assert_eq!(double.deploy_tokens("projects/1"), 0);
    let wrong = build(&GITLAB, spec, MapCredentials::new().with("t/k", "other"));
    let refused = Kept::default();
    assert_eq!(wrong.make(&refused).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert_eq!(refused.0.lock().unwrap().last(), Some(&json!({})), "what GitLab refused was not made");
    generator.revoke(&json!({})).await.expect("there is nothing");
    assert_eq!(wrong.revoke(&state).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn tokens_of_grafana_are_found_whatever_happened_in_between() {
    let double = grafana::Double::start();
    let account = json!({"name": "robot", "role": "Viewer"});
    let spec = json!({"url": double.server().url(), "serviceAccount": account,
        "auth": {"token": {"name": "t", "key": "k"}}});
    let generator = build(&GRAFANA, spec, MapCredentials::new().with("t/k", grafana::TOKEN));
    let kept = Kept::default();
    let one = generator.make(&kept).await.unwrap();
    assert_eq!(one.values["login"].expose_str(), Some("sa-1-robot"));
    let begun = kept.0.lock().unwrap()[0].clone();
    generator.make(&()).await.unwrap();
    assert_eq!((double.accounts(), double.tokens()), (vec!["robot".to_owned()], 2), "one account, two tokens");
    // By the name that was written down before it was made.
    generator.revoke(&begun).await.unwrap();
    assert_eq!(double.tokens(), 1);
    generator.revoke(&begun).await.expect("what is gone is no error");
    generator.revoke(&one.state.unwrap()).await.expect("what is gone is no error");
    assert_eq!(double.tokens(), 1, "that of somebody else is left alone");
    let login = json!({"basic": {"username": "admin", "password": {"name": "p", "key": "k"}}});
    let spec =
        json!({"url": double.server().url(), "serviceAccount": {"name": "robot", "secondsToLive": 60}, "auth": login});
    let by_user = build(&GRAFANA, spec, MapCredentials::new().with("p/k", "canary-of-the-password"));
    let made = by_user.make(&()).await.unwrap();
    assert!(made.term.is_some());
    // As External Secrets Operator writes it.
    let id = &made.state.unwrap()["serviceAccount"]["tokenID"];
    let state = json!({"serviceAccount": {"id": 1, "login": "sa-1-robot", "tokenID": id}});
    by_user.revoke(&state).await.unwrap();
    assert_eq!(double.tokens(), 1);
}

#[tokio::test]
async fn registries_that_believe_the_cluster_give_tokens_with_their_end() {
    let (quay, cloudsmith) = (robots::quay(), robots::cloudsmith());
    let account = json!({"name": "sa"});
    let credentials = |token: &str| MapCredentials::new().with("sa/token", token);
    let of_quay = json!({"url": quay.url(), "robotAccount": "org+robot", "serviceAccountRef": account});
    let (values, state, term) = made(&*build(&QUAY, of_quay.clone(), credentials(robots::BELIEVED))).await;
    assert_eq!(values.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["auth", "expiry", "registry"]);
    assert_eq!((values[1].1.as_str(), state), ("4102444800", None));
    assert!(term.is_some());
    let of_cloudsmith =
        json!({"apiUrl": cloudsmith.url(), "orgSlug": "org", "serviceSlug": "robot", "serviceAccountRef": account});
    let (values, ..) = made(&*build(&CLOUDSMITH, of_cloudsmith.clone(), credentials(robots::BELIEVED))).await;
    assert_eq!(values.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["auth", "expiry"]);
    for (registration, spec) in [(&QUAY, of_quay), (&CLOUDSMITH, of_cloudsmith.clone())] {
        let error = build(registration, spec, credentials("other")).make(&()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    }
    let mut nowhere = of_cloudsmith;
    nowhere["orgSlug"] = json!("other");
    let error = build(&CLOUDSMITH, nowhere, credentials(robots::BELIEVED)).make(&()).await.unwrap_err();
    assert!(error.message().contains("spec.orgSlug"), "{error}");
}

//! Logins: each way in, what ends, what is refused, and what nobody may see.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyferry_doubles::Faults;
use keyferry_doubles::azurekv::{CLIENT, Double, TENANT};
use keyferry_provider_core::{BuildContext, Caller, Calls, Error, ErrorKind, Provider};
use keyferry_provider_testkit::MapCredentials;
use serde_json::{Value, json};
use support::{build, context, credentials, fetch, key, spec, store};

/// A double with a secret, and the spec of a store for it with other logins.
fn double(change: Value) -> (Double, Value) {
    let double = Double::start_plain();
    double.put("a", "v");
    let mut spec = spec(&double.server().url(), &double);
    for (name, value) in change.as_object().unwrap() {
        spec[name] = value.clone();
    }
    (double, spec)
}

async fn reads(store: Result<Arc<dyn Provider>, Error>) -> Result<(), Error> {
    fetch(&*store?, &key("a")).await.map(|_| ())
}

fn environment(ctx: BuildContext, all: &[(&'static str, String)]) -> BuildContext {
    let all = all.to_vec();
    let find = move |name: &str| all.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    BuildContext { environment: Arc::new(find), ..ctx }
}

#[tokio::test]
async fn with_a_certificate_in_each_form() {
    let pem = include_str!("../../../keys/tests/fixtures/bundle.pem");
    let authorized = json!({"authSecretRef": {"clientId": {"name": "azure", "key": "id"}, "clientCertificate": {"name": "azure", "key": "certificate"}}});
    for file in [
        pem.as_bytes(),
        include_bytes!("../../../keys/tests/fixtures/bundle.p12"),
        include_bytes!("../../../keys/tests/fixtures/protected.p12"),
    ] {
        let (double, spec) = double(authorized.clone());
        let context = || context(credentials().with("azure/certificate", file));
        let error = reads(build(&spec, context()).await).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(error.message().contains("does not know the certificate in spec.provider.azurekv"), "{error}");
        double.trust_certificate(pem);
        reads(build(&spec, context()).await).await.unwrap();
    }
    let (_double, spec) = double(authorized);
    let locked =
        context(credentials().with("azure/certificate", include_bytes!("../../../keys/tests/fixtures/locked.p12")));
    let error = build(&spec, locked).await.err().unwrap();
    assert!(error.message().contains("PKCS #12 without a password"), "{error}");
}

#[tokio::test]
async fn as_a_service_account_by_its_annotations_or_by_the_spec() {
    const CLIENT_ID: &str = "app/annotations/azure.workload.identity/client-id";
    const TENANT_ID: &str = "app/annotations/azure.workload.identity/tenant-id";
    let account = json!({"authType": "WorkloadIdentity", "tenantId": null, "authSecretRef": null, "serviceAccountRef": {"name": "app"}});
    let (double, spec) = double(account);
    let token = || MapCredentials::new().with("app/token", "canary-of-a-federated-token");
    let annotated = || token().with(CLIENT_ID, CLIENT).with(TENANT_ID, TENANT);
    let error = reads(build(&spec, context(annotated())).await).await.unwrap_err();
    assert!(error.message().contains("believes no such ServiceAccount"), "{error}");
    double.trust_token("canary-of-a-federated-token");
    reads(build(&spec, context(annotated())).await).await.unwrap();
    // The pod's tenant, where nobody names one.
    let of_pod = environment(context(token().with(CLIENT_ID, CLIENT)), &[("AZURE_TENANT_ID", TENANT.into())]);
    reads(build(&spec, of_pod).await).await.unwrap();
    // The spec's own ids.
    let mut named = spec.clone();
    named["tenantId"] = json!(TENANT);
    named["authSecretRef"] = json!({"clientId": {"name": "azure", "key": "id"}});
    reads(build(&named, context(token().with("azure/id", CLIENT))).await).await.unwrap();
    reads(build(&named, context(annotated().with("azure/id", CLIENT))).await).await.unwrap();
    for (credentials, spec, words) in [
        (token(), &spec, "the application's client id is missing: annotate the ServiceAccount \"app\""),
        (token().with(CLIENT_ID, CLIENT), &spec, "the tenant's id is missing"),
        (annotated().with("azure/id", "another"), &named, "differ: keep one of them"),
        (token().with(CLIENT_ID, CLIENT).with(TENANT_ID, "../canary"), &spec, "is no id of Entra ID"),
    ] {
        let error = build(spec, context(credentials)).await.err().unwrap();
        assert!(error.kind() == ErrorKind::Invalid && error.message().contains(words), "{words}: {error}");
        assert!(!error.message().contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn as_the_operators_own_pod() {
    let (double, spec) = double(json!({"authType": "WorkloadIdentity", "authSecretRef": null}));
    double.trust_token("canary-of-the-pod");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "canary-of-the-pod\n").unwrap();
    let pod = [
        ("AZURE_TENANT_ID", TENANT.to_owned()),
        ("AZURE_CLIENT_ID", CLIENT.to_owned()),
        ("AZURE_FEDERATED_TOKEN_FILE", file.path().display().to_string()),
    ];
    let store = build(&spec, environment(context(MapCredentials::new()), &pod)).await.unwrap();
    assert!(store.identity_note().unwrap().contains("the operator's own Azure identity"));
    reads(Ok(store)).await.unwrap();
    for missing in 0..pod.len() {
        let mut pod = pod.to_vec();
        pod.remove(missing);
        let error = build(&spec, environment(context(MapCredentials::new()), &pod)).await.err().unwrap();
        assert!(error.message().contains("azure.workload.identity/use=true"), "{error}");
    }
    let gone = [pod[0].clone(), pod[1].clone(), ("AZURE_FEDERATED_TOKEN_FILE", "/nowhere/canary".to_owned())];
    let error = build(&spec, environment(context(MapCredentials::new()), &gone)).await.err().unwrap();
    assert!(error.message().contains("can't be read") && !error.message().contains("canary"), "{error}");
}

#[tokio::test]
async fn as_the_operators_own_machine() {
    let (double, spec) = double(json!({"authType": "ManagedIdentity"}));
    let url = double.server().url();
    let metadata = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", url.clone())];
    let app_service =
        [("IDENTITY_ENDPOINT", format!("{url}/msi/token")), ("IDENTITY_HEADER", "canary-of-the-header".to_owned())];
    for machine in [&metadata[..], &app_service] {
        let context = || environment(context(MapCredentials::new()), machine);
        let store = build(&spec, context()).await.unwrap();
        assert!(store.identity_note().is_some());
        reads(Ok(store)).await.unwrap();
        let mut one = spec.clone();
        one["identityId"] = json!(CLIENT);
        reads(build(&one, context()).await).await.unwrap();
        one["identityId"] = json!("canary of another");
        let error = build(&one, context()).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(error.message().contains("check spec.provider.azurekv.identityId"), "{error}");
        assert!(!error.message().contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn the_operators_identity_is_for_those_who_may_have_it() {
    for own in ["ManagedIdentity", "WorkloadIdentity"] {
        let (double, spec) = double(json!({"authType": own, "authSecretRef": null}));
        let refused = BuildContext { ambient_identity: false, ..context(MapCredentials::new()) };
        let error = build(&spec, refused).await.err().unwrap();
        assert!(error.message().contains("--ambient-identity"), "{error}");
        let caller = Caller { store_kind: "SecretStore", ..Caller::default() };
        let of_namespace = BuildContext { caller, ..context(MapCredentials::new()) };
        let error = build(&spec, of_namespace).await.err().unwrap();
        assert!(error.message().contains("use a ClusterSecretStore"), "{error}");
        assert!(double.server().calls().is_empty(), "nobody was asked");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_login_is_said_when_the_store_is_built() {
    for (change, credentials, words) in [
        (json!({}), credentials().with("azure/secret", "canary"), "authSecretRef.clientSecret must be its value"),
        (
            json!({}),
            credentials().with("azure/id", "canary"),
            "no application with this client id: check spec.provider.azurekv.authSecretRef.clientId",
        ),
        (json!({"tenantId": "canary"}), credentials(), "knows no such tenant: check spec.provider.azurekv.tenantId"),
    ] {
        let (double, spec) = double(change);
        let error = build(&spec, context(credentials)).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        assert!(error.message().contains(words), "{words}: {error}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
        assert_eq!(double.server().calls().len(), 1, "nothing is tried twice here");
    }
    let (_double, spec) = double(json!({}));
    let error = build(&spec, context(MapCredentials::new())).await.err().unwrap();
    assert!(
        error.message().starts_with("spec.provider.azurekv.authSecretRef.clientSecret: ")
            || error.message().starts_with("spec.provider.azurekv.authSecretRef.clientId: "),
        "{error}"
    );
}

#[tokio::test]
async fn a_login_that_fails_for_now_is_told_from_one_that_is_refused() {
    let (double, spec) = double(json!({}));
    for (faults, expected) in [
        (Faults { throttled: 100, ..Faults::default() }, ErrorKind::Throttled),
        (Faults { broken: 100, ..Faults::default() }, ErrorKind::Unavailable),
        (Faults { reset: 100, ..Faults::default() }, ErrorKind::Unavailable),
        (Faults { garbage: 100, ..Faults::default() }, ErrorKind::Malformed),
        (Faults { huge: 100, ..Faults::default() }, ErrorKind::Malformed),
    ] {
        double.server().fail(Faults { paths: vec!["/token".to_owned()], ..faults });
        let error = build(&spec, context(credentials())).await.err().unwrap();
        assert_eq!(error.kind(), expected, "{error}");
        assert!(!error.message().contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn tokens_are_renewed_before_they_end_and_one_login_serves_all() {
    let double = Double::start_plain();
    double.put("a", "v");
    double.live_for(Duration::from_secs(3));
    let store = store(&double).await.unwrap();
    for _ in 0..20 {
        fetch(&*store, &key("a")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!((2..=4).contains(&double.logins()), "{} logins in four seconds", double.logins());
    assert!(double.server().calls().iter().all(|call| call.status == 200), "no call met the end of a token");
}

#[tokio::test]
async fn a_young_token_that_is_refused_is_wrong_rather_than_ended() {
    let double = Double::start_plain();
    double.put("a", "v");
    let store = store(&double).await.unwrap();
    double.move_vault();
    let error = fetch(&*store, &key("a")).await.unwrap_err();
    assert_eq!((error.kind(), double.logins()), (ErrorKind::Unauthenticated, 1));
    assert!(error.message().contains("may belong to another tenant"), "{error}");
    assert_eq!(store.validate().await.unwrap_err().kind(), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn a_token_that_was_ended_early_is_replaced_once() {
    let double = Double::start_plain();
    double.put("a", "v");
    let store = store(&double).await.unwrap();
    double.end_tokens();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
    fetch(&*store, &key("a")).await.unwrap();
    assert_eq!(double.logins(), 2);
}

#[tokio::test]
async fn another_secret_serves_stores_that_are_built_with_it() {
    let double = Double::start_plain();
    double.put("a", "v");
    let before = store(&double).await.unwrap();
    double.set_secret("canary-another");
    fetch(&*before, &key("a")).await.unwrap();
    let spec = spec(&double.server().url(), &double);
    assert!(build(&spec, context(credentials())).await.is_err());
    reads(build(&spec, context(credentials().with("azure/secret", "canary-another"))).await).await.unwrap();
}

/// Notes what is told of calls.
#[derive(Default)]
struct Noted(Mutex<Vec<(&'static str, &'static str, bool)>>);

impl Calls for Noted {
    fn record(&self, provider: &'static str, call: &'static str, ok: bool, _: Duration) {
        self.0.lock().unwrap().push((provider, call, ok));
    }
}

#[tokio::test]
async fn every_call_is_told_under_its_name() {
    let double = Double::start_plain();
    double.put("a", "v");
    let noted = Arc::new(Noted::default());
    let ctx = BuildContext { calls: noted.clone(), ..context(credentials()) };
    let store = build(&spec(&double.server().url(), &double), ctx).await.unwrap();
    fetch(&*store, &key("a")).await.unwrap();
    fetch(&*store, &key("key/missing")).await.unwrap_err();
    store.validate().await.unwrap();
    double.deny("certificates/get");
    fetch(&*store, &key("cert/a")).await.unwrap_err();
    let expected =
        [("GetToken", true), ("GetSecret", true), ("GetKey", true), ("GetSecrets", true), ("GetCertificate", false)];
    assert_eq!(*noted.0.lock().unwrap(), expected.map(|(call, ok)| ("Azure/KeyVault", call, ok)));
    assert_eq!(double.server().calls().len(), expected.len());
}

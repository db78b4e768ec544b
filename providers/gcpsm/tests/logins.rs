//! Every way to log in, and what comes of those that fail.

mod around;

use std::sync::Arc;
use std::time::Duration;

use around::{CANARY, Told, build, context, environment, fetch, key, spec};
use keyferry_doubles::gcpsm::{Double, NUMBER, PROJECT};
use keyferry_provider_core::{BuildContext, Caller, Error, ErrorKind, Provider};
use keyferry_provider_gcpsm::GCR;
use keyferry_provider_testkit::MapCredentials;
use serde_json::{Value, json};

const READER: &str = "reader@p-1.iam.gserviceaccount.com";
const ANNOTATION: &str = "app/annotations/iam.gke.io/gcp-service-account";

/// A provider of a pool, as it is known outside of Google.
fn pool() -> String {
    format!("//iam.googleapis.com/projects/{NUMBER}/locations/global/workloadIdentityPools/p/providers/x")
}

fn double() -> Double {
    let double = Double::start();
    double.put("app", b"canary-value");
    double
}

/// What a store with this `auth` comes to. No message holds a value or a credential.
async fn login(double: &Double, auth: &Value, credentials: MapCredentials) -> Result<Arc<dyn Provider>, Error> {
    login_in(context(double, credentials, Arc::new(())), auth).await
}

async fn login_in(context: BuildContext, auth: &Value) -> Result<Arc<dyn Provider>, Error> {
    let store = build(&json!({"projectID": PROJECT, "auth": auth}), context).await;
    if let Err(error) = &store {
        assert!(!error.to_string().contains(CANARY), "{error}");
    }
    store
}

async fn refused(double: &Double, auth: &Value, credentials: MapCredentials) -> Error {
    login(double, auth, credentials).await.err().expect("a login that is refused")
}

async fn reads(store: &dyn Provider) {
    assert_eq!(fetch(store, &key("app")).await.unwrap().value.expose(), b"canary-value");
    store.validate().await.unwrap();
}

fn by_key() -> Value {
    spec(&json!({}))["auth"].clone()
}

fn federation(more: &Value) -> Value {
    let mut federation = json!({});
    for (name, value) in more.as_object().unwrap() {
        federation[name] = value.clone();
    }
    json!({"workloadIdentityFederation": federation})
}

/// The names of the calls that were made to log in.
fn asked(double: &Double) -> Vec<String> {
    let calls = double.server().take_calls().into_iter().map(|call| call.path);
    calls.filter(|path| !path.contains("/secrets")).collect()
}

#[tokio::test]
async fn a_key_file_logs_in_and_one_whose_key_is_gone_does_not() {
    let double = double();
    let store = login(&double, &by_key(), MapCredentials::new().with("google/key.json", double.key())).await.unwrap();
    reads(&*store).await;
    assert_eq!((asked(&double), store.identity_note()), (vec!["/token".to_owned()], None));
    let error = refused(&double, &by_key(), MapCredentials::new().with("google/key.json", double.deleted_key())).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains("secretAccessKeySecretRef: the key of app@p-1"), "{error}");
    let error = refused(&double, &by_key(), MapCredentials::new().with("google/key.json", "canary")).await;
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = refused(&double, &by_key(), MapCredentials::new()).await;
    assert!(error.message().starts_with("spec.provider.gcpsm.auth.secretRef"), "{error}");
}

#[tokio::test]
async fn a_key_file_leads_stores_of_a_namespace_to_google_only() {
    let double = double();
    let credentials = MapCredentials::new().with("google/key.json", double.key());
    let caller = Caller { store_kind: "SecretStore", store: "s".into(), namespace: Some("ns".into()) };
    let context = BuildContext { caller, ..context(&double, credentials, Arc::new(())) };
    let error = login_in(context, &by_key()).await.err().unwrap();
    assert!(error.message().contains("token_uri of the key file leads elsewhere"), "{error}");
    assert!(asked(&double).is_empty());
}

#[tokio::test]
async fn a_service_account_of_the_cluster_logs_in_as_itself_or_as_whom_it_is_annotated_with() {
    let double = double();
    let own = "https://container.googleapis.com/v1/projects/p-1/locations/europe-west1/clusters/c-1";
    double.trust("canary-of-the-cluster", &format!("identitynamespace:p-1.svc.id.goog:{own}"));
    let account = || MapCredentials::new().with("app/token", "canary-of-the-cluster");
    let named = json!({"workloadIdentity": {"serviceAccountRef": {"name": "app"}, "clusterProjectID": "p-1",
        "clusterLocation": "europe-west1", "clusterName": "c-1"}});
    reads(&*login(&double, &named, account()).await.unwrap()).await;
    assert_eq!(asked(&double), ["/v1/token"]);
    // What is not named is asked of the metadata server.
    let unnamed = json!({"workloadIdentity": {"serviceAccountRef": {"name": "app"}}});
    reads(&*login(&double, &unnamed, account()).await.unwrap()).await;
    assert_eq!(asked(&double).len(), 4);
    let annotated = || account().with(ANNOTATION, READER);
    let error = refused(&double, &named, annotated()).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains("roles/iam.workloadIdentityUser"), "{error}");
    double.allow_acting_as(READER);
    asked(&double);
    reads(&*login(&double, &named, annotated()).await.unwrap()).await;
    assert_eq!(
        asked(&double),
        ["/v1/token".to_owned(), format!("/v1/projects/-/serviceAccounts/{READER}:generateAccessToken")]
    );
    let mut elsewhere = named.clone();
    elsewhere["workloadIdentity"]["clusterName"] = json!("c-2");
    let error = refused(&double, &elsewhere, account()).await;
    assert!(error.message().contains("check that the cluster c-2 in europe-west1"), "{error}");
    let error = refused(&double, &named, account().with(ANNOTATION, "a/../canary")).await;
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_service_account_of_any_cluster_logs_in_by_federation() {
    let double = double();
    double.trust("canary-of-the-cluster", &pool());
    let account = || MapCredentials::new().with("app/token", "canary-of-the-cluster");
    let auth = federation(&json!({"audience": pool(), "serviceAccountRef": {"name": "app"}}));
    reads(&*login(&double, &auth, account()).await.unwrap()).await;
    double.allow_acting_as(READER);
    reads(&*login(&double, &auth, account().with(ANNOTATION, READER)).await.unwrap()).await;
    // Whom the spec names comes before whom the annotation does.
    let named = federation(
        &json!({"audience": pool(), "serviceAccountRef": {"name": "app"}, "gcpServiceAccountEmail": READER}),
    );
    asked(&double);
    reads(&*login(&double, &named, account().with(ANNOTATION, "nobody@x")).await.unwrap()).await;
    assert!(asked(&double).iter().any(|path| path.contains(READER)));
    let other = federation(&json!({"audience": "//iam.googleapis.com/other", "serviceAccountRef": {"name": "app"}}));
    let error = refused(&double, &other, account()).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains("maps its ServiceAccount \"app\""), "{error}");
}

#[tokio::test]
async fn keys_of_aws_log_in_by_federation() {
    let double = double();
    double.trust_aws("AKIDCANARY", "canary-of-aws");
    let auth = federation(&json!({"audience": pool(), "awsSecurityCredentials": {"region": "eu-west-1",
        "awsCredentialsSecretRef": {"name": "aws"}}}));
    let keys = |secret: &str| {
        MapCredentials::new().with("aws/aws_access_key_id", "AKIDCANARY").with("aws/aws_secret_access_key", secret)
    };
    reads(&*login(&double, &auth, keys("canary-of-aws\n")).await.unwrap()).await;
    reads(&*login(&double, &auth, keys("canary-of-aws").with("aws/aws_session_token", "canary-s/+=")).await.unwrap())
        .await;
    let error = refused(&double, &auth, keys("canary-of-another")).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains("awsSecurityCredentials: check the keys"), "{error}");
    let error = refused(&double, &auth, MapCredentials::new()).await;
    assert!(error.message().contains("awsSecurityCredentials: "), "{error}");
}

fn document(double: &Double, form: &str) -> (String, String) {
    let url = format!("{}/subject{form}", double.server().url());
    let mut source = json!({"url": url, "headers": {"x-ask": "yes"}});
    if !form.is_empty() {
        source["format"] = json!({"type": "json", "subject_token_field_name": "token"});
    }
    let impersonation =
        format!("https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{READER}:generateAccessToken");
    let document = json!({"type": "external_account", "audience": pool(), "credential_source": source,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": "https://sts.googleapis.com/v1/token",
        "service_account_impersonation_url": impersonation});
    (url, document.to_string())
}

#[tokio::test]
async fn a_document_logs_in_by_the_one_server_that_the_spec_names_too() {
    let double = double();
    double.give("canary-of-somebody");
    double.trust("canary-of-somebody", &pool());
    double.allow_acting_as(READER);
    for form in ["", "?form=json"] {
        let (url, document) = document(&double, form);
        let credentials = || MapCredentials::new().with("wif/config.json", &document);
        let auth = |endpoint: &str| {
            federation(&json!({"credConfig": {"name": "wif", "key": "config.json", "namespace": "ns"},
                "externalTokenEndpoint": endpoint}))
        };
        reads(&*login(&double, &auth(&url), credentials()).await.unwrap()).await;
        let error = refused(&double, &auth("https://idp.example.com"), credentials()).await;
        assert!(error.message().contains("externalTokenEndpoint"), "{error}");
        // Nor to what only the operator's machine may reach.
        let context = BuildContext { addresses: Default::default(), ..context(&double, credentials(), Arc::new(())) };
        let context = BuildContext { environment: Arc::new(|_| None), ..context };
        let error = login_in(context, &auth(&url)).await.err().unwrap();
        assert!(error.message().contains("a loopback address"), "{error}");
    }
    double.give("");
    let (url, document) = document(&double, "");
    let auth = federation(&json!({"credConfig": {"name": "wif", "key": "c"}, "externalTokenEndpoint": url}));
    let error = refused(&double, &auth, MapCredentials::new().with("wif/c", document)).await;
    assert!(error.message().contains("there is no token"), "{error}");
}

#[tokio::test]
async fn the_operators_own_identity_is_its_machines_and_its_project_too() {
    let double = double();
    let context = || context(&double, MapCredentials::new(), Arc::new(()));
    let store = build(&json!({}), context()).await.unwrap();
    reads(&*store).await;
    assert!(store.identity_note().is_some_and(|note| note.contains("the operator's own Google identity")));
    let kept = BuildContext { ambient_identity: false, ..context() };
    let error = build(&json!({}), kept).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("--ambient-identity"), "{error}");
    double.leave_google();
    let error = build(&json!({}), context()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains("has no service account"), "{error}");
}

#[tokio::test]
async fn the_operators_environment_names_its_identity() {
    let double = double();
    double.trust("canary-of-a-file", &pool());
    double.allow_acting_as(READER);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("token"), "canary-of-a-file\n").unwrap();
    let mut federated: Value = serde_json::from_str(&document(&double, "").1).unwrap();
    federated["credential_source"] = json!({"file": path("token")});
    let person = json!({"type": "authorized_user", "client_id": "id", "client_secret": "canary-of-gcloud",
        "refresh_token": "canary-of-a-person", "token_uri": format!("{}/token", double.server().url())});
    for file in [double.key(), federated.to_string(), person.to_string()] {
        std::fs::write(path("adc.json"), file).unwrap();
        let environment = environment(&double, &[("GOOGLE_APPLICATION_CREDENTIALS", &path("adc.json"))]);
        let context = BuildContext { environment, ..context(&double, MapCredentials::new(), Arc::new(())) };
        reads(&*login_in(context, &json!({})).await.unwrap()).await;
    }
    for file in ["canary".to_owned(), double.deleted_key()] {
        std::fs::write(path("adc.json"), file).unwrap();
        let environment = environment(&double, &[("GOOGLE_APPLICATION_CREDENTIALS", &path("adc.json"))]);
        let context = BuildContext { environment, ..context(&double, MapCredentials::new(), Arc::new(())) };
        let error = login_in(context, &json!({})).await.err().unwrap();
        assert!(error.message().contains("GOOGLE_APPLICATION_CREDENTIALS"), "{error}");
    }
    let environment = environment(&double, &[("GOOGLE_APPLICATION_CREDENTIALS", "canary-nowhere")]);
    let context = BuildContext { environment, ..context(&double, MapCredentials::new(), Arc::new(())) };
    let error = login_in(context, &json!({})).await.err().unwrap();
    assert!(error.message().contains("can't be read"), "{error}");
}

#[tokio::test]
async fn tokens_are_replaced_before_their_end_and_a_young_one_that_is_refused_is_wrong() {
    let double = double();
    double.tokens_last(Duration::from_secs(2));
    let told = Arc::new(Told::default());
    let credentials = MapCredentials::new().with("google/key.json", double.key());
    let store = build(&spec(&json!({})), context(&double, credentials, told.clone())).await.unwrap();
    for _ in 0..8 {
        reads(&*store).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    assert!((2..=5).contains(&told.count("GenerateToken")), "{}", told.count("GenerateToken"));
    double.tokens_last(Duration::from_secs(3600));
    tokio::time::sleep(Duration::from_secs(2)).await;
    reads(&*store).await;
    let before = told.count("GenerateToken");
    double.end_tokens();
    assert_eq!(fetch(&*store, &key("app")).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert_eq!(told.count("GenerateToken"), before);
}

#[tokio::test]
async fn a_login_that_fails_for_now_may_be_tried_again() {
    let double = double();
    let faults = keyferry_doubles::Faults { broken: 100, paths: vec!["/token".into()], ..Default::default() };
    double.server().fail(faults);
    let error = refused(&double, &by_key(), MapCredentials::new().with("google/key.json", double.key())).await;
    assert!(error.is_temporary(), "{error}");
}

#[tokio::test]
async fn an_access_token_for_registries_is_one_of_a_login() {
    let double = double();
    let make = async |key: Vec<u8>| {
        let credentials = MapCredentials::new().with("google/key.json", key);
        let spec = json!({"projectID": PROJECT, "auth": by_key()});
        (GCR.build)(&spec, context(&double, credentials, Arc::new(()))).unwrap().make(&()).await
    };
    let made = make(double.key().into()).await.unwrap();
    let text = |name: &str| made.values[name].expose_str().unwrap().to_owned();
    assert_eq!((text("username").as_str(), text("password").is_empty()), ("oauth2accesstoken", false));
    assert_eq!(asked(&double), ["/token"]);
    let term = made.term.expect("it ends");
    let expiry = term.end.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(text("expiry"), expiry.as_secs().to_string());
    assert!(term.end > std::time::SystemTime::now() && !term.renews);
    let error = make(double.deleted_key().into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains("spec.auth") && !error.to_string().contains(CANARY), "{error}");
}

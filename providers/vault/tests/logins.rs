//! Logins of which nobody has a server that we may run, against a double of it and of the clouds that give their word.

mod double;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use double::{crypto, expect, fetch};
use keyferry_doubles::vault::Double;
use keyferry_doubles::{Call, Faults};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{BuildContext, Caller, Calls, Error, ErrorKind, Provider};
use keyferry_provider_testkit::MapCredentials;
use keyferry_provider_vault::REGISTRATION;
use serde_json::{Value, json};

const CANARY: &str = double::CANARY;

const ROLE: &str = "arn:aws:iam::123456789012:role/app";
const USER: &str = "arn:aws:iam::123456789012:user/app";
const POD: &str = "arn:aws:sts::123456789012:assumed-role/pod/x";

/// What is counted, failed calls with `!` before them.
#[derive(Default)]
struct Counter(Mutex<Vec<String>>);

impl Counter {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Calls for Counter {
    fn record(&self, provider: &'static str, call: &'static str, ok: bool, _: Duration) {
        self.0.lock().unwrap().push(format!("{}{provider} {call}", if ok { "" } else { "!" }));
    }
}

/// A store in front of a double, and what it is built with.
struct Bench {
    double: Double,
    credentials: Vec<(&'static str, String)>,
    settings: Vec<(&'static str, String)>,
    ambient: bool,
    store_kind: &'static str,
    counter: Arc<Counter>,
}

impl Bench {
    fn new() -> Self {
        let double = Double::start();
        double.put("app", json!({"password": CANARY}));
        let url = double.server().url();
        let settings = vec![
            ("AWS_STS_ENDPOINT", format!("{url}/sts")),
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_STS", format!("{url}/google-sts")),
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS", format!("{url}/google-iam")),
            ("GCE_METADATA_HOST", url.trim_start_matches("http://").to_owned()),
        ];
        Self {
            double,
            credentials: Vec::new(),
            settings,
            ambient: true,
            store_kind: "ClusterSecretStore",
            counter: Arc::default(),
        }
    }

    fn with(mut self, path: &'static str, value: &str) -> Self {
        self.credentials.retain(|(other, _)| *other != path);
        self.credentials.push((path, value.to_owned()));
        self
    }

    fn set(mut self, name: &'static str, value: &str) -> Self {
        self.settings.push((name, value.to_owned()));
        self
    }

    async fn store(&self, auth: Value) -> Result<Arc<dyn Provider>, Error> {
        crypto();
        let credentials = MapCredentials::new();
        self.credentials.iter().for_each(|(path, value)| credentials.set(path, value));
        let settings = self.settings.clone();
        let environment =
            move |name: &str| settings.iter().rev().find(|(set, _)| *set == name).map(|(_, value)| value.clone());
        let addresses = match self.store_kind {
            "ClusterSecretStore" => Addresses::anywhere(),
            // That of a namespace, where it may lead to doubles.
            _ => Addresses::not_local_but(["127.0.0.0/8".parse().unwrap()]),
        };
        let context = BuildContext {
            addresses,
            environment: Arc::new(environment),
            ambient_identity: self.ambient,
            caller: Caller { store_kind: self.store_kind, ..Caller::default() },
            ..double::context_with(credentials, self.counter.clone())
        };
        let spec = json!({"server": self.double.server().url(), "path": "secret", "auth": auth});
        (REGISTRATION.build)(&spec, context).await.inspect_err(clean)
    }

    /// Logs in and reads, and gives what was counted meanwhile.
    async fn reads(&self, auth: Value) -> Vec<String> {
        let store = self.store(auth).await.unwrap();
        assert_eq!(fetch(&*store, "app").await.unwrap(), format!("{{\"password\":\"{CANARY}\"}}"));
        store.validate().await.unwrap();
        // Tokens of stores of before are revoked when that suits.
        let calls = self.counter.take().into_iter();
        calls.filter(|call| !call.ends_with("RevokeSelf")).collect()
    }

    async fn refused(&self, auth: Value, kind: ErrorKind, words: &str) {
        let error = self.store(auth).await.err().expect("the login was refused");
        expect(&error, kind, words);
    }
}

/// The canaries of the double, too.
fn clean(error: &Error) {
    double::clean(error);
    assert!(!error.message().to_lowercase().contains("canary"), "{error}");
}

fn read(before: &[&str]) -> Vec<String> {
    let after = ["HashiCorp/Vault Login", "HashiCorp/Vault ReadSecretData", "HashiCorp/Vault LookupSelf"];
    before.iter().chain(&after).map(|call| (*call).to_owned()).collect()
}

fn secret(name: &str) -> Value {
    json!({"name": name, "key": "k"})
}

#[tokio::test]
async fn users_and_their_passwords() {
    for (field, mount) in [("ldap", "ldap"), ("userPass", "userpass")] {
        // An editor's end of line goes, and what a password may well hold stays.
        let bench = Bench::new().with("p/k", " canary-96aa1f \"ü \n");
        bench.double.user(mount, "corp\\app", " canary-96aa1f \"ü ");
        let auth = |user: &str| json!({field: {"username": user, "secretRef": secret("p")}});
        assert_eq!(bench.reads(auth(" corp\\app ")).await, read(&[]));
        let words =
            format!("refused the login at auth/{mount}/login/nobody: check the user \"nobody\" and its password");
        bench.refused(auth("nobody"), ErrorKind::Unauthenticated, &words).await;
        let bench = bench.with("p/k", "canary-96aa1f-wrong");
        bench.refused(auth("corp\\app"), ErrorKind::Unauthenticated, "and its password").await;
        let missing = json!({field: {"username": "u", "secretRef": secret("missing")}});
        let words = format!("spec.provider.vault.auth.{field}.secretRef: ");
        bench.refused(missing, ErrorKind::Invalid, &words).await;
    }
}

fn keys() -> Value {
    json!({"accessKeyIDSecretRef": secret("id"), "secretAccessKeySecretRef": secret("key")})
}

fn iam(more: Value) -> Value {
    let mut iam = json!({"vaultRole": "app"});
    iam.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "iam": iam })
}

fn with_keys() -> Bench {
    let bench = Bench::new().with("id/k", "AKIDEXAMPLE\n").with("key/k", "canary-96aa1f/key+\n");
    bench.double.aws_key("AKIDEXAMPLE", "canary-96aa1f/key+", USER);
    bench.double.bind("app", USER);
    bench
}

#[tokio::test]
async fn keys_of_aws_sign_for_any_region() {
    let bench = with_keys();
    for region in [json!(null), json!("us-east-1"), json!("eu-west-1"), json!("cn-north-1")] {
        assert_eq!(bench.reads(iam(json!({"secretRef": keys(), "region": region}))).await, read(&[]));
    }
    bench
        .refused(
            iam(json!({"secretRef": keys(), "vaultRole": "other"})),
            ErrorKind::Unauthenticated,
            "the role \"other\"",
        )
        .await;
    let bench = bench.with("key/k", "canary-96aa1f/other");
    bench.refused(iam(json!({"secretRef": keys()})), ErrorKind::Unauthenticated, "bound to our AWS identity").await;
    let bench = bench.with("key/k", "canary-96aa1f two words");
    bench
        .refused(iam(json!({"secretRef": keys()})), ErrorKind::Invalid, "secretAccessKeySecretRef is empty or holds")
        .await;
}

#[tokio::test]
async fn a_server_that_wants_its_id_signed() {
    let bench = with_keys();
    bench.double.server_id("vault.example.com");
    let id = |id: &str| iam(json!({"secretRef": keys(), "vaultAwsIamServerID": id}));
    assert_eq!(bench.reads(id("vault.example.com")).await, read(&[]));
    for other in ["", "vault.other.example"] {
        bench.refused(id(other), ErrorKind::Unauthenticated, "wants the same vaultAwsIamServerID").await;
    }
}

#[tokio::test]
async fn a_role_that_the_keys_assume() {
    let bench = with_keys();
    bench.double.aws_role_of(ROLE, USER, Some("of the other account"));
    bench.double.bind("app", ROLE);
    let role = |id: &str| iam(json!({"secretRef": keys(), "role": ROLE, "externalID": id, "region": "eu-west-1"}));
    assert_eq!(bench.reads(role("of the other account")).await, read(&["AWS/STS AssumeRole"]));
    let words = format!("STS does not let us assume {ROLE}: check the trust policy");
    bench.refused(role("wrong"), ErrorKind::Unauthenticated, &words).await;
}

#[tokio::test]
async fn the_role_of_a_service_account() {
    let bench = Bench::new().with("sa/token", CANARY).with("sa/annotations/eks.amazonaws.com/role-arn", ROLE);
    bench.double.aws_role_of_token(ROLE, CANARY);
    bench.double.bind("app", ROLE);
    let jwt = || iam(json!({"jwt": {"serviceAccountRef": {"name": "sa"}}}));
    assert_eq!(bench.reads(jwt()).await, read(&["AWS/STS AssumeRoleWithWebIdentity"]));
    // It may have to assume another first, which is what Vault then hears.
    let second = "arn:aws:iam::210987654321:role/second";
    bench.double.aws_role_of(second, ROLE, None);
    bench.double.bind("app", second);
    let chain = iam(json!({"jwt": {"serviceAccountRef": {"name": "sa"}}, "role": second}));
    assert_eq!(bench.reads(chain).await, read(&["AWS/STS AssumeRoleWithWebIdentity", "AWS/STS AssumeRole"]));

    let bench = bench.with("sa/token", "canary-96aa1f-another");
    bench.refused(jwt(), ErrorKind::Unauthenticated, "does not let the ServiceAccount \"sa\" be arn:aws").await;
    let other = Bench::new().with("sa/token", CANARY);
    other.refused(jwt(), ErrorKind::Invalid, "annotate it with eks.amazonaws.com/role-arn").await;
}

#[tokio::test]
async fn the_operators_own_identity_at_aws() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let irsa =
        Bench::new().set("AWS_WEB_IDENTITY_TOKEN_FILE", &file("irsa", "canary-96aa1f\n")).set("AWS_ROLE_ARN", ROLE);
    irsa.double.aws_role_of_token(ROLE, CANARY);
    irsa.double.bind("app", ROLE);
    assert_eq!(irsa.reads(iam(json!({}))).await, read(&["AWS/STS AssumeRoleWithWebIdentity"]));
    let store = irsa.store(iam(json!({}))).await.unwrap();
    assert!(store.identity_note().unwrap().contains("the operator's own AWS identity"));

    let pod = Bench::new().set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &file("pod", "canary-of-the-pod\n"));
    let agent = format!("{}/pod-identity", pod.double.server().url());
    let mut pod = pod.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent);
    pod.double.bind("app", POD);
    assert_eq!(pod.reads(iam(json!({}))).await, read(&["AWS/PodIdentity GetCredentials"]));
    pod.ambient = false;
    pod.refused(iam(json!({})), ErrorKind::Invalid, "--ambient-identity keeps this store from").await;
    pod.ambient = true;
    // The server is the spec's choice, and what it is sent is as good at another.
    pod.store_kind = "SecretStore";
    pod.counter.take();
    pod.refused(iam(json!({})), ErrorKind::Denied, "auth.iam logs in as the operator itself, which is not shown").await;
    assert!(pod.counter.take().is_empty(), "nobody is asked");
    pod.store_kind = "ClusterSecretStore";
    let pod = pod.set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &file("pod", "canary-96aa1f"));
    pod.refused(iam(json!({})), ErrorKind::Unauthenticated, "check its association with a role").await;
    let pod = pod.set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nowhere/canary");
    pod.refused(iam(json!({})), ErrorKind::Invalid, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names can't be read").await;
    Bench::new().refused(iam(json!({})), ErrorKind::Invalid, "the operator has no AWS identity").await;
}

#[tokio::test]
async fn a_key_file_of_google_signs_here() {
    let bench = Bench::new();
    let account = bench.double.google_account("app@p.iam.gserviceaccount.com");
    bench.double.bind("app", "app@p.iam.gserviceaccount.com");
    let bench = bench.with("g/k", &account.key_file());
    let gcp = || json!({"gcp": {"role": "app", "secretRef": {"secretAccessKeySecretRef": secret("g")}}});
    assert_eq!(bench.reads(gcp()).await, read(&[]));
    let other = json!({"gcp": {"role": "other", "secretRef": {"secretAccessKeySecretRef": secret("g")}}});
    bench.refused(other, ErrorKind::Unauthenticated, "the role \"other\" exists, is of the type iam").await;
    let wrong = |change: fn(&mut Value)| {
        let mut file = serde_json::from_str(&account.key_file()).unwrap();
        change(&mut file);
        file.to_string()
    };
    for (file, words) in [
        (CANARY.to_owned(), "is no JSON object"),
        (wrong(|file| file["client_email"] = json!("")), "lacks client_email, private_key_id or private_key"),
        (wrong(|file| file["private_key"] = json!(CANARY)), "holds no RSA key that can be read"),
        (
            wrong(|file| file["private_key"] = json!("-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----")),
            "holds no RSA key that can be read",
        ),
    ] {
        let bench = Bench::new().with("g/k", &file);
        bench.refused(gcp(), ErrorKind::Invalid, words).await;
    }
}

#[tokio::test]
async fn a_service_account_of_kubernetes_acts_for_one_of_google() {
    const EMAIL: &str = "app@p.iam.gserviceaccount.com";
    let bench = Bench::new().with("sa/token", CANARY).with("sa/annotations/iam.gke.io/gcp-service-account", EMAIL);
    bench.double.google_account(EMAIL);
    bench.double.bind("app", EMAIL);
    bench.double.kubernetes_token(CANARY);
    let gcp = |more: Value| {
        let mut workload = json!({"serviceAccountRef": {"name": "sa"}});
        workload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"gcp": {"role": "app", "projectID": "p", "workloadIdentity": workload}})
    };
    let whole = json!({"clusterLocation": "l", "clusterName": "c"});
    let chain = ["GCP/STS ExchangeToken", "GCP/IAMCredentials GenerateAccessToken", "GCP/IAMCredentials SignJwt"];
    assert_eq!(bench.reads(gcp(whole.clone())).await, read(&chain));
    // What is not said of the cluster its metadata server knows.
    let told = [&["GCP/Metadata GetMetadata"; 2][..], &chain].concat();
    assert_eq!(bench.reads(gcp(json!({}))).await, read(&told));

    let elsewhere = gcp(json!({"clusterLocation": "l", "clusterName": "another"}));
    bench.refused(elsewhere, ErrorKind::Unauthenticated, "check project, location and name of the cluster").await;
    let bench = bench.with("sa/annotations/iam.gke.io/gcp-service-account", "nobody@p.iam.gserviceaccount.com");
    let words =
        "does not let \"sa\" act for \"nobody@p.iam.gserviceaccount.com\": grant it roles/iam.workloadIdentityUser";
    bench.refused(gcp(whole.clone()), ErrorKind::Unauthenticated, words).await;
    let bench = bench.with("sa/annotations/iam.gke.io/gcp-service-account", "../../evil");
    bench.refused(gcp(whole.clone()), ErrorKind::Invalid, "holds what is no service account of Google").await;
    let bare = Bench::new().with("sa/token", CANARY);
    bare.refused(gcp(whole), ErrorKind::Invalid, "annotate it with iam.gke.io/gcp-service-account").await;
}

#[tokio::test]
async fn the_operators_own_identity_at_google() {
    let mut bench = Bench::new();
    bench.double.google_account("machine@p.iam.gserviceaccount.com");
    bench.double.bind("app", "machine@p.iam.gserviceaccount.com");
    let account = json!({"gcp": {"role": "app", "serviceAccountRef": {"name": "any"}}});
    for auth in [json!({"gcp": {"role": "app"}}), account] {
        assert_eq!(bench.reads(auth).await, read(&["GCP/Metadata GetIdentityToken"]));
    }
    bench.refused(json!({"gcp": {"role": "other"}}), ErrorKind::Unauthenticated, "of the type gce").await;
    bench.ambient = false;
    bench
        .refused(json!({"gcp": {"role": "app"}}), ErrorKind::Invalid, "--ambient-identity keeps this store from")
        .await;
    bench.ambient = true;
    bench.store_kind = "SecretStore";
    bench.counter.take();
    let words = "auth.gcp logs in as the operator itself, which is not shown";
    bench.refused(json!({"gcp": {"role": "app"}}), ErrorKind::Denied, words).await;
    assert!(bench.counter.take().is_empty(), "nobody is asked");
    let none = Bench::new();
    none.refused(json!({"gcp": {"role": "app"}}), ErrorKind::Unauthenticated, "gives the operator no identity token")
        .await;
}

/// Clouds fail as servers do, and what may pass is told from what stays.
#[tokio::test]
async fn clouds_that_fail() {
    let bench = with_keys();
    bench.double.aws_role_of(ROLE, USER, None);
    let role = || iam(json!({"secretRef": keys(), "role": ROLE}));
    for (faults, kind, words) in [
        (Faults { throttled: 100, ..Faults::default() }, ErrorKind::Throttled, "STS asks us to slow down"),
        (Faults { broken: 100, ..Faults::default() }, ErrorKind::Unavailable, "STS has an internal error (status 500)"),
        (Faults { reset: 100, ..Faults::default() }, ErrorKind::Unavailable, "closed the connection"),
        (Faults { garbage: 100, ..Faults::default() }, ErrorKind::Malformed, "the answer of STS does not hold"),
        (Faults { huge: 100, ..Faults::default() }, ErrorKind::Malformed, "larger than 16 MiB"),
    ] {
        bench.double.server().fail(Faults { paths: vec!["/sts".to_owned()], ..faults });
        bench.refused(role(), kind, words).await;
    }
    let bench = bench.set("AWS_STS_ENDPOINT", "sts.example");
    bench.refused(role(), ErrorKind::Invalid, "AWS_STS_ENDPOINT must be a URL").await;
}

#[tokio::test]
async fn tokens_that_logins_of_ours_made_are_revoked_at_the_end() {
    let bench = with_keys();
    let store = bench.store(iam(json!({"secretRef": keys()}))).await.unwrap();
    fetch(&*store, "app").await.unwrap();
    // One that the server forgot is replaced by one login, and there is nothing to revoke of it.
    bench.double.forget_tokens();
    fetch(&*store, "app").await.unwrap();
    assert!(bench.double.revoked().is_empty());
    drop(store);
    for _ in 0..200 {
        if !bench.double.revoked().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(bench.double.revoked().len(), 1);
    let calls = bench.double.server().take_calls();
    let is_revocation = |call: &&Call| call.path == "/v1/auth/token/revoke-self" && call.status == 204;
    assert_eq!(calls.iter().filter(is_revocation).count(), 1);
    assert!(bench.counter.take().ends_with(&["HashiCorp/Vault RevokeSelf".to_owned()]));
}

#[tokio::test]
async fn three_hundred_reads_under_faults_take_few_more_calls_than_without() {
    let bench = with_keys();
    bench.double.lease(Duration::from_secs(3600));
    let store = bench.store(iam(json!({"secretRef": keys()}))).await.unwrap();
    bench.double.server().take_calls();
    bench.double.server().fail(Faults { throttled: 10, broken: 5, reset: 2, told: true, ..Faults::default() });
    for _ in 0..300 {
        // As the guard around all stores does.
        let mut tries = 0;
        while let Err(error) = fetch(&*store, "app").await {
            tries += 1;
            assert!(error.is_temporary() && tries < 10, "{error}");
        }
    }
    let calls = bench.double.server().take_calls();
    assert!(calls.len() <= 390, "{} calls", calls.len());
    assert!(calls.iter().all(|call| call.path == "/v1/secret/data/app"), "nothing but reads: one login was enough");
}

//! Stores of clouds, logged in to with the pod's own token: AWS by moto's STS, Azure and Google by doubles that vendors' own clients
//! believe. Each double lets in who shows the very token that the kubelet gave for the pod, and nobody else.

use std::sync::{Arc, Mutex};

use keyferry_doubles::gcpsm::NUMBER;
use keyferry_doubles::{Server, azurekv, gcpsm};
use keyferry_node_driver_tests::kubelet::Ask;
use keyferry_node_driver_tests::rig::{APP, LONG, Rig, STRANGER};
use keyferry_testkit::{Testbed, eventually};
use serde_json::{Value, json};

tests![
    a_role_of_aws_is_the_pods_own,
    an_application_of_azure_believes_the_pod,
    a_pool_of_google_maps_the_pod,
    a_cluster_of_google_vouches_for_the_pod,
];

const CANARY: &str = "kf-canary-58d2ac";
const ROTATED: &str = "kf-canary-rotated-0e71";

/// As whom pods' own accounts are annotated with.
const ROLE: &str = "arn:aws:iam::123456789012:role/app";
const READER: &str = "reader@p-1.iam.gserviceaccount.com";

/// A store whose login is whoever mounts, and an ExternalSecret of it, which both accounts may mount; the pods' own bears these
/// annotations.
async fn declare(rig: &Rig, provider: Value, key: &str, annotations: &[(&str, &str)]) {
    rig.apply("SecretStore", "cloud", json!({"loginBy": "Mount", "provider": provider}));
    let spec = json!({
        "refreshInterval": "1s", "secretStoreRef": {"name": "cloud"}, "target": {"creationPolicy": "None"},
        "data": [{"secretKey": "password", "remoteRef": {"key": key}}],
    });
    rig.apply("ExternalSecret", "db", spec);
    let texts: Vec<String> = annotations.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let args = ["annotate", "serviceaccount", APP].into_iter().chain(texts.iter().map(String::as_str));
    if !annotations.is_empty() {
        rig.kubectl(&args.collect::<Vec<_>>(), "");
    }
    for account in [APP, STRANGER] {
        rig.grant("db", account).await;
    }
}

/// The token of an audience that a call of the kubelet comes with.
fn token(ask: &Ask, audience: &str) -> String {
    let tokens: Value = serde_json::from_str(&ask.tokens).expect("tokens");
    tokens[audience]["token"].as_str().expect("it is given").to_owned()
}

/// A pod of the account mounts, and has a new value; one of another account, and one without a token of the audience, are told why
/// they do not.
async fn lives(rig: &Rig, ask: &Ask, audience: &str, why_not: &str, rotate: impl AsyncFnOnce()) {
    // Later it would use the login that pods of one account share.
    let lacking = rig.ask_with("lacking", APP, "db", &[""]).await;
    let refused = rig.kubelet.publish(&lacking).await.expect_err("it is refused");
    assert!(refused.message().contains("node.audiences") && refused.message().contains(audience), "{refused}");
    rig.kubelet.publish(ask).await.expect("it mounts");
    assert_eq!(rig.kubelet.read(&ask.pod, "password").as_deref(), Some(CANARY));
    rotate().await;
    eventually(LONG, || async {
        rig.kubelet.publish(ask).await.map_err(|refused| refused.to_string())?;
        let found = rig.kubelet.read(&ask.pod, "password");
        if found.as_deref() == Some(ROTATED) { Ok(()) } else { Err("the value of before".to_owned()) }
    })
    .await;
    let stranger = rig.ask_with("other", STRANGER, "db", &["", audience]).await;
    let refused = rig.kubelet.publish(&stranger).await.expect_err("it is refused");
    assert!(refused.message().contains(why_not), "{refused}");
    let told = String::from_utf8_lossy(&rig.kubelet.on_disk()).into_owned();
    for secret in [CANARY, ROTATED, &token(ask, ""), &token(ask, audience)] {
        assert!(!told.contains(secret), "a secret is on the disk or in the log");
    }
    rig.kubelet.unpublish(&ask.pod).await.expect("it ends");
    assert!(rig.kubelet.mounts().is_empty());
}

async fn a_role_of_aws_is_the_pods_own() {
    let moto = tokio::task::spawn_blocking(|| Testbed::shared().moto_url()).await.expect("a testbed");
    let shown = Arc::new(Mutex::new(Vec::new()));
    let seen = shown.clone();
    let sts = Server::before_shown(&moto, move |_, body| {
        seen.lock().expect("nobody panicked").push(String::from_utf8_lossy(body).into_owned());
    });
    let rig = Rig::within("aws", &[("AWS_ENDPOINT_URL", moto.clone()), ("AWS_STS_ENDPOINT", sts.url())]).await;
    let name = format!("{}/db", rig.namespace.name());
    put_into_moto(&moto, "CreateSecret", &name, CANARY).await;
    let auth = json!({"jwt": {"serviceAccountRef": {"name": "whoever-mounts"}}});
    let provider = json!({"aws": {"service": "SecretsManager", "region": "eu-west-1", "auth": auth}});
    declare(&rig, provider, &name, &[("eks.amazonaws.com/role-arn", ROLE)]).await;
    let audience = "sts.amazonaws.com";
    let ask = rig.ask_with("web", APP, "db", &["", audience]).await;
    let rotate = async || put_into_moto(&moto, "PutSecretValue", &name, ROTATED).await;
    lives(&rig, &ask, audience, "an IAM role must be associated", rotate).await;
    // moto believes any token: this was the pod's, and none was that for the API server.
    let shown = shown.lock().expect("nobody panicked").join("\n");
    assert_eq!(shown.matches("Action=AssumeRoleWithWebIdentity").count(), 1, "one login for all that was read");
    assert!(shown.contains(&format!("WebIdentityToken={}", token(&ask, audience))), "it is not the pod's token");
    assert!(!shown.contains(&token(&ask, "")), "that is for the API server alone");
}

/// moto takes any key; its threads stumble over each other now and then.
async fn put_into_moto(url: &str, action: &str, name: &str, value: &str) {
    let scope = "AKIAIOSFODNN7EXAMPLE/20260101/eu-west-1/secretsmanager/aws4_request";
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    eventually(LONG, || async {
        let request = http
            .post(url)
            .header("Content-Type", "application/x-amz-json-1.1")
            .header("X-Amz-Target", format!("secretsmanager.{action}"))
            .header("Authorization", format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"))
            .body(json!({"Name": name, "SecretId": name, "SecretString": value}).to_string());
        let answer = request.send().await.and_then(reqwest::Response::error_for_status);
        answer.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

async fn an_application_of_azure_believes_the_pod() {
    let double = azurekv::Double::start_plain();
    double.put("db", CANARY);
    let rig = Rig::within("azure", &[]).await;
    let url = double.server().url();
    let provider = json!({"azurekv": {
        "authType": "WorkloadIdentity", "vaultUrl": url, "environmentType": "AzureStackCloud",
        "customCloudConfig": {"activeDirectoryEndpoint": url, "keyVaultEndpoint": azurekv::RESOURCE},
        "serviceAccountRef": {"name": "whoever-mounts"},
    }});
    let annotations = [
        ("azure.workload.identity/client-id", azurekv::CLIENT),
        ("azure.workload.identity/tenant-id", azurekv::TENANT),
    ];
    declare(&rig, provider, "db", &annotations).await;
    let args = ["annotate", "serviceaccount", STRANGER];
    let texts = annotations.map(|(name, value)| format!("{name}={value}"));
    rig.kubectl(&args.into_iter().chain(texts.iter().map(String::as_str)).collect::<Vec<_>>(), "");
    let audience = "api://AzureADTokenExchange";
    let ask = rig.ask_with("web", APP, "db", &["", audience]).await;
    double.trust_token(&token(&ask, audience));
    lives(&rig, &ask, audience, "believes no such ServiceAccount", async || _ = double.put("db", ROTATED)).await;
}

/// Google's double, and a driver that takes it for Google.
async fn google(name: &str) -> (gcpsm::Double, Rig) {
    let double = gcpsm::Double::start();
    double.put("db", CANARY.as_bytes());
    let url = double.server().url();
    let apis = ["SECRETMANAGER", "STS", "IAMCREDENTIALS"];
    let names = apis.map(|api| format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}"));
    let environment: Vec<(&str, String)> = names.iter().map(|name| (name.as_str(), url.clone())).collect();
    (double, Rig::within(name, &environment).await)
}

async fn a_pool_of_google_maps_the_pod() {
    let (double, rig) = google("pool").await;
    let pool = format!("//iam.googleapis.com/projects/{NUMBER}/locations/global/workloadIdentityPools/p/providers/x");
    let account = json!({"name": "whoever-mounts", "audiences": ["google"]});
    let auth = json!({"workloadIdentityFederation": {"audience": pool, "serviceAccountRef": account}});
    declare(&rig, json!({"gcpsm": {"projectID": gcpsm::PROJECT, "auth": auth}}), "db", &[]).await;
    let ask = rig.ask_with("web", APP, "db", &["", "google"]).await;
    double.trust(&token(&ask, "google"), &pool);
    let rotate = async || _ = double.put("db", ROTATED.as_bytes());
    lives(&rig, &ask, "google", "maps its ServiceAccount", rotate).await;
}

async fn a_cluster_of_google_vouches_for_the_pod() {
    let (double, rig) = google("gke").await;
    let auth = json!({"workloadIdentity": {
        "serviceAccountRef": {"name": "whoever-mounts"},
        "clusterProjectID": "p-1", "clusterLocation": "europe-west1", "clusterName": "c-1",
    }});
    let annotation = ("iam.gke.io/gcp-service-account", READER);
    declare(&rig, json!({"gcpsm": {"projectID": gcpsm::PROJECT, "auth": auth}}), "db", &[annotation]).await;
    let audience = "p-1.svc.id.goog";
    let ask = rig.ask_with("web", APP, "db", &["", audience]).await;
    let cluster = "https://container.googleapis.com/v1/projects/p-1/locations/europe-west1/clusters/c-1";
    double.trust(&token(&ask, audience), &format!("identitynamespace:{audience}:{cluster}"));
    double.allow_acting_as(READER);
    let rotate = async || _ = double.put("db", ROTATED.as_bytes());
    lives(&rig, &ask, audience, "check that the cluster c-1", rotate).await;
    let asked = double.server().calls();
    assert!(asked.iter().any(|call| call.path.contains(READER)), "as whom the pod's own account is annotated with");
}

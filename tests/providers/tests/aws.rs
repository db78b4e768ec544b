//! The stores of AWS against moto, and the login of a ServiceAccount with a real API server's token.

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_builders::key;
use keyferry_doubles::Server;
use keyferry_provider_aws::REGISTRATION;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{Answer, BuildContext, Capabilities, ErrorKind, Key, Provider, Query, find_all};
use keyferry_provider_testkit::{Fixture, MapCredentials, suite};
use keyferry_provider_tests::{
    AWS_SECRET, Counter, Kubernetes, Moto, REGION, aws_context, aws_context_at, aws_keys as keys, aws_spec as spec,
    build_aws as build,
};
use keyferry_testkit::{Operator, Testbed};
use kube::api::{Api, PostParams};
use serde_json::json;

fn random() -> String {
    format!("{:08x}", rand::random::<u32>())
}

fn text(result: &Answer) -> &str {
    result.as_ref().unwrap().value.expose_str().unwrap()
}

/// A prefix of names in one of the services.
struct Place {
    moto: Moto,
    service: &'static str,
    prefix: String,
    /// Before moto: it counts, and fails when it is told to.
    server: Server,
}

impl Place {
    fn new(moto: Moto, service: &'static str, prefix: String) -> Self {
        Self { moto, service, prefix, server: Server::before(&Testbed::shared().moto_url()) }
    }
}

#[async_trait]
impl Fixture for Place {
    fn registered(&self) -> Capabilities {
        (REGISTRATION.capabilities)(&spec(self.service, json!({})))
    }

    fn name(&self) -> String {
        format!("aws ({})", self.service)
    }

    fn server(&self) -> Option<Server> {
        Some(self.server.clone())
    }

    /// The secret, and what a signature is made with first.
    fn credentials(&self) -> Vec<String> {
        [AWS_SECRET.to_owned(), format!("AWS4{AWS_SECRET}")].into()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let ctx = BuildContext { addresses, ..aws_context_at(url, keys(), Arc::new(())) };
        Some((REGISTRATION.build)(&spec(self.service, json!({"prefix": self.prefix})), ctx).await.unwrap())
    }

    async fn stage(&self, name: &str, version: &str) -> Option<String> {
        let name = format!("{}{name}", self.prefix);
        match self.moto {
            // moto forgets stages of one's own when another version comes. What was current is this then.
            Moto::SecretsManager => Some("AWSPREVIOUS".to_owned()),
            Moto::Ssm => {
                let number: u64 = version.parse().unwrap();
                let body = json!({"Name": name, "ParameterVersion": number, "Labels": ["stable"]});
                self.moto.call("LabelParameterVersion", &body).await;
                Some("stable".to_owned())
            }
        }
    }

    /// What AWS shows at most at once.
    fn page(&self) -> Option<usize> {
        match self.moto {
            Moto::SecretsManager => Some(100),
            Moto::Ssm => Some(50),
        }
    }

    /// As many at once as each API takes; keys need no login.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        match self.moto {
            Moto::SecretsManager => Some(keys.div_ceil(20)),
            Moto::Ssm => Some(keys.div_ceil(10)),
        }
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        Some(self.moto.put(&format!("{}{name}", self.prefix), value).await)
    }

    async fn put_tagged(&self, name: &str, value: &[u8], tags: &[(&str, &str)]) {
        let name = format!("{}{name}", self.prefix);
        self.moto.put(&name, value).await;
        self.moto.tag(&name, tags).await;
    }

    async fn delete(&self, name: &str) {
        let name = format!("{}{name}", self.prefix);
        match self.moto {
            Moto::SecretsManager => self.moto.call("DeleteSecret", &json!({ "SecretId": name })).await,
            Moto::Ssm => self.moto.call("DeleteParameter", &json!({ "Name": name })).await,
        };
    }

    /// The limits of AWS; moto takes more.
    fn largest(&self) -> usize {
        match self.moto {
            Moto::SecretsManager => 1 << 16,
            Moto::Ssm => 8 << 10,
        }
    }

    fn takes_binary(&self) -> bool {
        matches!(self.moto, Moto::SecretsManager)
    }

    /// The rules of AWS; moto takes more.
    fn takes_name(&self, name: &str) -> bool {
        let more = match self.moto {
            Moto::SecretsManager => "/_+=.@-",
            Moto::Ssm => "/_.-",
        };
        name.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    }
}

#[tokio::test]
async fn secrets_manager_behaves_as_a_store() {
    let prefix = format!("suite-{}/", random());
    suite(&Place::new(Moto::SecretsManager, "SecretsManager", prefix)).await;
}

#[tokio::test]
async fn parameter_store_behaves_as_a_store() {
    let prefix = format!("/suite-{}/", random());
    suite(&Place::new(Moto::Ssm, "ParameterStore", prefix)).await;
}

#[tokio::test]
async fn one_call_for_a_batch_and_single_calls_for_the_rest() {
    let prefix = format!("calls-{}/", random());
    for n in 0..20 {
        Moto::SecretsManager.put(&format!("{prefix}{n}"), format!("v{n}").as_bytes()).await;
    }
    let counter = Arc::new(Counter::default());
    let spec = spec("SecretsManager", json!({ "prefix": prefix }));
    let provider = (REGISTRATION.build)(&spec, aws_context(keys(), counter.clone())).await.unwrap();
    let all: Vec<_> = (0..20).map(|n| key(n.to_string())).collect();
    let results = provider.fetch(&all).await.unwrap();
    assert!(results.iter().enumerate().all(|(n, result)| text(result) == format!("v{n}")));
    assert_eq!(counter.take(), [("AWS/SecretsManager BatchGetSecretValue".to_owned(), 1)].into());

    let previous = Key { version: Some("AWSPREVIOUS".into()), ..key("0") };
    assert!(!provider.joins(&all[1..2], &previous), "a version travels alone");
    assert_eq!(provider.capabilities().max_batch, all.len(), "the batch is full");
    provider.fetch(&[previous]).await.unwrap()[0].as_ref().unwrap_err();
    provider.fetch(&[Key { metadata: true, ..key("0") }]).await.unwrap();
    // One for the metadata, and one that tells a version that is not there from a secret that is not.
    let counted =
        [("!AWS/SecretsManager GetSecretValue".to_owned(), 1), ("AWS/SecretsManager DescribeSecret".to_owned(), 2)];
    assert_eq!(counter.take(), counted.into());
}

#[tokio::test]
async fn one_secret_by_its_name_and_its_arn() {
    let name = format!("arn-{}", random());
    Moto::SecretsManager.put(&name, b"v").await;
    let described = Moto::SecretsManager.call("DescribeSecret", &json!({ "SecretId": name })).await;
    let arn = described["ARN"].as_str().unwrap();
    let partial = &arn[..arn.len() - 7];
    let provider = build(spec("SecretsManager", json!({}))).await;
    let keys = [key(&name), key(arn), key(partial), Key { version: Some("AWSCURRENT".into()), ..key(&name) }];
    let results = provider.fetch(&keys).await.unwrap();
    assert_eq!(results.iter().map(text).collect::<Vec<_>>(), ["v"; 4]);
    assert!(!provider.joins(&keys[..1], &keys[1]), "which account's would the name be?");
    assert!(provider.joins(&keys[1..2], &keys[2]) && provider.joins(&keys[..1], &keys[3]));
}

#[tokio::test]
async fn a_secret_marked_for_deletion_is_not_found() {
    let name = format!("deleted-{}", random());
    Moto::SecretsManager.put(&name, b"v").await;
    Moto::SecretsManager.call("DeleteSecret", &json!({ "SecretId": name })).await;
    let provider = build(spec("SecretsManager", json!({}))).await;
    for keys in [vec![key(&name)], vec![key(&name), key("never-was")]] {
        let results = provider.fetch(&keys).await.unwrap();
        let error = results[0].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.message().contains("marked for deletion"), "{error}");
    }
}

#[tokio::test]
async fn tags_are_the_metadata() {
    let (name, tags) = (random(), json!([{"Key": "b", "Value": "<2>"}, {"Key": "a", "Value": "1"}]));
    Moto::SecretsManager.put(&name, b"v").await;
    Moto::SecretsManager.call("TagResource", &json!({"SecretId": name, "Tags": tags})).await;
    let parameter = format!("/{name}");
    Moto::Ssm.put(&parameter, b"v").await;
    Moto::Ssm
        .call("AddTagsToResource", &json!({"ResourceType": "Parameter", "ResourceId": parameter, "Tags": tags}))
        .await;
    for (service, name) in [("SecretsManager", name), ("ParameterStore", parameter)] {
        let provider = build(spec(service, json!({}))).await;
        let metadata = |name: &str| Key { metadata: true, ..key(name) };
        let results = provider.fetch(&[metadata(&name)]).await.unwrap();
        assert_eq!(text(&results[0]), r#"{"a":"1","b":"\u003c2\u003e"}"#, "{service}");
        let missing = provider.fetch(&[metadata("/never-was")]).await.unwrap();
        // Nothing is removed for missing metadata.
        let error = missing[0].as_ref().unwrap_err();
        assert_eq!((error.kind(), error.message().contains("never-was")), (ErrorKind::Invalid, true), "{error}");
    }
}

#[tokio::test]
async fn versions_of_one_parameter_travel_apart() {
    let name = format!("/versions-{}", random());
    for value in ["one", "two", "three"] {
        Moto::Ssm.put(&name, value.as_bytes()).await;
    }
    let provider = build(spec("ParameterStore", json!({}))).await;
    let at = |version: &str| Key { version: Some(version.into()), ..key(&name) };
    let keys = [key(&name), at("1"), at("2"), key(format!("{name}:1"))];
    assert!((1..4).all(|n| !provider.joins(&keys[..1], &keys[n])));
    let results = provider.fetch(&keys).await.unwrap();
    assert_eq!(results.iter().map(text).collect::<Vec<_>>(), ["three", "one", "two", "one"]);
    let missing = provider.fetch(&[at("9")]).await.unwrap();
    assert_eq!(missing[0].as_ref().unwrap_err().kind(), ErrorKind::NoVersion);
}

#[tokio::test]
async fn roles_are_assumed_in_order() {
    let counter = Arc::new(Counter::default());
    let role = |account: &str| format!("arn:aws:iam::{account}:role/reader");
    // moto keeps accounts apart: what the last role's account lacks is not found.
    let name = format!("mine-{}", random());
    Moto::SecretsManager.put(&name, b"v").await;
    let own = "123456789012";
    for (last, found) in [("222222222222", false), (own, true)] {
        let more = json!({"additionalRoles": [role("333333333333")], "role": role(last), "externalID": "x"});
        let spec = spec("SecretsManager", more);
        let provider = (REGISTRATION.build)(&spec, aws_context(keys(), counter.clone())).await.unwrap();
        provider.validate().await.unwrap();
        for _ in 0..3 {
            let result = provider.fetch(&[key(&name)]).await.unwrap().remove(0);
            assert_eq!(result.is_ok(), found, "{last}: {result:?}");
        }
        assert_eq!(counter.take()["AWS/STS AssumeRole"], 2, "sessions are kept");
    }
}

#[tokio::test]
async fn the_role_of_a_service_account() {
    let testbed = Testbed::shared();
    let namespace = testbed.namespace("aws-login").await;
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = namespace.api();
    let account = json!({"metadata": {"name": "app", "annotations": {
        "eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/app",
    }}});
    accounts.create(&PostParams::default(), &serde_json::from_value(account).unwrap()).await.unwrap();
    let name = format!("irsa-{}", random());
    Moto::SecretsManager.put(&name, b"v").await;

    let counter = Arc::new(Counter::default());
    let credentials = async || Kubernetes {
        client: testbed.kube_client().await,
        namespace: namespace.name().to_owned(),
        map: MapCredentials::new(),
    };
    let auth = |account: &str| json!({"auth": {"jwt": {"serviceAccountRef": {"name": account}}}});
    let build = async |account: &str| {
        let ctx = aws_context(credentials().await, counter.clone());
        (REGISTRATION.build)(&spec("SecretsManager", auth(account)), ctx).await
    };
    let provider = build("app").await.unwrap();
    let result = provider.fetch(&[key(&name)]).await.unwrap().remove(0);
    assert_eq!(text(&result), "v");
    provider.validate().await.unwrap();
    assert_eq!(counter.take()["AWS/STS AssumeRoleWithWebIdentity"], 1);
    assert_eq!(provider.identity_note(), None);

    // Every namespace has this one, and nobody annotated it.
    let error = build("default").await.err().unwrap();
    assert!(error.message().contains("an IAM role must be associated"), "{error}");
    assert_eq!(build("nobody").await.err().unwrap().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn secrets_are_found_by_name_path_and_tags() {
    let root = random();
    for (moto, service, prefix) in [
        (Moto::SecretsManager, "SecretsManager", format!("find-{root}/")),
        (Moto::Ssm, "ParameterStore", format!("/find-{root}/")),
    ] {
        for (n, name) in ["app/a", "app/b", "other"].into_iter().enumerate() {
            let name = format!("{prefix}{name}");
            moto.put(&name, b"v").await;
            // The value of one tag and the key of another are not a tag.
            moto.tag(&name, &[("team", &format!("{root}-{}", n % 2)), ("x", "y")]).await;
        }
        let provider = build(spec(service, json!({}))).await;
        let found = async |query: Query| {
            let keys = find_all(&*provider, &query).await.unwrap();
            keys.into_iter().map(|key| key.name.strip_prefix(&prefix).unwrap().to_owned()).collect::<Vec<_>>()
        };
        let name = |pattern: &str| Query { name: Some(pattern.parse().unwrap()), ..Query::default() };
        let tag = |key: &str, value: String| Query { tags: [(key.to_owned(), value)].into(), ..Query::default() };
        assert_eq!(found(name(&format!("find-{root}/app"))).await, ["app/a", "app/b"], "{service}");
        let path = Some(prefix.trim_end_matches('/').to_owned());
        assert_eq!(found(Query { path, ..name("other$") }).await, ["other"], "{service}");
        assert_eq!(found(tag("team", format!("{root}-0"))).await, ["app/a", "other"], "{service}");
        assert_eq!(found(tag("x", format!("{root}-0"))).await, [""; 0], "{service}");

        let below = build(spec(service, json!({ "prefix": prefix }))).await;
        let keys = find_all(&*below, &name("^app/")).await.unwrap();
        assert_eq!(keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["app/a", "app/b"], "{service}");
        // A path and a name may be written as they are in the account, too.
        for path in ["app", &format!("{prefix}app")] {
            let query = Query { path: Some(path.to_owned()), ..name("[ab]$") };
            assert_eq!(find_all(&*below, &query).await.unwrap(), keys, "{service} {path}");
        }
        assert_eq!(find_all(&*below, &name(&format!("^{prefix}app"))).await.unwrap(), keys, "{service}");
        assert!(below.fetch(&keys).await.unwrap().iter().all(Result::is_ok), "{service}: what is found can be fetched");
    }
}

/// `keyferry sync` as somebody runs it who has logged in to AWS in the shell: the store says nothing of a login.
#[tokio::test(flavor = "multi_thread")]
async fn sync_logs_in_by_the_environment_and_passes_no_login_on() {
    let (folder, name) = (tempfile::tempdir().unwrap(), format!("sync-{}", random()));
    Moto::SecretsManager.put(&name, b"canary-value").await;
    let provider = json!({"aws": {"service": "SecretsManager", "region": REGION}});
    let store = json!({"apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": "s"}, "spec": {"provider": provider}});
    let spec = json!({"secretStoreRef": {"name": "s"}, "data": [{"secretKey": "k", "remoteRef": {"key": name}}]});
    let es = json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": "app"}, "spec": spec});
    std::fs::write(folder.path().join("m.yaml"), format!("{store}\n---\n{es}\n")).unwrap();
    let mut command = std::process::Command::new(Operator::program().unwrap());
    command.args(["sync", "-f", "m.yaml", "--to", "out", "--on-change", "env > seen"]).current_dir(folder.path());
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", folder.path());
    command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", AWS_SECRET);
    command.env("AWS_ENDPOINT_URL", Testbed::shared().moto_url()).env("AWS_EC2_METADATA_DISABLED", "true");
    let output = command.output().unwrap();
    let told = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(output.status.success() && !told.contains(AWS_SECRET) && !told.contains("canary"), "{told}");
    assert_eq!(std::fs::read_to_string(folder.path().join("out/app/k")).unwrap(), "canary-value");
    let seen = std::fs::read_to_string(folder.path().join("seen")).unwrap();
    assert!(seen.contains("AWS_ENDPOINT_URL=") && !seen.contains(AWS_SECRET) && !seen.contains("AKIA"), "{seen}");
}

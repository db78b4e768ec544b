//! Encrypted documents against the tools that made them what they are: `age` and `sops`, with keys of age and SSH, of moto's KMS and of
//! OpenBao's transit engine, and of doubles of Google's and Azure's services.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use keyferry_documents::{Recipients, seal, values};
use keyferry_doubles::{Proxy, azurekv, gcpsm};
use keyferry_provider_age::SOPS;
use keyferry_provider_core::{BuildContext, Caller, Environment, ErrorKind, Provider};
use keyferry_provider_testkit::MapCredentials;
use keyferry_provider_tests::desk::{AGE, CANARY, Desk, YAML, read, services, store, text};
use keyferry_provider_tests::{Counter, REGION, aws_context, aws_keys, aws_spec, kms};
use keyferry_testkit::Testbed;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn files_of_age_open_here_and_ours_open_there() {
    let desk = Desk::new();
    let plain = desk.write("plain.yaml", format!("password: {CANARY}\n"));
    let plain = plain.to_str().unwrap();
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(desk.path("ssh.key"))
        .stdin(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let one = desk.recipients[0].clone();
    let ssh = std::fs::read_to_string(desk.path("ssh.key.pub")).unwrap();
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "3072", "-N", "", "-f"])
        .arg(desk.path("rsa.key"))
        .stdin(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let rsa = std::fs::read_to_string(desk.path("rsa.key.pub")).unwrap();
    let for_rsa = text(desk.run(&AGE, ["-a", "-r", rsa.trim(), plain]));
    let for_one = text(desk.run(&AGE, ["-a", "-r", &one, plain]));
    let for_ssh = text(desk.run(&AGE, ["-a", "-r", ssh.trim(), plain]));
    let several = desk.write("several.yaml", format!("a: 1\n---\npassword: {CANARY}\n"));
    let of_several = text(desk.run(&AGE, ["-a", "-r", &one, several.to_str().unwrap()]));
    let for_both = text(desk.run(&AGE, ["-a", "-r", &desk.recipients[1], "-r", &one, plain]));
    let spec = json!({"documents": [
        {"name": "one.yaml", "inline": for_one},
        {"name": "ssh.yaml", "inline": for_ssh},
        {"name": "rsa.yaml", "inline": for_rsa},
        {"name": "both.yaml", "inline": for_both},
        {"name": "several.yaml", "inline": of_several},
    ]});
    let store = store(&desk, &["one.key", "ssh.key", "rsa.key"], spec, &Arc::default()).await;
    for name in ["one.yaml", "ssh.yaml", "rsa.yaml", "both.yaml"] {
        assert_eq!(read(&*store, name).await, Ok(format!(r#"{{"password":"{CANARY}"}}"#)), "{name}");
    }
    assert_eq!(read(&*store, "several.yaml").await, Ok(format!(r#"[{{"a":1}},{{"password":"{CANARY}"}}]"#)));
    for (recipient, key) in [(one.as_str(), "one.key"), (&ssh, "ssh.key"), (&rsa, "rsa.key")] {
        let mut recipients = Recipients::default();
        recipients.add(recipient).unwrap();
        for armored in [false, true] {
            let ours = desk.write("ours.age", seal(&CANARY.into(), &recipients, armored).unwrap());
            let opened = desk.run(&AGE, ["-d", "-i", desk.path(key).to_str().unwrap(), ours.to_str().unwrap()]);
            assert!(opened == CANARY.as_bytes(), "{key}");
        }
        // A value of one line is a file of age in base64.
        let line = values::seal_value(&CANARY.into(), &recipients).unwrap();
        let encoded = desk.write("line", line.strip_prefix("age:").unwrap());
        let script = format!("base64 -d {} | {} -d -i {}", encoded.display(), AGE.display(), desk.path(key).display());
        assert!(desk.run(Path::new("sh"), ["-c", &script]) == CANARY.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_sops_open_with_keys_of_age() {
    let desk = Desk::new();
    let rule = format!("age: {}", desk.recipients[0]);
    let yaml = r#"{"db":{"list":["a",true],"none":null,"password":"canary-e03d77","port":5432,"ratio":2.5,"user":"app"},"plain_unencrypted":15}"#;
    let cases = [
        ("a.yaml", YAML, yaml),
        (
            "a.json",
            r#"{"b": {"c": "canary-e03d77", "d": 1.50, "e": 7}, "a": [null, false]}"#,
            r#"{"a":[null,false],"b":{"c":"canary-e03d77","d":1.5,"e":7}}"#,
        ),
        (
            "a.env",
            "# why\nUSER=app\nPASSWORD=canary-e03d77\nLINES=a\\nb\n",
            r#"{"LINES":"a\nb","PASSWORD":"canary-e03d77","USER":"app"}"#,
        ),
        (
            "a.ini",
            "[db]\nuser = app\npassword = canary-e03d77\n",
            r#"{"db":{"password":"canary-e03d77","user":"app"}}"#,
        ),
        ("a.pem", "canary-e03d77\n", "canary-e03d77\n"),
        (
            "several.yaml",
            "# one\na: canary-e03d77\n---\n# nothing\n---\nb: [x, 7]\n---\n",
            r#"[{"a":"canary-e03d77"},{"b":["x",7]}]"#,
        ),
    ];
    let mut documents = Vec::new();
    for (name, plain, _) in &cases {
        desk.write(name, plain);
        documents.push(json!({"name": name, "inline": desk.sops(name, &rule)}));
    }
    desk.write("rule.yaml", YAML);
    let rule = format!("{rule}\n    encrypted_regex: ^(password|list)$\n    mac_only_encrypted: true");
    documents.push(json!({"name": "rule.yaml", "inline": desk.sops("rule.yaml", &rule)}));
    let store = store(&desk, &["one.key"], json!({"kind": "sops", "documents": documents}), &Arc::default()).await;
    store.validate().await.unwrap();
    for (name, _, expected) in cases.iter().chain([&("rule.yaml", YAML, yaml)]) {
        assert_eq!(read(&*store, name).await.as_deref(), Ok(*expected), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn key_groups_open_when_as_many_as_must_do() {
    let desk = Desk::new();
    desk.write("a.yaml", YAML);
    let [one, two] = &desk.recipients;
    let groups = format!("shamir_threshold: 2\n    key_groups:\n      - age: [{one}]\n      - age: [{two}]");
    let spec = json!({"kind": "sops", "documents": [{"name": "a.yaml", "inline": desk.sops("a.yaml", &groups)}]});
    let both = store(&desk, &["one.key", "two.key"], spec.clone(), &Arc::default()).await;
    assert!(read(&*both, "a.yaml").await.unwrap().contains(CANARY));
    let short = store(&desk, &["two.key"], spec, &Arc::default()).await;
    let error = read(&*short, "a.yaml").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let says = format!(
        "document \"a.yaml\": 1 of its 2 key groups open, and 2 must: recipient {one}: no identity of the store belongs to it"
    );
    assert_eq!(error.message(), says);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_sops_open_with_a_key_of_kms() {
    let (desk, counter) = (Desk::new(), Arc::new(Counter::default()));
    let arn = kms("CreateKey", &json!({})).await["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    desk.write("a.yaml", YAML);
    let document = desk.sops("a.yaml", &format!("kms: {arn}\n    aws_encryption_context: {{}}"));
    let mut aws = aws_spec("", json!({}));
    aws.as_object_mut().unwrap().remove("service");
    let gone = document.replace(&arn, &format!("arn:aws:kms:{REGION}:123456789012:key/none"));
    let strange = document.replace(&arn, "arn:aws:kms:x.evil.example/:1:key/none");
    let spec = json!({"kind": "sops", "aws": aws, "documents": [
        {"name": "a.yaml", "inline": document},
        {"name": "gone.yaml", "inline": gone},
        {"name": "strange.yaml", "inline": strange},
    ]});
    let with = store(&desk, &[], spec.clone(), &counter).await;
    assert!(read(&*with, "a.yaml").await.unwrap().contains(CANARY));
    assert_eq!(counter.take(), [("AWS/KMS Decrypt".to_owned(), 1)].into());
    let error = read(&*with, "gone.yaml").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.message().contains("does not decrypt with"), "{error}");
    counter.take();
    let error = read(&*with, "strange.yaml").await.unwrap_err();
    assert!(error.message().contains("is not the ARN of a key of KMS"), "{error}");
    assert!(counter.take().is_empty(), "nobody was asked");
    let without = json!({"kind": "sops", "documents": spec["documents"]});
    let without = store(&desk, &["one.key"], without, &counter).await;
    let error = read(&*without, "a.yaml").await.unwrap_err();
    assert!(error.message().contains("set spec.provider.sops.aws"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_sops_open_with_a_key_of_a_transit_engine() {
    let (desk, testbed, counter) = (Desk::new(), Testbed::shared(), Arc::new(Counter::default()));
    let (vault, engine) = (testbed.vault(), format!("documents-{:08x}", rand::random::<u32>()));
    vault.mount(&engine, "transit", json!({})).await.unwrap();
    vault.request(reqwest::Method::POST, &format!("{engine}/keys/sops"), Some(&json!({}))).await.unwrap();
    desk.write("a.yaml", YAML);
    let uri = format!("{}/v1/{engine}/keys/sops", testbed.vault_url());
    let document = desk.sops("a.yaml", &format!("hc_vault_transit_uri: {uri}"));
    let other = document.replace(&format!("engine_path: {engine}"), "engine_path: secret/data");
    let spec = |path: &str| {
        let vault = json!({"server": testbed.vault_url(), "path": path,
            "auth": {"tokenSecretRef": {"name": "vault", "key": "token"}}});
        json!({"kind": "sops", "vault": vault, "documents": [
            {"name": "a.yaml", "inline": document}, {"name": "other.yaml", "inline": other},
            {"name": "none.yaml", "inline": document.replace("key_name: sops", "key_name: none")},
        ]})
    };
    let with = store(&desk, &[], spec(&engine), &counter).await;
    counter.take();
    assert!(read(&*with, "a.yaml").await.unwrap().contains(CANARY));
    assert_eq!(counter.take().values().sum::<usize>(), 1);
    let error = read(&*with, "other.yaml").await.unwrap_err();
    assert!(error.message().contains("of another engine") && counter.take().is_empty(), "{error}");
    let error = read(&*with, "none.yaml").await.unwrap_err();
    assert!(error.message().contains("does not decrypt with"), "{error}");
    // A policy that does not allow it.
    let token = vault.create_token(&["default"]).await.unwrap();
    let credentials = aws_keys().with("vault/token", token);
    let ctx = BuildContext { key_services: services, ..aws_context(credentials, counter) };
    let mut spec = spec(&engine);
    spec.as_object_mut().unwrap().remove("kind");
    let denied = (SOPS.build)(&spec, ctx).await.unwrap();
    let error = read(&*denied, "a.yaml").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.message().contains(&format!("does not let us use {engine}/decrypt/sops")), "{error}");
}

/// A store of documents whose keys a double has: with what logs in there, and where its Google is.
async fn store_of_double(
    mut spec: Value,
    credentials: MapCredentials,
    google: Option<String>,
    counter: &Arc<Counter>,
) -> Arc<dyn Provider> {
    let environment: Environment =
        Arc::new(move |name| google.clone().filter(|_| name.starts_with("CLOUDSDK_API_ENDPOINT_OVERRIDES_")));
    let ctx = aws_context(credentials, counter.clone());
    let caller = Caller { store_kind: "ClusterSecretStore", store: "sops".into(), namespace: Some("ns".into()) };
    let ctx = BuildContext { key_services: services, environment, caller, ..ctx }.trusted();
    spec.as_object_mut().unwrap().remove("kind");
    (SOPS.build)(&spec, ctx).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_sops_open_with_a_key_of_google() {
    let (desk, counter, double) = (Desk::new(), Arc::new(Counter::default()), gcpsm::Double::start());
    let (key, url) = ("projects/p-1/locations/global/keyRings/r/cryptoKeys/sops", double.server().url());
    double.make_key(key);
    desk.write("a.yaml", YAML);
    let environment = [
        ("SOPS_GCP_KMS_ENDPOINT", url.as_str()),
        ("SOPS_GCP_KMS_CLIENT_TYPE", "rest"),
        ("GOOGLE_CREDENTIALS", &double.key()),
    ];
    let document = desk.sops_in(&environment, "a.yaml", &format!("gcp_kms: {key}"));
    let gone = document.replace("cryptoKeys/sops", "cryptoKeys/none");
    let strange = document.replace("cryptoKeys/sops", "cryptoKeys/sops:encrypt");
    let auth = json!({"secretRef": {"secretAccessKeySecretRef": {"name": "google", "key": "key.json"}}});
    let spec = json!({"kind": "sops", "gcpsm": {"auth": auth}, "documents": [
        {"name": "a.yaml", "inline": document},
        {"name": "gone.yaml", "inline": gone},
        {"name": "strange.yaml", "inline": strange},
    ]});
    let credentials = MapCredentials::new().with("google/key.json", double.key());
    let with = store_of_double(spec, credentials, Some(url.clone()), &counter).await;
    counter.take();
    assert!(read(&*with, "a.yaml").await.unwrap().contains(CANARY));
    assert_eq!(counter.take(), [("GCP/KMS Decrypt".to_owned(), 1)].into());
    for (name, says) in
        [("gone.yaml", "does not decrypt with"), ("strange.yaml", "is not the resource name of a key of Google")]
    {
        let error = read(&*with, name).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Denied && error.message().contains(says), "{error}");
    }
    assert_eq!(counter.take(), [("GCP/KMS Decrypt".to_owned(), 1)].into(), "what is no key is not asked for");
    with.validate().await.unwrap();
    double.damage_keys();
    let error = read(&*with, "a.yaml").await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.message().contains("damaged on its way"), "{error}");
    double.deny_keys("decrypt");
    let error = read(&*with, "a.yaml").await.unwrap_err();
    assert!(error.message().contains("cloudkms.cryptoKeyVersions.useToDecrypt"), "{error}");
    let without = json!({"kind": "sops", "documents": [{"name": "a.yaml", "inline": document}]});
    let without = store(&desk, &["one.key"], without, &counter).await;
    let error = read(&*without, "a.yaml").await.unwrap_err();
    assert!(error.message().contains("set spec.provider.sops.gcpsm"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_sops_open_with_a_key_of_azure() {
    let (desk, counter, double) = (Desk::new(), Arc::new(Counter::default()), azurekv::Double::start());
    let plain = azurekv::Double::start_plain();
    let (proxy, vault) = (Proxy::start(), "https://keyferry.vault.double");
    // The tool asks whom the file names; only the proxy knows where that is.
    proxy.leads("keyferry.vault.double:443", &double.server().url());
    let version = double.make_key("sops");
    desk.write("a.yaml", YAML);
    let ca = desk.write("ca.pem", double.server().authority().pem());
    let logins = format!("{}/msi/token", double.server().url());
    let environment = [
        ("HTTPS_PROXY", proxy.url()),
        ("NO_PROXY", "127.0.0.1".to_owned()),
        ("SSL_CERT_FILE", ca.to_str().unwrap().to_owned()),
        ("IDENTITY_ENDPOINT", logins),
        ("IDENTITY_HEADER", "canary-of-the-header".to_owned()),
        ("AZURE_TOKEN_CREDENTIALS", "managedidentitycredential".to_owned()),
    ];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let rule = format!("azure_keyvault: {vault}/keys/sops/{version}");
    let document = desk.sops_in(&environment, "a.yaml", &rule);
    assert!(document.contains(&format!("vault_url: {vault}")) && document.contains(&version));
    // Ours trusts no CA of tests: it asks the same vault by plain HTTP, which the file names instead.
    plain.take_keys(&double);
    let here = document.replace(vault, &plain.server().url());
    let azure = json!({
        "vaultUrl": plain.server().url(),
        "tenantId": azurekv::TENANT,
        "environmentType": "AzureStackCloud",
        "customCloudConfig":
            {"activeDirectoryEndpoint": plain.server().url(), "keyVaultEndpoint": azurekv::RESOURCE},
        "authSecretRef":
            {"clientId": {"name": "azure", "key": "id"}, "clientSecret": {"name": "azure", "key": "secret"}},
    });
    let spec = json!({"kind": "sops", "azurekv": azure, "documents": [
        {"name": "a.yaml", "inline": here},
        {"name": "elsewhere.yaml", "inline": document},
        {"name": "gone.yaml", "inline": here.replace("name: sops", "name: none")},
        {"name": "strange.yaml", "inline": here.replace("name: sops", "name: sops/x/../../../secrets")},
    ]});
    let credentials = MapCredentials::new().with("azure/id", azurekv::CLIENT).with("azure/secret", azurekv::SECRET);
    let with = store_of_double(spec, credentials, None, &counter).await;
    counter.take();
    assert!(read(&*with, "a.yaml").await.unwrap().contains(CANARY));
    assert_eq!(counter.take(), [("Azure/KeyVault Decrypt".to_owned(), 1)].into());
    for (name, says, calls) in [
        ("elsewhere.yaml", "is of another vault", 0),
        ("strange.yaml", "is not the URL of a key", 0),
        ("gone.yaml", "does not decrypt with keys/none", 1),
    ] {
        let error = read(&*with, name).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Denied && error.message().contains(says), "{error}");
        assert_eq!(counter.take().values().sum::<usize>(), calls, "{name}");
    }
    with.validate().await.unwrap();
    plain.deny("keys/decrypt");
    let error = read(&*with, "a.yaml").await.unwrap_err();
    assert!(error.message().contains("Key Vault Crypto User"), "{error}");
}

/// What a build without the feature says; with it, `pgp.rs` runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_sops_for_a_key_of_pgp_names_the_feature() {
    let desk = Desk::new();
    desk.write("a.yaml", YAML);
    let document = desk.sops("a.yaml", &format!("age: {}", desk.recipients[0]));
    let begin = document.find("    age:\n").unwrap();
    let end = document[begin..].find("    lastmodified:").unwrap() + begin;
    let of_pgp = "    pgp:\n        - fp: FBC7B9E2A4F9289AC0C1D4843D16CEE4A27381B4\n          enc: |\n            x\n";
    let document = [&document[..begin], of_pgp, &document[end..]].concat();
    let spec = json!({"kind": "sops", "documents": [{"name": "a.yaml", "inline": document}]});
    let error = read(&*store(&desk, &["one.key"], spec, &Arc::default()).await, "a.yaml").await.unwrap_err();
    let says = "PGP key FBC7B9E2A4F9289AC0C1D4843D16CEE4A27381B4: this build of keyferry takes no keys of PGP";
    assert!(error.message().contains(says) && error.message().contains("cargo feature pgp"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_sops_that_was_changed_or_cut_off_gives_nothing() {
    let desk = Desk::new();
    desk.write("a.yaml", YAML);
    let document = desk.sops("a.yaml", &format!("age: {}", desk.recipients[0]));
    let changed = document.replace("plain_unencrypted: 15", "plain_unencrypted: 16");
    assert_ne!(changed, document);
    let spec = json!({"kind": "sops", "documents": [
        {"name": "changed.yaml", "inline": changed},
        {"name": "cut.yaml", "inline": &document[..document.len() / 2]},
        {"name": "plain.yaml", "inline": YAML},
    ]});
    let store = store(&desk, &["one.key"], spec, &Arc::default()).await;
    for (name, says) in [
        ("changed.yaml", "its message authentication code does not match"),
        ("cut.yaml", "document \"cut.yaml\": it"),
        ("plain.yaml", "it is not encrypted by SOPS"),
    ] {
        let error = read(&*store, name).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Malformed && error.message().contains(says), "{name}: {error}");
    }
}

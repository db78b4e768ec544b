//! Taking over from External Secrets Operator: `cargo test -p keyferry-switch-tests`.
//!
//! Every situation that it leaves behind, and others made from them, are laid down on an API server; then keyferry
//! starts. Until the first refresh is due it must write no Secret and ask no store.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use keyferry_bench::api::Requests;
use keyferry_switch_tests::{Laid, Situation, eso_crds, lay, managers, situations};
use keyferry_sync::hash;
use keyferry_testkit::{Operator, Testbed};
use kube::Client;
use libtest_mimic::{Arguments, Trial};
use serde_json::{Value, json};

/// Long enough for everything that happens at a start to have happened.
const A_WHILE: Duration = Duration::from_secs(8);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each counts the requests of a control plane of its own.
    arguments.test_threads = Some(1);
    let trial = |name: &str, crds: fn() -> Vec<CustomResourceDefinition>| {
        Trial::test(name, move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
            runtime.block_on(takes_over(crds()));
            Ok(())
        })
    };
    let back = Trial::test("and_back", || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(leaves_what_it_would_find());
        Ok(())
    });
    let trials = vec![
        trial("under_our_schema", keyferry_crds::crds),
        trial("under_a_schema_without_our_additions", eso_crds),
        back,
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn recorded() -> Vec<Situation> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    situations(&here.join("situations"))
}

async fn namespace(client: &Client, name: &str) {
    let all: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a namespace");
    match all.create(&kube::api::PostParams::default(), &namespace).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => panic!("namespace {name}: {error}"),
    }
}

async fn testbed(crds: Vec<CustomResourceDefinition>) -> Testbed {
    let dir = tempfile::tempdir().expect("a folder");
    let manifests: Vec<String> = crds
        .iter()
        .map(|crd| {
            let file = dir.path().join(keyferry_crds::file_name(crd));
            std::fs::write(&file, keyferry_crds::yaml(crd)).expect("written");
            format!("--manifest={}", file.display())
        })
        .collect();
    let start = move || Testbed::private(&manifests.iter().map(String::as_str).collect::<Vec<_>>()).expect("a testbed");
    tokio::task::spawn_blocking(start).await.expect("it does not panic")
}

fn operator(testbed: &Testbed) -> Operator {
    let kubeconfig = testbed.operator_kubeconfig().expect("the chart's rights");
    Operator::builder()
        .arg("run")
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .args(["--metrics-addr=127.0.0.1:0", "--live-addr=127.0.0.1:0", "--enable-leader-election=false"])
        .spawn()
        .expect("it starts")
}

async fn takes_over(crds: Vec<CustomResourceDefinition>) {
    let testbed = testbed(crds).await;
    let client = testbed.kube_client().await;

    #[expect(clippy::disallowed_methods, reason = "the clock of the test is that of the operator")]
    let now = Timestamp::now();
    let recorded = recorded();
    let mut all: Vec<Situation> =
        recorded.iter().map(|situation| situation.moved(&situation.namespace, now, SignedDuration::ZERO)).collect();
    all.extend(recorded.iter().flat_map(|situation| situation.variants(now)));
    assert!(all.len() >= recorded.len() + 50, "{} situations", all.len());
    let mut laid: Vec<Laid> = Vec::new();
    for situation in &mut all {
        namespace(&client, &situation.namespace).await;
        // Whoever asked the store again would get other values, and write them.
        for entry in situation.store["spec"]["provider"]["fake"]["data"].as_array_mut().into_iter().flatten() {
            entry["value"] = json!("ASKED ANEW");
        }
        laid.extend(lay(&client, situation).await);
    }
    for object in &laid {
        let [then, now] = &object.managers;
        assert_eq!(then, now, "{}: it is laid down as it was recorded", object.name);
    }

    let before = Requests::read(&client).await.expect("counters");
    let mut operator = operator(&testbed);
    tokio::time::sleep(A_WHILE).await;
    assert!(operator.exited().expect("it runs").is_none(), "{}", operator.log().unwrap_or_default());
    let requests = Requests::read(&client).await.expect("counters").since(&before);
    let mut asked = requests.about("secrets");
    for read in ["GET", "LIST", "WATCH"] {
        asked.remove(read);
    }
    assert!(asked.is_empty(), "writes of Secrets: {asked:?}");
    for object in &laid {
        let api = keyferry_switch_tests::api(&client, &object.object);
        let after = api.get(object.object["metadata"]["name"].as_str().unwrap()).await.expect("it is there still");
        let after = serde_json::to_value(after).expect("plain data");
        let unchanged = after["metadata"]["resourceVersion"] == object.object["metadata"]["resourceVersion"];
        // Conditions of stores, and of who is due at once, may say more than before.
        let may_change = object.name.starts_with("SecretStore") || after["status"]["refreshTime"].is_null();
        assert!(unchanged || may_change, "{} changed:\n{}\n{}", object.name, object.object, after);
    }

    // It is not that nobody looked: who is asked to refreshes.
    let due = &all[recorded.iter().position(|situation| situation.name() == "owner").expect("it is among them")];
    let annotation = json!({"metadata": {"annotations": {"force-sync": "now"}}});
    let es = keyferry_switch_tests::api(&client, &due.es);
    es.patch(due.name(), &kube::api::PatchParams::default(), &kube::api::Patch::Merge(annotation))
        .await
        .expect("taken");
    let secrets = keyferry_switch_tests::api(&client, due.secret.as_ref().expect("it has one"));
    for _ in 0..900 {
        let secret = secrets.get(due.name()).await.expect("it is there");
        if secret.data["data"]["a"] == json!("QVNLRUQgQU5FVw==") {
            operator.terminate(Duration::from_secs(60)).expect("it ends");
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("a forced sync does nothing:\n{}", operator.log().unwrap_or_default());
}

/// Going back: what keyferry makes from nothing is what External Secrets Operator makes, so that it finds its own.
async fn leaves_what_it_would_find() {
    let testbed = testbed(eso_crds()).await;
    let client = testbed.kube_client().await;
    let recorded = recorded();
    for situation in &recorded {
        let begun = situation.begun(situation.name());
        namespace(&client, &begun.namespace).await;
        lay(&client, &begun).await;
    }
    let mut operator = operator(&testbed);
    let mut compared = 0;
    for situation in &recorded {
        let begun = situation.begun(situation.name());
        let es = keyferry_switch_tests::api(&client, &begun.es);
        let verdict = |object: &Value| {
            let conditions = object["status"]["conditions"].as_array();
            conditions.and_then(|all| all.first()).map(|ready| [ready["status"].clone(), ready["reason"].clone()])
        };
        let mut tries = 0;
        let es = loop {
            let object = es.get(situation.name()).await.expect("it is there");
            let object = serde_json::to_value(object).expect("plain data");
            if verdict(&object) == verdict(&situation.es) {
                break object;
            }
            tries += 1;
            assert!(tries < 900, "{}: {}", situation.name(), object["status"]);
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let at = situation.name();
        assert_eq!(es["status"]["binding"], situation.es["status"]["binding"], "{at}");
        assert_eq!(es["status"]["refreshTime"].is_null(), situation.failed(), "{at}");
        // The generation counts how often the spec was changed.
        let hash = |object: &Value| {
            let version = object["status"]["syncedResourceVersion"].as_str().unwrap_or_default();
            version.split_once('-').map(|(_, hash)| hash.to_owned())
        };
        assert_eq!(hash(&es), hash(&situation.es), "{at}");
        // It looks after none that it has not put its own finalizer on; that one it puts there itself.
        let finalizers = es["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let known = situation.es["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        assert!(finalizers.iter().all(|finalizer| known.contains(finalizer)), "{at}: {finalizers:?}");

        let Some(wanted) = &situation.secret else { continue };
        let mut named = wanted.clone();
        named["metadata"]["namespace"] = json!(begun.namespace);
        let secrets = keyferry_switch_tests::api(&client, &named);
        let made = secrets.get(named["metadata"]["name"].as_str().expect("a name")).await.expect("it was made");
        let made = serde_json::to_value(made).expect("plain data");
        assert_eq!(parts(&made, &begun.namespace), parts(wanted, &begun.namespace), "{at}");
        let manager = (hash::field_manager(at), String::new());
        assert_eq!(managers(&made).get(&manager), managers(wanted).get(&manager), "{at}");
        compared += usize::from(managers(&made).contains_key(&manager));
    }
    assert!(compared >= 9, "{compared} Secrets were compared");
    operator.terminate(Duration::from_secs(60)).expect("it ends");
}

/// What an operator judges a Secret by, as it would be in this namespace.
fn parts(secret: &Value, namespace: &str) -> Value {
    let mut owners = secret["metadata"]["ownerReferences"].clone();
    for owner in owners.as_array_mut().into_iter().flatten() {
        owner["uid"] = json!("its own");
    }
    let mut labels = secret["metadata"]["labels"].clone();
    let label = "reconcile.external-secrets.io/created-by";
    if let Some(created_by) = labels.get_mut(label) {
        let name = secret["metadata"]["ownerReferences"][0]["name"].as_str().expect("an owner");
        let of = |namespace: &str| json!(hash::created_by(namespace, name));
        assert!([of(namespace), of("switch")].contains(created_by), "{created_by}");
        *created_by = json!("of its owner");
    }
    json!({
        "data": secret["data"], "type": secret["type"], "immutable": secret["immutable"], "labels": labels,
        "annotations": secret["metadata"]["annotations"], "owners": owners,
        "finalizers": secret["metadata"]["finalizers"],
    })
}

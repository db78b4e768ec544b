//! What PushSecrets promise: a change goes out at once, nothing is written twice, and what goes is what was made here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use futures::stream::{self, StreamExt as _};
use keyferry_behaviour_tests::operator::series;
use keyferry_behaviour_tests::{Operator, Rig};
use keyferry_doubles::Server;
use keyferry_seed::Seed;
use kube::api::{Patch, PatchParams};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::Method;
use serde_json::{Value, json};

tests![
    a_change_is_pushed_at_once_and_what_is_equal_is_not_written,
    what_is_not_wanted_any_more_goes_and_nothing_else,
    a_store_that_is_down_keeps_no_other_from_it,
    sources_come_and_go_by_their_labels,
    a_source_that_goes_takes_along_what_it_made,
    an_empty_selector_is_refused,
    a_generated_value_outlives_labels_restarts_and_a_lost_status,
    kill_9_at_any_moment_leaves_nothing_unrecorded,
    many_pushes_share_what_checking_asks_for,
];

/// A SecretStore over the namespace's own folder in OpenBao, with a token that may write there.
async fn store(rig: &Rig, name: &str) {
    store_at(rig, name, &rig.testbed.vault_url()).await;
}

/// The same, where OpenBao answers at another URL.
pub async fn store_at(rig: &Rig, name: &str, url: &str) {
    let folder = rig.namespace();
    let policy = format!("{folder}-push");
    let all = "[\"create\", \"read\", \"update\", \"patch\", \"delete\", \"list\"]";
    let rules = format!(
        "path \"secret/data/{folder}/*\" {{ capabilities = {all} }}
         path \"secret/metadata/{folder}/*\" {{ capabilities = {all} }}
         path \"auth/token/lookup-self\" {{ capabilities = [\"read\"] }}"
    );
    rig.vault.write_policy(&policy, rules).await.expect("OpenBao takes a policy");
    let token = rig.vault.create_token(&[&policy]).await.expect("OpenBao makes a token");
    rig.canaries.add("the token of OpenBao", &token);
    let secret = format!("{name}-token");
    rig.secret(&secret, json!({ "token": token })).await;
    let mut vault = rig.vault_spec(&secret);
    vault["server"] = url.into();
    rig.apply("SecretStore", name, json!({ "spec": {"provider": {"vault": vault}} })).await;
}

/// What goes from these keys of a Secret into the secret `remote`, each as the property of its name.
pub fn data(rig: &Rig, remote: &str, keys: &[&str]) -> Value {
    let entry =
        |key: &&str| json!({"match": {"secretKey": key, "remoteRef": {"remoteKey": rig.key(remote), "property": key}}});
    keys.iter().map(entry).collect()
}

/// A PushSecret of the Secret `src` into the store `s`, with `spec` besides.
pub async fn push(rig: &Rig, name: &str, spec: Value) {
    let mut whole = json!({
        "refreshInterval": "1h", "secretStoreRefs": [{"name": "s"}], "selector": {"secret": {"name": "src"}},
    });
    for (field, value) in spec.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    rig.apply("PushSecret", name, json!({ "spec": whole })).await;
}

pub async fn held(rig: &Rig, remote: &str) -> Option<Value> {
    rig.vault.get(&rig.key(remote)).await.expect("OpenBao answers")
}

#[track_caller]
pub fn until_held(rig: &Rig, remote: &str, wanted: Option<Value>) -> impl Future<Output = ()> {
    rig.until(format!("{remote} holds what it should"), async move |rig: &Rig| match held(rig, remote).await {
        found if found == wanted => Ok(()),
        // A value must not be told.
        found => Err(anyhow!("it does not: there is {}", if found.is_some() { "another" } else { "none" })),
    })
}

#[track_caller]
pub fn until_synced(rig: &Rig, name: &str) -> impl Future<Output = ()> {
    let synced = rig.until_ready("PushSecret", name, "True", "Synced", &["PushSecret synced successfully"]);
    async move { drop(synced.await) }
}

/// The version of a secret, which counts its writes.
pub async fn version(rig: &Rig, remote: &str) -> Value {
    let path = format!("secret/metadata/{}", rig.key(remote));
    let answer = rig.vault.request(Method::GET, &path, None).await.expect("OpenBao answers");
    answer["data"]["current_version"].clone()
}

async fn a_change_is_pushed_at_once_and_what_is_equal_is_not_written() {
    let rig = Rig::new("push").await;
    store(&rig, "s").await;
    let (first, second) = (rig.canaries.value("first"), rig.canaries.value("second"));
    rig.secret("src", json!({"user": first})).await;
    push(&rig, "slow", json!({"data": data(&rig, "app", &["user"])})).await;
    push(&rig, "quick", json!({"refreshInterval": "1s", "data": data(&rig, "checked", &["user"])})).await;
    until_held(&rig, "app", Some(json!({"user": first}))).await;
    until_held(&rig, "checked", Some(json!({"user": first}))).await;
    until_synced(&rig, "slow").await;
    until_synced(&rig, "quick").await;
    // An hour early.
    rig.secret("src", json!({"user": second})).await;
    until_held(&rig, "app", Some(json!({"user": second}))).await;
    until_held(&rig, "checked", Some(json!({"user": second}))).await;
    rig.stays("nothing is written that is equal", Duration::from_secs(5), async |rig: &Rig| {
        match (version(rig, "app").await, version(rig, "checked").await) {
            (slow, quick) if slow == 2 && quick == 2 => Ok(()),
            versions => bail!("{versions:?}"),
        }
    })
    .await;
    let events = rig.events("slow").await;
    assert!(!events.is_empty(), "it was told");
    for event in events {
        assert_eq!((&event["source"]["component"], &event["reason"]), (&json!("pushsecret"), &json!("Synced")));
        assert_eq!(event["involvedObject"]["kind"], "PushSecret");
    }
    // What somebody changes in the store is mended at the next check.
    rig.put("checked", json!({"user": "edited"})).await;
    until_held(&rig, "checked", Some(json!({"user": second}))).await;
    rig.finish().await;
}

async fn what_is_not_wanted_any_more_goes_and_nothing_else() {
    let rig = Rig::new("push-delete").await;
    store(&rig, "s").await;
    let value = rig.canaries.value("value");
    rig.secret("src", json!({"a": value, "b": value})).await;
    rig.put("theirs", json!({"a": "x"})).await;
    push(&rig, "p", json!({"deletionPolicy": "Delete", "data": data(&rig, "app", &["a", "b"])})).await;
    until_held(&rig, "app", Some(json!({"a": value, "b": value}))).await;
    until_synced(&rig, "p").await;
    push(&rig, "p", json!({"deletionPolicy": "Delete", "data": data(&rig, "app", &["a"])})).await;
    until_held(&rig, "app", Some(json!({"a": value}))).await;
    // A secret of somebody else is neither written nor deleted.
    push(&rig, "other", json!({"deletionPolicy": "Delete", "data": data(&rig, "theirs", &["a"])})).await;
    rig.until_ready("PushSecret", "other", "False", "Errored", &["set secret failed", "remote ref a", "theirs/a"])
        .await;
    rig.cluster.delete("PushSecret", "other").await;
    rig.cluster.delete("PushSecret", "p").await;
    rig.until_gone("PushSecret", "other").await;
    rig.until_gone("PushSecret", "p").await;
    until_held(&rig, "app", None).await;
    assert_eq!(held(&rig, "theirs").await, Some(json!({"a": "x"})));
    rig.finish().await;
}

async fn a_store_that_is_down_keeps_no_other_from_it() {
    let rig = Rig::new("push-down").await;
    store(&rig, "s").await;
    store(&rig, "down").await;
    let value = rig.canaries.value("value");
    rig.secret("src", json!({"a": value})).await;
    let both = json!([{"name": "s"}, {"name": "down"}]);
    let spec = json!({"secretStoreRefs": both, "deletionPolicy": "Delete", "data": data(&rig, "app", &["a"])});
    push(&rig, "p", spec).await;
    until_synced(&rig, "p").await;
    // Nobody listens there.
    let nowhere = json!({"spec": {"provider": {"vault": {"server": "http://10.255.255.1:9"}}}});
    rig.cluster.patch("SecretStore", "down", &nowhere).await;
    rig.until_ready("SecretStore", "down", "False", "InvalidProviderConfig", &[]).await;
    let next = rig.canaries.value("next");
    rig.secret("src", json!({"a": next})).await;
    until_held(&rig, "app", Some(json!({"a": next}))).await;
    rig.until_ready("PushSecret", "p", "False", "Errored", &["set secret failed", "client for store down: "]).await;
    // What can't be deleted is told, and deleted once it can be.
    rig.cluster.delete("PushSecret", "p").await;
    let told = ["Failed to Delete Secrets from Provider", "client for store SecretStore/down: "];
    rig.until_ready("PushSecret", "p", "False", "Errored", &told).await;
    let mended = json!({"spec": {"provider": {"vault": {"server": rig.testbed.vault_url()}}}});
    rig.cluster.patch("SecretStore", "down", &mended).await;
    rig.until_gone("PushSecret", "p").await;
    assert_eq!(held(&rig, "app").await, None);
    rig.finish().await;
}

async fn sources_come_and_go_by_their_labels() {
    let rig = Rig::new("push-labels").await;
    store(&rig, "s").await;
    let (one, two) = (rig.canaries.value("one"), rig.canaries.value("two"));
    let labelled = async |name: &str, value: &str| {
        let data = json!({name: json!({"v": value}).to_string()});
        let object = json!({"metadata": {"labels": {"push": "yes"}}, "stringData": data});
        rig.apply("Secret", &format!("src-{name}"), object).await;
    };
    labelled("one", &one).await;
    let to = json!([{
        "storeRef": {"name": "s"},
        "rewrite": [{"regexp": {"source": "^", "target": format!("{}/", rig.namespace())}}],
    }]);
    let selector = json!({"secret": {"selector": {"matchLabels": {"push": "yes"}}}});
    push(&rig, "p", json!({"selector": selector, "deletionPolicy": "Delete", "dataTo": to})).await;
    until_held(&rig, "one", Some(json!({"v": one}))).await;
    until_synced(&rig, "p").await;
    // Another comes to bear the label, an hour early.
    labelled("two", &two).await;
    until_held(&rig, "two", Some(json!({"v": two}))).await;
    assert_eq!(held(&rig, "one").await, Some(json!({"v": one})), "each source keeps what is its own");
    // One that is replaced takes nothing along.
    rig.cluster.delete("Secret", "src-one").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(held(&rig, "one").await, Some(json!({"v": one})));
    labelled("one", &one).await;
    until_synced(&rig, "p").await;
    rig.cluster.delete("Secret", "src-one").await;
    until_held(&rig, "one", None).await;
    assert_eq!(held(&rig, "two").await, Some(json!({"v": two})));
    assert_eq!(version(&rig, "two").await, 1, "nothing is written that is equal");
    rig.finish().await;
}

async fn a_source_that_goes_takes_along_what_it_made() {
    let rig = Rig::new("push-gone").await;
    store(&rig, "s").await;
    let value = rig.canaries.value("value");
    rig.secret("src", json!({"a": value})).await;
    push(&rig, "p", json!({"deletionPolicy": "Delete", "data": data(&rig, "app", &["a"])})).await;
    push(&rig, "keeps", json!({"data": data(&rig, "kept", &["a"])})).await;
    until_synced(&rig, "p").await;
    until_synced(&rig, "keeps").await;
    rig.cluster.delete("Secret", "src").await;
    let told = ["source secret deleted; provider secrets cleaned up"];
    rig.until_ready("PushSecret", "p", "False", "SourceDeleted", &told).await;
    assert_eq!(held(&rig, "app").await, None);
    rig.until_ready("PushSecret", "keeps", "False", "Errored", &["could not get source secret", "\"src\""]).await;
    assert_eq!(held(&rig, "kept").await, Some(json!({"a": value})));
    // It comes back, and so does what it makes.
    rig.secret("src", json!({"a": value})).await;
    until_held(&rig, "app", Some(json!({"a": value}))).await;
    until_synced(&rig, "p").await;
    until_synced(&rig, "keeps").await;
    rig.finish().await;
}

async fn an_empty_selector_is_refused() {
    let rig = Rig::new("push-empty").await;
    for (selector, why) in [
        (json!({"secret": {"selector": {}}}), "an empty selector would push every Secret"),
        (json!({"secret": {}}), "name one Secret, or select several"),
        (
            json!({"secret": {"name": "a", "selector": {"matchLabels": {"a": "b"}}}}),
            "name one Secret, or select several",
        ),
    ] {
        let spec = json!({"secretStoreRefs": [{"name": "s"}], "selector": selector});
        let refused = rig.try_apply("PushSecret", "p", json!({ "spec": spec })).await.expect_err("it is refused");
        assert!(refused.contains(why), "{refused}");
    }
    rig.finish().await;
}

async fn a_generated_value_outlives_labels_restarts_and_a_lost_status() {
    let mut rig = Rig::new("push-generated").await;
    store(&rig, "s").await;
    rig.apply("UUID", "u", json!({"spec": {}})).await;
    let selector = json!({"generatorRef": {"kind": "UUID", "name": "u"}});
    push(&rig, "p", json!({"selector": selector, "deletionPolicy": "Delete", "data": data(&rig, "app", &["uuid"])}))
        .await;
    until_synced(&rig, "p").await;
    let first = held(&rig, "app").await.expect("it is there");
    rig.cluster.patch("PushSecret", "p", &json!({"metadata": {"labels": {"team": "a"}}})).await;
    until_recorded(&rig).await;
    rig.kill9();
    let pushes = rig.cluster.api("PushSecret");
    let lost = Patch::Merge(json!({"status": null}));
    pushes.patch_status("p", &PatchParams::default(), &lost).await.expect("a status is lost");
    rig.cluster.patch("PushSecret", "p", &json!({"metadata": {"labels": {"team": "b"}}})).await;
    rig.start(&[]).await;
    until_synced(&rig, "p").await;
    until_recorded(&rig).await;
    rig.stays("it stays", Duration::from_secs(3), async |rig: &Rig| match held(rig, "app").await {
        now if now.as_ref() == Some(&first) && version(rig, "app").await == 1 => Ok(()),
        _ => bail!("it is another"),
    })
    .await;
    // Who asks for another gets it, and what was made goes with its PushSecret.
    rig.cluster
        .patch("PushSecret", "p", &json!({"metadata": {"annotations": {"external-secrets.io/force-sync": "now"}}}))
        .await;
    rig.until("anew".into(), async |rig: &Rig| match held(rig, "app").await {
        now if now.as_ref() == Some(&first) => bail!("still the same"),
        _ => Ok(()),
    })
    .await;
    rig.cluster.delete("PushSecret", "p").await;
    rig.until_gone("PushSecret", "p").await;
    assert_eq!(held(&rig, "app").await, None);
    rig.finish().await;
}

/// Waits until the status of `p` tells of what is in the store, and of the labels that it has now.
async fn until_recorded(rig: &Rig) {
    rig.until("it is recorded".into(), async |rig: &Rig| {
        let push = rig.cluster.get("PushSecret", "p").await.ok_or_else(|| anyhow!("there is none"))?;
        let status = &push["status"];
        let places = status["syncedPushSecrets"]["SecretStore/s"].as_object().map_or(0, |places| places.len());
        if places == 1 && status["refreshTime"].is_string() { Ok(()) } else { Err(anyhow!("{status}")) }
    })
    .await;
}

/// How often the operator is killed.
const KILLS: u32 = 8;

/// How many PushSecrets there are, and how many of them go while it is.
const PUSHES: usize = 8;
const GOING: usize = 3;

async fn kill_9_at_any_moment_leaves_nothing_unrecorded() {
    let seed = Seed::new("moments to kill at");
    let mut random = StdRng::seed_from_u64(seed.number());
    let mut rig = Rig::idle("push-kill9").await;
    store(&rig, "s").await;
    rig.secret("src", json!({"a": rig.canaries.value("value")})).await;
    for n in 0..PUSHES {
        let spec = json!({"deletionPolicy": "Delete", "data": data(&rig, &format!("app-{n}"), &["a"])});
        push(&rig, &format!("p{n}"), spec).await;
    }
    let over = AtomicBool::new(false);
    let (args, log) = (rig.args(&[]), rig.log_file());
    let kill = async {
        for _ in 0..KILLS {
            let mut operator = Operator::spawn(&rig.testbed, &args, &[], &log).expect("it starts");
            tokio::time::sleep(Duration::from_millis(random.random_range(300..4000))).await;
            operator.process().kill9();
            unrecorded(&rig).await;
        }
        over.store(true, Ordering::Relaxed);
    };
    let change = async {
        for turn in 0.. {
            rig.secret("src", json!({"a": rig.canaries.value("value")})).await;
            tokio::time::sleep(Duration::from_millis(400)).await;
            if (8..8 + GOING).contains(&turn) {
                rig.cluster.delete("PushSecret", &format!("p{}", turn - 8)).await;
            }
            if over.load(Ordering::Relaxed) && turn >= 8 + GOING {
                break;
            }
        }
    };
    tokio::join!(kill, change);
    rig.killed = KILLS as usize;
    let last = rig.canaries.value("last");
    rig.secret("src", json!({"a": last})).await;
    rig.start(&[]).await;
    for n in 0..PUSHES {
        let remote = format!("app-{n}");
        if n < GOING {
            rig.until_gone("PushSecret", &format!("p{n}")).await;
            assert_eq!(held(&rig, &remote).await, None, "{remote} went with its PushSecret");
        } else {
            until_held(&rig, &remote, Some(json!({"a": last}))).await;
            until_synced(&rig, &format!("p{n}")).await;
        }
    }
    rig.finish().await;
}

/// While nobody runs, all that is in the store is recorded by a PushSecret that is there.
async fn unrecorded(rig: &Rig) {
    for n in 0..PUSHES {
        let (name, remote) = (format!("p{n}"), format!("app-{n}"));
        // A secret that is there has a PushSecret, whose status tells of it.
        if held(rig, &remote).await.is_some() {
            let push =
                rig.cluster.get("PushSecret", &name).await.unwrap_or_else(|| panic!("{name} left {remote} behind"));
            let place = format!("{}/a", rig.key(&remote));
            let recorded = &push["status"]["syncedPushSecrets"]["SecretStore/s"][&place];
            assert!(recorded.is_object(), "{name} does not know of {remote}: {}", push["status"]);
        }
    }
}

/// How many PushSecrets are counted, each of a Secret of its own, and how often they are checked.
const COUNTED: usize = 1000;
const EVERY: Duration = Duration::from_secs(15);

/// The calls of AWS so far: all, and those that write.
async fn calls(rig: &Rig) -> (f64, f64) {
    let metrics = rig.metrics().await;
    let of = |call: &str| {
        let labels = [("provider", "AWS/SecretsManager"), ("call", call)];
        series(&metrics, "externalsecret_provider_api_calls_count", &labels)
    };
    let all = series(&metrics, "externalsecret_provider_api_calls_count", &[("provider", "AWS/SecretsManager")]);
    (all, of("PutSecretValue") + of("CreateSecret") + of("TagResource") + of("UntagResource"))
}

/// How many secrets a call to AWS Secrets Manager reads.
fn keys_of(target: &str, body: &[u8]) -> usize {
    if target.ends_with(".BatchGetSecretValue") {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        body["SecretIdList"].as_array().map_or(0, Vec::len)
    } else {
        usize::from(target.ends_with(".GetSecretValue"))
    }
}

async fn many_pushes_share_what_checking_asks_for() {
    let mut rig = Rig::idle("push-many").await;
    let read = Arc::new(AtomicUsize::new(0));
    let counted = read.clone();
    let aws = Server::before_shown(&rig.testbed.moto_url(), move |headers, body| {
        let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
        counted.fetch_add(keys_of(target, body), Ordering::Relaxed);
    });
    rig.env.push(("AWS_SECRETSMANAGER_ENDPOINT", aws.url()));
    rig.start(&[]).await;
    rig.secret("aws", json!({"id": "AKIAIOSFODNN7EXAMPLE", "key": "x".repeat(40)})).await;
    let auth = json!({"secretRef": {
        "accessKeyIDSecretRef": {"name": "aws", "key": "id"}, "secretAccessKeySecretRef": {"name": "aws", "key": "key"},
    }});
    let aws = json!({"service": "SecretsManager", "region": "eu-west-1", "auth": auth});
    rig.apply("SecretStore", "s", json!({"spec": {"provider": {"aws": aws}}})).await;
    let interval = format!("{}s", EVERY.as_secs());
    let make = stream::iter(0..COUNTED).for_each_concurrent(16, |n| {
        let (rig, interval) = (&rig, &interval);
        async move {
            let source = format!("src-{n}");
            rig.secret(&source, json!({"v": format!("value-{n}")})).await;
            let entry = json!({"match": {"secretKey": "v", "remoteRef": {"remoteKey": rig.key(&source)}}});
            let spec = json!({"refreshInterval": interval, "selector": {"secret": {"name": source}}, "data": [entry]});
            push(rig, &format!("p{n}"), spec).await;
        }
    });
    make.await;
    rig.until("all are pushed".into(), async |rig: &Rig| {
        let metrics = rig.metrics().await;
        let labels = [("condition", "Ready"), ("status", "True")];
        match series(&metrics, "pushsecret_status_condition", &labels) {
            ready if ready == COUNTED as f64 => Ok(()),
            ready => bail!("{ready} are"),
        }
    })
    .await;
    // What a store answers is learnt by the first check.
    tokio::time::sleep(2 * EVERY).await;
    let (before, written) = calls(&rig).await;
    let (began, keys) = (Instant::now(), read.load(Ordering::Relaxed));
    tokio::time::sleep(2 * EVERY).await;
    let (after, still) = calls(&rig).await;
    let keys = read.load(Ordering::Relaxed) - keys;
    let intervals = began.elapsed().as_secs_f64() / EVERY.as_secs_f64() + 1.0;
    assert_eq!(written, still, "nothing is written that is equal");
    let most = intervals * COUNTED as f64 / 4.0;
    assert!(after > before && after - before <= most, "{} calls in {intervals} intervals", after - before);
    assert!(keys > 0 && keys as f64 <= intervals * COUNTED as f64, "{keys} keys in {intervals} intervals");
    // One changes: one is written.
    let one = rig.key("src-7");
    rig.secret("src-7", json!({"v": "changed"})).await;
    rig.until(format!("{one} is written"), async |rig: &Rig| match calls(rig).await {
        (_, now) if now > still => Ok(()),
        calls => bail!("{calls:?}"),
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(calls(&rig).await.1, still + 1.0);
    rig.finish().await;
}

//! Values that are generated.

use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;
use keyferry_behaviour_tests::Rig;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

tests![
    they_are_made_once_and_anew_when_asked,
    a_crash_before_the_status_makes_nothing_anew,
    a_lost_status_makes_nothing_anew_and_takes_no_end_along,
    what_is_not_there_or_not_built_is_told,
    a_closed_window_holds_refreshes_back,
];

const A_WHILE: Duration = Duration::from_millis(2500);

fn from(kind: &str, name: &str) -> Value {
    json!({"sourceRef": {"generatorRef": {"kind": kind, "name": name}}})
}

/// The target `e`, once it has so many keys.
async fn generated(rig: &Rig, keys: usize) -> Value {
    rig.until("it is generated".into(), async |rig: &Rig| match rig.texts("e").await {
        Some(texts) if texts.len() == keys => Ok(json!(texts)),
        other => bail!("it has {} keys", other.map_or(0, |texts| texts.len())),
    })
    .await
}

async fn they_are_made_once_and_anew_when_asked() {
    let rig = Rig::new("generators").await;
    let cluster_wide = format!("{}-hex", rig.namespace());
    rig.apply("Fake", "f", json!({"spec": {"data": {"fixed": "as written"}}})).await;
    rig.apply("Password", "p", json!({"spec": {"length": 30, "secretKeys": ["first", "second"]}})).await;
    rig.apply("UUID", "u", json!({"spec": {}})).await;
    let hex = json!({"kind": "Password", "generator": {"passwordSpec": {"encoding": "hex"}}});
    rig.apply("ClusterGenerator", &cluster_wide, json!({"spec": hex})).await;
    let mut renamed = from("UUID", "u");
    renamed["rewrite"] = json!([{"regexp": {"source": "^", "target": "other-"}}]);
    let data_from =
        [from("Fake", "f"), from("Password", "p"), from("UUID", "u"), from("ClusterGenerator", &cluster_wide), renamed];
    // No store is needed, and one that is named and does not exist does not matter.
    let spec = json!({"refreshInterval": "1h", "secretStoreRef": {"name": "none"}, "dataFrom": data_from});
    rig.external_secret("e", spec).await;
    let first = generated(&rig, 6).await;
    rig.until_synced("e").await;
    assert_eq!(first["fixed"], "as written");
    assert_eq!(first["first"].as_str().unwrap().chars().count(), 30);
    assert_eq!(first["password"].as_str().unwrap().len(), 48);
    assert_ne!(first["first"], first["second"]);
    assert_ne!(first["uuid"], first["other-uuid"]);
    rig.stays("nothing is due", A_WHILE, async |rig: &Rig| rig.holds("e", &first).await).await;
    rig.force_sync("e").await;
    rig.until("anew".into(), async |rig: &Rig| {
        if rig.texts("e").await.is_some_and(|now| json!(now)["uuid"] != first["uuid"]) {
            Ok(())
        } else {
            bail!("still the same")
        }
    })
    .await;
    rig.cluster.delete("ClusterGenerator", &cluster_wide).await;
    rig.finish().await;
}

async fn a_crash_before_the_status_makes_nothing_anew() {
    let mut rig = Rig::new("generated-crash").await;
    let policy = format!("no-status-in-{}", rig.namespace());
    let rules = json!([{
        "apiGroups": ["external-secrets.io"], "apiVersions": ["v1"], "operations": ["UPDATE"],
        "resources": ["externalsecrets/status"],
    }]);
    let here = json!({"matchLabels": {"kubernetes.io/metadata.name": rig.namespace()}});
    let spec = json!({
        "matchConstraints": {"namespaceSelector": here, "resourceRules": rules},
        "validations": [{"expression": "false"}],
    });
    rig.apply("ValidatingAdmissionPolicy", &policy, json!({ "spec": spec })).await;
    let binding = json!({"policyName": policy, "validationActions": ["Deny"]});
    rig.apply("ValidatingAdmissionPolicyBinding", &policy, json!({ "spec": binding })).await;
    // It takes effect when one that nobody looks after gets no status.
    rig.external_secret("probe", json!({"refreshInterval": "0", "dataFrom": [from("UUID", "nowhere")]})).await;
    rig.until("the policy is in force".into(), async |rig: &Rig| {
        let patch = json!({"status": {"binding": {"name": format!("{:x}", rand::random::<u32>())}}});
        let (external_secrets, patch) = (rig.cluster.api("ExternalSecret"), Patch::Merge(patch));
        match external_secrets.patch_status("probe", &PatchParams::default(), &patch).await {
            Ok(_) => bail!("a status can be written"),
            Err(_) => Ok(()),
        }
    })
    .await;
    rig.apply("UUID", "u", json!({"spec": {}})).await;
    rig.external_secret("e", json!({"refreshInterval": "1h", "dataFrom": [from("UUID", "u")]})).await;
    let first = generated(&rig, 1).await;
    rig.kill9();
    assert!(rig.ready("ExternalSecret", "e").await.is_none(), "nobody has noted it");
    rig.cluster.delete("ValidatingAdmissionPolicyBinding", &policy).await;
    rig.cluster.delete("ValidatingAdmissionPolicy", &policy).await;
    rig.start(&[]).await;
    rig.until_synced("e").await;
    rig.holds("e", &first).await.expect("it is the first one still");
    // A change that comes while nobody runs makes it anew.
    rig.stop().await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    rig.force_sync("e").await;
    rig.start(&[]).await;
    rig.until("anew".into(), async |rig: &Rig| match rig.holds("e", &first).await {
        Ok(()) => bail!("still the same"),
        Err(_) => Ok(()),
    })
    .await;
    rig.finish().await;
}

async fn a_lost_status_makes_nothing_anew_and_takes_no_end_along() {
    let mut rig = Rig::idle("generated-lost").await;
    rig.env.push(("AWS_STS_ENDPOINT", rig.testbed.moto_url()));
    rig.start(&[]).await;
    rig.secret("keys", json!({"id": "AKIAIOSFODNN7EXAMPLE", "key": "a-secret-access-key-of-nobody"})).await;
    let key = |key: &str| json!({"name": "keys", "key": key});
    let keys = json!({"accessKeyIDSecretRef": key("id"), "secretAccessKeySecretRef": key("key")});
    let session = json!({
        "region": "eu-west-1", "auth": {"secretRef": keys}, "requestParameters": {"sessionDuration": 3600},
    });
    rig.apply("STSSessionToken", "t", json!({ "spec": session })).await;
    rig.apply("UUID", "u", json!({"spec": {}})).await;
    let both = [from("STSSessionToken", "t"), from("UUID", "u")];
    rig.external_secret("e", json!({"refreshInterval": "2h", "dataFrom": both})).await;
    rig.external_secret("once", json!({"refreshPolicy": "CreatedOnce", "dataFrom": [from("UUID", "u")]})).await;
    let first = generated(&rig, 5).await;
    rig.until_synced("e").await;
    rig.until_synced("once").await;
    let once = json!(rig.texts("once").await);
    let status = async |rig: &Rig| rig.cluster.get("ExternalSecret", "e").await.expect("it is there")["status"].clone();
    let before = status(&rig).await;
    assert!(before["refreshBy"].is_string(), "{before}");
    rig.kill9();
    // What is seen from now on is seen later.
    tokio::time::sleep(Duration::from_secs(4)).await;
    rig.cluster.patch("ExternalSecret", "once", &json!({"metadata": {"labels": {"team": "a"}}})).await;
    for name in ["e", "once"] {
        let (external_secrets, lost) = (rig.cluster.api("ExternalSecret"), Patch::Merge(json!({"status": null})));
        external_secrets.patch_status(name, &PatchParams::default(), &lost).await.expect("a status is lost");
    }
    rig.start(&[]).await;
    rig.until_synced("e").await;
    rig.until_synced("once").await;
    rig.holds("e", &first).await.expect("it is the first one still");
    rig.holds("once", &once).await.expect("made once is made once");
    let after = status(&rig).await;
    assert_eq!(after["refreshBy"], before["refreshBy"]);
    let time = |status: &Value| status["refreshTime"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let later = time(&after).expect("a time").duration_since(time(&before).expect("a time")).as_secs();
    assert!(later < 3, "the time that it was made at, and not that at which it was seen: {later} s later");
    rig.finish().await;
}

async fn what_is_not_there_or_not_built_is_told() {
    let rig = Rig::new("no-generator").await;
    rig.external_secret("e", json!({"dataFrom": [from("Password", "nowhere")]})).await;
    rig.until_failed("e", &["spec.dataFrom[0].sourceRef.generatorRef", "Password \"nowhere\"", "create it"]).await;
    let unbuilt = "BeyondtrustWorkloadCredentialsDynamicSecret";
    rig.external_secret("m", json!({"dataFrom": [from(unbuilt, "m")]})).await;
    rig.until_failed("m", &["spec.dataFrom[0].sourceRef.generatorRef.kind", unbuilt, "Password"]).await;
    rig.apply("Password", "p", json!({"spec": {"length": 3, "digits": 4}})).await;
    rig.external_secret("p", json!({"dataFrom": [from("Password", "p")]})).await;
    rig.until_failed("p", &["4 digits", "do not fit into a length of 3"]).await;
    rig.finish().await;
}

async fn a_closed_window_holds_refreshes_back() {
    let rig = Rig::new("windows").await;
    rig.apply("UUID", "u", json!({"spec": {}})).await;
    // The thirtieth of February never comes.
    let windows = |kind: &str| json!({"kind": kind, "windows": [{"schedule": "0 0 30 2 *", "duration": "1h"}]});
    let spec =
        |kind: &str| json!({"refreshInterval": "1s", "dataFrom": [from("UUID", "u")], "syncWindows": windows(kind)});
    rig.external_secret("e", spec("allow")).await;
    let first = generated(&rig, 1).await;
    rig.stays("the window is closed", A_WHILE, async |rig: &Rig| rig.holds("e", &first).await).await;
    rig.respec("e", spec("deny")).await;
    rig.until("it refreshes".into(), async |rig: &Rig| match rig.holds("e", &first).await {
        Ok(()) => bail!("still the same"),
        Err(_) => Ok(()),
    })
    .await;
    rig.finish().await;
}

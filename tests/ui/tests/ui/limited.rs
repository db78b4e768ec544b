//! Whoever may not read it all is told so, and sees the rest.

use keyferry_behaviour_tests::Rig;
use serde_json::json;

use crate::chromium::Chromium;
use crate::served::Served;

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_read_is_said_and_the_rest_is_shown() {
    let rig = Rig::idle("limited").await;
    let namespace = rig.namespace().to_owned();
    rig.external_secret("db", json!({"data": rig.data("app", &["user"])})).await;
    rig.apply("ServiceAccount", "viewer", json!({})).await;
    let rules = json!([{"apiGroups": ["external-secrets.io"], "resources": ["externalsecrets"], "verbs": ["get", "list", "watch"]}]);
    rig.apply("Role", "viewer", json!({ "rules": rules })).await;
    let bound = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "viewer"},
        "subjects": [{"kind": "ServiceAccount", "name": "viewer", "namespace": namespace}],
    });
    rig.apply("RoleBinding", "viewer", bound).await;
    let kubeconfig = rig.testbed.account_kubeconfig(&namespace, "viewer").unwrap();
    let user = format!("system:serviceaccount:{namespace}:viewer");
    rig.testbed.until_allowed(&user, "list", "externalsecrets.external-secrets.io", Some(&namespace)).await;

    let chromium = Chromium::start().await;
    let own = Served::start(&kubeconfig, &[&format!("--namespace={namespace}")]).await;
    let tab = chromium.tab().await;
    tab.follow(&own.link).await;
    let unread = tab.text("#unread").await;
    for kind in ["PushSecrets", "SecretStores", "ClusterSecretStores"] {
        assert!(unread.contains(&format!("can't list the {kind}: the API server forbids it to this user")), "{unread}");
    }
    assert!(!unread.contains("the ExternalSecrets") && !unread.contains("--namespace"), "{unread}");
    assert!(tab.text("#rows").await.contains("db"), "the rest is shown");
    tab.click("#rows a").await;
    tab.until("performance.getEntriesByName('object').length > 0").await;
    let notes = tab.text("#object .notice").await;
    for part in [
        "can't list the pods",
        "can't list the deployments",
        "can't list the events",
        "whether the Secret is there is not known",
    ] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    assert!(tab.text("#object").await.contains("spec.data[0]"), "what is known is shown");
    tab.click("#object-who button").await;
    tab.until("document.querySelector('#object-who').innerText.includes(\"can't list roles and bindings\")").await;
    assert_eq!(tab.violations().await, Vec::<String>::new());
    tab.press("Escape").await;

    // A right that is granted later is found by itself.
    rig.apply("SecretStore", "later", json!({"spec": {"provider": {"fake": {"data": []}}}})).await;
    let more = json!([{"apiGroups": ["external-secrets.io"], "resources": ["externalsecrets", "secretstores"], "verbs": ["get", "list", "watch"]}]);
    rig.apply("Role", "viewer", json!({ "rules": more })).await;
    tab.until("document.querySelector('#rows').innerText.includes('later')").await;
    tab.until("!document.querySelector('#unread').innerText.includes('the SecretStores')").await;
    assert!(tab.text("#unread").await.contains("the PushSecrets"), "the others are refused still");
    tab.was_well(&own.origin());

    let all = Served::start(&kubeconfig, &[]).await;
    let tab = chromium.tab().await;
    tab.follow(&all.link).await;
    let unread = tab.text("#unread").await;
    let says = "can't list the ExternalSecrets: the API server forbids it to this user; `keyferry ui --namespace NAME` asks for those of one namespace only";
    assert!(unread.contains(says), "{unread}");
    assert_eq!(tab.text("#nothing").await, "There are none.");
    tab.was_well(&all.origin());
    rig.finish().await;
}

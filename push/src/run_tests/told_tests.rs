//! What a push computes has an end, and nothing of a value is told whichever way it fails.

use super::*;

fn with_property(property: &str) -> Value {
    let remote = json!({"remoteKey": "k", "property": property});
    json!({"data": [{"match": {"secretKey": "a", "remoteRef": remote}}]})
}

#[tokio::test]
async fn what_a_store_answers_is_compared_in_a_turn_where_that_may_take_long() {
    for (property, answer, turns) in [
        ("p", r#"{"p":"1"}"#.to_owned(), 0),
        ("p.#(x==\"y\")#|0", r#"{"p":[]}"#.to_owned(), 1),
        ("p", json!({"p": "1", "q": "x".repeat(70_000)}).to_string(), 1),
    ] {
        let mut rig = Rig::new(with_property(property));
        rig.double.secret("src", &[("a", "1")]);
        rig.look().await;
        // The next process asks first.
        rig.memory = Memory::default();
        rig.double.with(|state| {
            state.held.insert(("s".into(), "k".into()), answer);
            state.turns = 0;
        });
        rig.double.fail("s", "k", Some(ErrorKind::Unavailable));
        rig.now += 1;
        assert!(rig.look().await.contains(&"fetch s/k".to_owned()));
        assert_eq!(rig.double.with(|state| state.turns), turns, "{property}");
    }
}

#[tokio::test]
async fn entries_that_have_no_value_are_paid_for_and_the_first_that_can_not_be_ends_it() {
    let absent: Vec<Value> = (0..500).map(|n| entry(&format!("absent-{n}"), &format!("k{n}"))).collect();
    let labels = json!({"secret": {"selector": {"matchLabels": {"push": "yes"}}}});
    let spec = json!({"selector": labels, "data": absent});
    for (stops, limit) in [(false, "(limit look-steps)"), (true, "(limit compute-time)")] {
        let mut rig = Rig::new(spec.clone());
        for n in 0..20 {
            rig.double.secret(&format!("src-{n}"), &[("a", "1")]);
        }
        rig.budget = Arc::new(Budget::new(1 << 20, 100_000));
        if stops {
            rig.budget.stop();
        }
        rig.look().await;
        assert!(rig.said[0].starts_with("set secret failed: ") && rig.said[0].contains(limit), "{:?}", rig.said);
        assert!(!rig.said[0].contains("does not exist"), "{:?}", rig.said);
    }
}

/// What the value is, and what the template makes a key of it.
const VALUE: &str = "canary-4f1e";
const MADE: &str = "CANARY-4F1E";

/// A rig whose template makes a key of a value, which `more` pushes.
fn made(more: Value) -> Rig {
    let literal = "{{ .secret | upper }}: \"{{ .secret }}\"";
    let mut spec = json!({
        "deletionPolicy": "Delete", "template": {"templateFrom": [{"literal": literal}]},
        "dataTo": [{"storeRef": {"name": "s"}, "match": {"regexp": "^CANARY"}}],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let mut rig = Rig::new(spec);
    rig.double.secret("src", &[("secret", VALUE), ("plain", "1")]);
    rig.ps.metadata.finalizers = Some(vec![names::FINALIZER_PUSH_SECRET.to_owned()]);
    rig
}

/// What was told since, which has these words and nothing of a value.
#[track_caller]
fn told(rig: &Rig, words: &str) {
    let mut told = rig.double.with(|state| std::mem::take(&mut state.notes));
    told.extend(rig.said.iter().cloned());
    assert!(told.iter().any(|text| text.contains(words)), "{words:?}: {told:?}");
    let told = told.join("\n");
    assert!(!told.to_lowercase().contains("canary"), "{told}");
}

#[tokio::test]
async fn nothing_of_a_value_is_told_whichever_way_it_fails() {
    let mut rig = made(json!({}));
    rig.double.fail("s", MADE, Some(ErrorKind::Denied));
    rig.look().await;
    told(&rig, "could not write remote ref a key that spec.template made (dataTo[0]) to target secretstore s: ");

    let mut rig = made(json!({"updatePolicy": "IfNotExists"}));
    rig.double.fail("s", MADE, Some(ErrorKind::Unavailable));
    rig.look().await;
    told(&rig, "could not verify if secret exists in store: ");

    let twice = json!([{"storeRef": {"name": "s"}}, {"storeRef": {"name": "s"}}]);
    let mut rig = made(json!({"dataTo": twice}));
    rig.look().await;
    told(&rig, "duplicate remote key");

    let labels = json!({"secret": {"selector": {"matchLabels": {"push": "yes"}}}});
    let mut rig = made(json!({"selector": labels}));
    // The same key of another case, and so another value.
    rig.double.secret("other", &[("secret", "Canary-4f1e")]);
    rig.look().await;
    told(&rig, "have the same key that spec.template made (dataTo[0])");

    let literal = "{{ .secret | upper }}: \"1\"\n\"{{ .secret | upper | replace \"C\" \"_U0043_\" }}\": \"2\"";
    let reversed = json!([{"storeRef": {"name": "s"}, "conversionStrategy": "ReverseUnicode"}]);
    let mut rig = made(json!({"template": {"templateFrom": [{"literal": literal}]}, "dataTo": reversed}));
    rig.look().await;
    told(&rig, "a key that spec.template made and another key are the same once they are converted");

    for target in ["", "same"] {
        let rewrite = json!([{"regexp": {"source": "^.*$", "target": target}}]);
        let mut rig = made(json!({"dataTo": [{"storeRef": {"name": "s"}, "rewrite": rewrite}]}));
        rig.look().await;
        told(&rig, "failed to expand dataTo: dataTo[0]: rewrite[0]: ");
    }
}

#[tokio::test]
async fn nothing_of_a_value_is_told_of_what_is_undone() {
    let plain = json!({"data": [entry("plain", "k")], "dataTo": []});
    // The template may go with what it made.
    for (more, restarts) in [
        (plain.clone(), false),
        (plain.clone(), true),
        (json!({"template": null, "dataTo": [], "data": [entry("plain", "k")]}), false),
    ] {
        let mut rig = made(json!({}));
        rig.look().await;
        assert_eq!(rig.double.held("s", MADE).as_deref(), Some(VALUE));
        rig.double.fail("s", MADE, Some(ErrorKind::Denied));
        rig.respec(more);
        if restarts {
            rig.memory = Memory::default();
        }
        rig.look().await;
        told(&rig, "what dataTo pushed by a key that spec.template made in SecretStore/s: ");
        // Nor when all goes.
        rig.ps.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1)));
        rig.look().await;
        if rig.ps.spec.template.is_some() {
            told(&rig, "what dataTo pushed by a key that spec.template made in SecretStore/s: ");
        }
    }
    let mut rig = made(json!({}));
    rig.look().await;
    rig.ps.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1)));
    rig.stores.clear();
    rig.look().await;
    told(&rig, "SecretStore/s does not exist: what was pushed there stays");

    // What stands in the spec is told by its name.
    let mut rig = made(plain);
    rig.look().await;
    rig.double.fail("s", "k", Some(ErrorKind::Denied));
    rig.respec(json!({"data": [], "dataTo": [{"storeRef": {"name": "s"}}]}));
    rig.look().await;
    assert!(rig.said[0].contains("\"k\" in SecretStore/s: "), "{:?}", rig.said);
}

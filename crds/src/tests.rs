//! What decoding must take.

use serde_json::{Value, json};

use super::*;

fn external_secret(spec: Value) -> ExternalSecret {
    serde_json::from_value(json!({
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": "e", "namespace": "n"},
        "spec": spec,
    }))
    .expect("decodes")
}

fn store(spec: Value) -> SecretStoreSpec {
    serde_json::from_value(spec).expect("decodes")
}

#[test]
fn nothing_set_means_the_defaults() {
    for spec in [
        json!(null),
        json!({}),
        json!({"target": null, "refreshInterval": null, "refreshPolicy": null, "data": null, "dataFrom": null}),
        json!({"secretStoreRef": null, "syncWindows": null}),
        json!({"target": {"creationPolicy": "", "deletionPolicy": null, "name": "", "template": null}}),
    ] {
        let object = external_secret(spec);
        assert_eq!(object.spec.target.creation_policy, CreationPolicy::Owner);
        assert_eq!(object.spec.target.deletion_policy, DeletionPolicy::Retain);
        assert_eq!(object.spec.refresh_policy, RefreshPolicy::Periodic);
        assert_eq!(object.spec.refresh_every(), Ok(Some(std::time::Duration::from_secs(3600))));
        assert_eq!(object.target_name(), "e");
    }
}

#[test]
fn unknown_words_and_fields_disturb_nothing() {
    let object = external_secret(json!({
        "newField": {"deep": [1]},
        "refreshPolicy": "Sometimes",
        "refreshInterval": 15,
        "target": {"creationPolicy": "Adopt", "newField": 1},
        "data": [{"secretKey": "a", "remoteRef": {"key": "k", "decodingStrategy": "Rot13", "newField": null}}, {}],
        "dataFrom": [{"extract": {"key": "x"}, "newSource": {}}],
    }));
    assert_eq!(object.spec.refresh_policy, RefreshPolicy::Unknown("Sometimes".into()));
    assert_eq!(object.spec.target.creation_policy.as_str(), "Adopt");
    assert_eq!(object.spec.data[0].remote_ref.decoding_strategy.to_string(), "Rot13");
    assert_eq!(object.spec.data[1].secret_key, "");
    assert_eq!(
        object.spec.refresh_every().unwrap_err().to_string(),
        "\"15\" is not a duration: write it like 1h, 15m or 90s"
    );
}

#[test]
fn a_template_is_there_even_if_it_is_empty() {
    assert_eq!(external_secret(json!({"target": {"template": {}}})).spec.target.template, Some(Template::default()));
    assert_eq!(external_secret(json!({"target": {}})).spec.target.template, None);
}

#[test]
fn status_is_written_as_eso_writes_it() {
    let time = serde_json::from_value(json!("2026-11-22T05:48:03Z")).expect("a time");
    let status = ExternalSecretStatus {
        refresh_time: Some(time),
        synced_resource_version: Some("1-x".into()),
        refresh_by: None,
        conditions: vec![Condition {
            type_: "Ready".into(),
            status: "True".into(),
            reason: Some("SecretSynced".into()),
            ..Condition::default()
        }],
        binding: Binding::default(),
    };
    assert_eq!(
        serde_json::to_value(&status).expect("encodes"),
        json!({
            "refreshTime": "2026-11-22T05:48:03Z",
            "syncedResourceVersion": "1-x",
            "conditions": [{"type": "Ready", "status": "True", "reason": "SecretSynced"}],
            "binding": {"name": ""},
        })
    );
    let read: ExternalSecretStatus =
        serde_json::from_value(json!({"refreshTime": null, "binding": null, "conditions": null})).expect("decodes");
    assert_eq!(read, ExternalSecretStatus::default());
    let read: ExternalSecretStatus = serde_json::from_value(json!({"refreshTime": "yesterday"})).expect("decodes");
    assert_eq!(read.refresh_time, None);
}

#[test]
fn root_objects_carry_their_kind() {
    let object = ClusterSecretStore::new("c", store(json!({"provider": {"fake": {}}})));
    assert_eq!(
        serde_json::to_value(&object).expect("encodes"),
        json!({
            "apiVersion": "external-secrets.io/v1",
            "kind": "ClusterSecretStore",
            "metadata": {"name": "c"},
            "spec": {"provider": {"fake": {}}},
        })
    );
}

#[test]
fn one_provider_and_no_other_count() {
    let fake = json!({"data": []});
    assert_eq!(store(json!({"provider": {"fake": fake, "aws": null}})).the_provider(), Ok(("fake", fake)));
    for none in [json!({}), json!({"provider": null}), json!({"provider": {}}), json!({"provider": {"aws": null}})] {
        assert_eq!(store(none).the_provider(), Err(ProviderProblem::None));
    }
    let several = store(json!({"provider": {"vault": {}, "fake": {}, "brandNew": {}}}));
    let problem = several.the_provider().unwrap_err();
    assert_eq!(problem.to_string(), "spec.provider names brandNew and fake and vault: keep exactly one");
    let deep = (0..200).fold(json!({}), |inner, _| json!([inner]));
    let problem = store(json!({"provider": {"fake": deep}})).the_provider().unwrap_err().to_string();
    assert_eq!(problem, "spec.provider.fake is nested too deeply");
}

#[test]
fn printing_a_store_shows_no_value() {
    let spec = store(json!({"provider": {"fake": {"data": [{"key": "k", "value": "canary"}]}}}));
    assert!(!format!("{spec:?}").contains("canary"));
}

#[test]
fn a_store_interval_is_seconds_or_a_duration() {
    use std::time::Duration;
    for (written, want) in [
        (json!(null), Ok(None)),
        (json!(0), Ok(None)),
        (json!("0"), Ok(None)),
        (json!("0s"), Ok(None)),
        (json!(""), Ok(None)),
        (json!(90), Ok(Some(Duration::from_secs(90)))),
        (json!("1m30s"), Ok(Some(Duration::from_secs(90)))),
        (json!(-1), Err(duration::NotADuration("-1".into()))),
        (json!("-1s"), Err(duration::NotADuration("-1s".into()))),
        (json!("90"), Err(duration::NotADuration("90".into()))),
        (json!("soon"), Err(duration::NotADuration("soon".into()))),
        (json!(1.5), Err(duration::NotADuration("1.5".into()))),
    ] {
        assert_eq!(store(json!({"refreshInterval": written})).refresh_every(), want, "{written}");
    }
}

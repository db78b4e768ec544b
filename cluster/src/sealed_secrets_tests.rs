use keyferry_sync::data::Data;

use super::*;

/// What a SealedSecret that owns no Secret comes to.
fn es() -> ExternalSecret {
    keyferry_builders::es(json!({"target": {"creationPolicy": "Orphan"}}))
}

fn secret(manager: &str, annotations: Value) -> LiveSecret {
    let data: [(&str, &[u8]); 1] = [("k", b"theirs")];
    let hash = hash::data_hash(data);
    let mut metadata = json!({
        "name": "e", "namespace": "ns", "uid": "u", "resourceVersion": "1",
        "labels": {(names::LABEL_MANAGED): names::MANAGED},
        "annotations": {(names::ANNOTATION_DATA_HASH): hash},
        "managedFields": [{"manager": manager, "operation": "Update", "fieldsV1": {"f:data": {"f:k": {}}, "f:type": {}}}],
    });
    for (name, value) in annotations.as_object().unwrap() {
        metadata["annotations"][name] = value.clone();
    }
    let object = json!({"metadata": metadata, "type": "Opaque", "data": {"k": "dGhlaXJz"}});
    LiveSecret::new(serde_json::from_value(object).unwrap())
}

#[test]
fn a_secret_that_an_external_secret_of_the_name_wrote_is_left_alone() {
    let es = es();
    let name = es.metadata.name.clone().unwrap();
    let theirs = secret(&hash::field_manager(&name), json!({}));
    assert!(desired::is_intact(&theirs), "it is as its writer left it");
    let failure = leave(&es, &theirs).unwrap_err();
    assert!(failure.headline == Headline::Ownership, "{failure:?}");
    assert_eq!(
        leave(&es, &secret(&hash::field_manager(&name), json!({MANAGED: "true"}))).unwrap(),
        (Adopt::Any, false)
    );
    assert_eq!(leave(&es, &secret(&hash::field_manager(&name), json!({PATCHED: "true"}))).unwrap(), (Adopt::Any, true));
    assert_eq!(leave(&es, &secret(&manager(&es), json!({}))).unwrap(), (Adopt::Any, false), "who wrote it has it");
}

#[tokio::test]
async fn what_a_sealed_secret_holds_no_more_goes_by_its_own_field_manager() {
    let es = es();
    let client = kube::Client::new(axum::Router::new(), "ns");
    let shape = SealedShape(SecretShape { client: &client, es: &es, adopt: Adopt::Never, rotations: None });
    let content = Content::plain(&es, Data::from([("new".to_owned(), "x".into())]));
    let before = secret(&manager(&es), json!({}));
    let Desired::Update { object, .. } = shape.desired(&content, Some(&before)).unwrap() else {
        panic!("it is written")
    };
    assert_eq!(object.keys().collect::<Vec<_>>(), ["new"]);
    let theirs = secret(&hash::field_manager(es.metadata.name.as_deref().unwrap()), json!({}));
    assert!(shape.desired(&content, Some(&theirs)).is_err());
}

#[tokio::test]
async fn what_is_added_to_stays_whose_it_is() {
    let mut es = keyferry_builders::es(json!({}));
    es.metadata.uid = Some("uid-of-it".to_owned());
    let client = kube::Client::new(axum::Router::new(), "ns");
    let shape = SealedShape(SecretShape { client: &client, es: &es, adopt: Adopt::Never, rotations: None });
    let content = Content::plain(&es, Data::from([("new".to_owned(), "x".into())]));
    let name = es.metadata.name.clone().unwrap();
    for (kind, version, uid) in
        [(KIND, API_VERSION, "uid-of-it"), ("ExternalSecret", "external-secrets.io/v1", "another")]
    {
        let owner = OwnerReference {
            kind: kind.to_owned(),
            api_version: version.to_owned(),
            name: name.clone(),
            uid: uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        };
        let mut before = secret(&manager(&es), json!({PATCHED: "true", MANAGED: "true"}));
        before.get_mut().metadata.owner_references = Some(vec![owner.clone()]);
        let Desired::Update { object, .. } = shape.desired(&content, Some(&before)).unwrap() else {
            panic!("it is written")
        };
        assert_eq!(object.get().metadata.owner_references, Some(vec![owner]), "{kind}");
    }
}

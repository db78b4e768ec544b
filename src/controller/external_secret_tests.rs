use keyferry_sync::dependency::Kind;

use super::*;

fn es(target: &str, store: &str) -> ExternalSecret {
    let spec = json!({"secretStoreRef": {"name": store}, "target": {"name": target}});
    let mut es = ExternalSecret::new("e", serde_json::from_value(spec).unwrap());
    es.metadata.namespace = Some("ns".into());
    es.metadata.uid = Some("u".into());
    es.metadata.generation = Some(1);
    es
}

fn name(name: &str) -> Name {
    ("ns".into(), name.into())
}

fn target(target: &str) -> Dependency {
    Dependency::new(Kind::Secret, name(target))
}

fn at(revision: &str) -> Version {
    Version { uid: "uid".into(), revision: revision.into() }
}

/// One ExternalSecret that was put.
fn put(es: ExternalSecret) -> (ExternalSecrets, Index) {
    let (mut all, index) = (ExternalSecrets::default(), Index::default());
    assert!(all.put(es, &index));
    (all, index)
}

fn look(all: &mut ExternalSecrets, index: &Index) -> Look {
    all.look(&name("e"), index, &Stores::default(), None, Timestamp::UNIX_EPOCH).unwrap()
}

#[test]
fn our_own_write_is_no_reason_to_look_and_an_edit_is() {
    let (mut all, _) = put(es("t", "s"));
    all.remember_target(&name("e"), at("5"), true);
    let concerns = |all: &ExternalSecrets, role, sighting| all.concerns(&name("e"), role, &sighting);
    let there = |revision: &str| Sighting::There(at(revision));
    let gone = || Sighting::Gone(Some("uid".into()));
    assert_eq!(concerns(&all, Role::Writer, there("5")), None);
    assert_eq!(concerns(&all, Role::Reader, there("5")), Some(Urgency::Due), "what it wrote is not what it reads");
    assert_eq!(concerns(&all, Role::Writer, there("6")), Some(Urgency::Asked));
    assert_eq!(concerns(&all, Role::Writer, gone()), Some(Urgency::Asked));
    all.0.get_mut(&name("e")).unwrap().memory.absence_is_fine = true;
    assert_eq!(concerns(&all, Role::Writer, gone()), None);
    assert_eq!(concerns(&all, Role::Writer, Sighting::LeftOut), Some(Urgency::Asked));
    all.remember_target(&name("e"), at("7"), false);
    assert_eq!(concerns(&all, Role::Writer, there("7")), Some(Urgency::Asked), "it is not as it was left");
}

#[test]
fn a_target_of_another_kind_is_another_object() {
    let manifest = keyferry_crds::Manifest { api_version: "example.org/v1".into(), kind: "Widget".into() };
    let mut other = es("t", "s");
    other.spec.target.manifest = Some(manifest.clone());
    let (mut all, index) = put(other);
    let seen = |index: &Index, object: &Dependency| index.saw(object, &Sighting::There(at("5")), |_| false);
    assert!(seen(&index, &target("t")).is_empty(), "a Secret of that name is not the target");
    let kind = Kind::of(&manifest);
    assert!(index.knows_any_of(&kind));
    let woken: Vec<_> = seen(&index, &Dependency::new(kind, name("t"))).into_iter().collect();
    assert_eq!(woken, [(Item::ExternalSecret(name("e")), Role::Writer)]);
    assert_eq!(look(&mut all, &index).seen, Seen::At(at("5")));
}

#[test]
fn a_status_is_no_change_and_a_new_object_forgets() {
    let (mut all, index) = put(es("t", "s"));
    let failures = |all: &mut ExternalSecrets| all.0.get_mut(&name("e")).unwrap().memory.failures;
    all.0.get_mut(&name("e")).unwrap().memory.failures = 3;
    let mut again = es("t", "s");
    again.metadata.resource_version = Some("99".into());
    again.status = Some(Default::default());
    assert!(!all.put(again, &index));
    assert_eq!(failures(&mut all), 3);
    let mut other = es("t", "s");
    other.metadata.uid = Some("v".into());
    assert!(all.put(other, &index));
    assert_eq!(failures(&mut all), 0);
}

#[test]
fn an_event_from_before_our_status_brings_the_spec_and_not_the_status() {
    let at = |target: &str, version: &str, bound: &str| {
        let mut es = es(target, "s");
        es.metadata.resource_version = Some(version.into());
        let binding = keyferry_crds::Binding { name: bound.into() };
        es.status = Some(ExternalSecretStatus { binding, ..Default::default() });
        es
    };
    let (mut all, index) = put(at("a", "10", ""));
    let ours = || (at("a", "12", "a").status.unwrap(), Some("12".to_owned()));
    let told = |all: &mut ExternalSecrets, (status, version)| {
        all.0.get_mut(&name("e")).unwrap().put_status(status, version);
    };
    let state = |all: &ExternalSecrets| {
        let es = all.get(&name("e")).unwrap().es.clone();
        (es.target_name().to_owned(), es.status.as_ref().unwrap().binding.name.clone())
    };
    told(&mut all, ours());
    all.put(at("b", "11", ""), &index);
    assert_eq!(state(&all), ("b".into(), "a".into()));
    all.put(at("b", "13", "b"), &index);
    told(&mut all, ours());
    assert_eq!(state(&all), ("b".into(), "b".into()));
}

#[test]
fn what_was_seen_of_a_target_outlives_a_new_status() {
    let (mut all, index) = put(es("t", "s"));
    index.saw(&target("t"), &Sighting::There(at("5")), |_| false);
    all.remember_target(&name("e"), at("5"), true);
    all.put(es("t", "s"), &index);
    let seen = look(&mut all, &index);
    assert_eq!((seen.seen, seen.memory.target.is_some()), (Seen::At(at("5")), true));
    all.put(es("t2", "s"), &index);
    let seen = look(&mut all, &index);
    assert_eq!((seen.seen, seen.memory.target.is_some()), (Seen::Unknown, false), "that was another target");
}

#[test]
fn a_look_takes_along_how_its_sources_stand() {
    let mut templated = es("t", "s");
    templated.spec.target.template = Some(
        serde_json::from_value(json!({"templateFrom": [
            {"configMap": {"name": "unseen", "items": []}},
            {"configMap": {"name": "absent", "items": []}},
            {"configMap": {"name": "seen", "items": []}},
            {"configMap": {"name": "behind", "items": []}},
        ]}))
        .unwrap(),
    );
    let (mut all, index) = put(templated);
    let source = |source: &str| Dependency::new(Kind::ConfigMap, name(source));
    index.saw(&source("absent"), &Sighting::LeftOut, |_| false);
    index.saw(&source("seen"), &Sighting::There(at("5")), |_| false);
    index.saw(&source("behind"), &Sighting::There(at("5")), |_| false);
    let memory = &mut all.0.get_mut(&name("e")).unwrap().memory;
    memory.sources = [("seen", "4"), ("behind", "6")].map(|(name, read)| (source(name), Some(at(read)))).into();
    let expected = [
        (source("unseen"), None),
        (source("absent"), Some(None)),
        (source("seen"), Some(Some(at("5")))),
        // The watch has not told yet of what was read there.
        (source("behind"), Some(Some(at("6")))),
    ];
    assert_eq!(look(&mut all, &index).sources, expected.into());
}

#[test]
fn those_of_a_namespace_are_found_without_the_others() {
    let (mut all, index) = put(es("t", "s"));
    for (namespace, other) in [("n", "z"), ("ns", "a"), ("ns-2", "a"), ("nt", "a")] {
        let mut es = es("t", "s");
        (es.metadata.namespace, es.metadata.name) = (Some(namespace.into()), Some(other.into()));
        all.put(es, &index);
    }
    assert_eq!(all.in_namespace("ns"), [name("a"), name("e")]);
    assert!(all.in_namespace("none").is_empty());
}

#[test]
fn who_waits_or_failed_is_troubled() {
    let (mut all, _) = put(es("t", "s"));
    for (standing, troubled) in
        [(Standing::New, false), (Standing::Well, false), (Standing::Held, true), (Standing::Failed, true)]
    {
        all.0.get_mut(&name("e")).unwrap().standing = standing;
        assert_eq!(all.is_troubled(&name("e")), troubled, "{standing:?}");
    }
    assert!(!all.is_troubled(&name("other")));
}

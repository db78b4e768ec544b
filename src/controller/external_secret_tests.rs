use std::future::pending;

use keyferry_sync::dependency::Kind;
use serde_json::json;

use super::super::rig::shared;
use super::super::samples::{at, name};
use super::*;

fn item(name: &Name) -> Item {
    Item::new(SubjectKind::ExternalSecret, name.clone())
}

fn es(target: &str, store: &str) -> ExternalSecret {
    let spec = json!({"secretStoreRef": {"name": store}, "target": {"name": target}});
    let mut es = ExternalSecret::new("e", serde_json::from_value(spec).unwrap());
    es.metadata.namespace = Some("ns".into());
    es.metadata.uid = Some("u".into());
    es.metadata.generation = Some(1);
    es
}

fn target(target: &str) -> Dependency {
    Dependency::new(Kind::Secret, name(target))
}

/// ExternalSecrets without a loop.
struct Bench {
    all: ExternalSecrets,
    shared: Shared,
}

impl Bench {
    /// With one that was put.
    fn new(es: ExternalSecret) -> Self {
        let all = ExternalSecrets::new(Box::new(|_| pending().boxed()), None);
        let mut bench = Self { all, shared: shared() };
        assert!(bench.put(es), "a new one is looked at");
        bench
    }

    /// Puts one; answers whether it is to be looked at.
    fn put(&mut self, es: ExternalSecret) -> bool {
        let name = name(es.metadata.name.as_deref().unwrap());
        let name = (es.metadata.namespace.clone().unwrap(), name.1);
        self.shared.queue.remove(&item(&name));
        let before = self.shared.queue.waiting();
        self.all.put(&name, es, &mut self.shared);
        self.shared.queue.waiting() > before
    }

    fn known(&mut self) -> &mut Known {
        self.all.all.get_mut(&name("e")).unwrap()
    }

    fn look(&mut self) -> Look {
        self.all.take_along(&name("e"), Timestamp::UNIX_EPOCH, &self.shared).unwrap()
    }

    fn saw(&self, object: &Dependency, sighting: &Sighting) -> Vec<(Item, Role)> {
        self.shared.index.saw(object, sighting, |_| false).into_iter().collect()
    }

    fn examined(&mut self, revision: &str, is_intact: bool) {
        let found = Target { object: target("t"), version: at(revision), is_intact, rotated_at: None };
        self.all.examined(&name("e"), &found);
    }

    fn concern(&mut self, role: Role, sighting: &Sighting) -> Option<Urgency> {
        self.all.concern(&name("e"), role, sighting, &mut self.shared)
    }
}

#[test]
fn our_own_write_is_no_reason_to_look_and_an_edit_is() {
    let mut bench = Bench::new(es("t", "s"));
    bench.examined("5", true);
    let there = |revision: &str| Sighting::There(at(revision));
    let gone = Sighting::Gone(Some("uid".into()));
    assert_eq!(bench.concern(Role::Writer, &there("5")), None);
    assert_eq!(bench.concern(Role::Reader, &there("5")), Some(Urgency::Due), "what it wrote is not what it reads");
    assert_eq!(bench.concern(Role::Writer, &there("6")), Some(Urgency::Asked));
    assert_eq!(bench.concern(Role::Writer, &gone), Some(Urgency::Asked));
    bench.known().memory.absence_is_fine = true;
    assert_eq!(bench.concern(Role::Writer, &gone), None);
    assert_eq!(bench.concern(Role::Writer, &Sighting::LeftOut), Some(Urgency::Asked));
    bench.examined("7", false);
    assert_eq!(bench.concern(Role::Writer, &there("7")), Some(Urgency::Asked), "it is not as it was left");
}

#[test]
fn a_target_of_another_kind_is_another_object() {
    let manifest = keyferry_crds::Manifest { api_version: "example.org/v1".into(), kind: "Widget".into() };
    let mut other = es("t", "s");
    other.spec.target.manifest = Some(manifest.clone());
    let mut bench = Bench::new(other);
    let there = Sighting::There(at("5"));
    assert!(bench.saw(&target("t"), &there).is_empty(), "a Secret of that name is not the target");
    let kind = Kind::of(&manifest);
    assert!(bench.shared.index.knows_any_of(&kind));
    assert_eq!(bench.saw(&Dependency::new(kind.clone(), name("t")), &there), [(item(&name("e")), Role::Writer)]);
    assert_eq!(bench.look().seen, Seen::Unknown, "its watch has not listed all");
    bench.shared.index.set_listed(&kind, true);
    assert_eq!(bench.look().seen, Seen::At(at("5")));
}

#[test]
fn a_status_is_no_change_and_a_new_object_forgets() {
    let mut bench = Bench::new(es("t", "s"));
    bench.known().memory.failures = 3;
    let mut again = es("t", "s");
    again.metadata.resource_version = Some("99".into());
    again.status = Some(Default::default());
    assert!(!bench.put(again));
    assert_eq!(bench.known().memory.failures, 3);
    let mut other = es("t", "s");
    other.metadata.uid = Some("v".into());
    assert!(bench.put(other));
    assert_eq!(bench.known().memory.failures, 0);
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
    let mut bench = Bench::new(at("a", "10", ""));
    let ours = || (at("a", "12", "a").status.unwrap(), Some("12".to_owned()));
    let told = |bench: &mut Bench, (status, version)| {
        let known = bench.known();
        known.put_status(known.es.unpack(), status, version);
    };
    let state = |bench: &mut Bench| {
        let es = bench.known().es.unpack();
        (es.target_name().to_owned(), es.status.as_ref().unwrap().binding.name.clone())
    };
    told(&mut bench, ours());
    bench.put(at("b", "11", ""));
    assert_eq!(state(&mut bench), ("b".into(), "a".into()));
    bench.put(at("b", "13", "b"));
    told(&mut bench, ours());
    assert_eq!(state(&mut bench), ("b".into(), "b".into()));
}

#[test]
fn what_was_seen_of_a_target_outlives_a_new_status() {
    let mut bench = Bench::new(es("t", "s"));
    bench.saw(&target("t"), &Sighting::There(at("5")));
    bench.examined("5", true);
    bench.put(es("t", "s"));
    let seen = bench.look();
    assert_eq!((seen.seen, seen.memory.target.is_some()), (Seen::At(at("5")), true));
    bench.put(es("t2", "s"));
    let seen = bench.look();
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
    let mut bench = Bench::new(templated);
    let source = |source: &str| Dependency::new(Kind::ConfigMap, name(source));
    bench.saw(&source("absent"), &Sighting::LeftOut);
    bench.saw(&source("seen"), &Sighting::There(at("5")));
    bench.saw(&source("behind"), &Sighting::There(at("5")));
    bench.known().memory.sources =
        [("seen", "4"), ("behind", "6")].map(|(name, read)| (source(name), Some(at(read)))).into();
    let expected = [
        (source("unseen"), None),
        (source("absent"), Some(None)),
        (source("seen"), Some(Some(at("5")))),
        // The watch has not told yet of what was read there.
        (source("behind"), Some(Some(at("6")))),
    ];
    assert_eq!(bench.look().sources, expected.into());
}

#[test]
fn those_of_a_namespace_are_found_without_the_others() {
    let mut bench = Bench::new(es("t", "s"));
    for (namespace, other) in [("n", "z"), ("ns", "a"), ("ns-2", "a"), ("nt", "a")] {
        let mut es = es("t", "s");
        (es.metadata.namespace, es.metadata.name) = (Some(namespace.into()), Some(other.into()));
        bench.put(es);
    }
    assert_eq!(bench.all.concerned_by("ns"), [name("a"), name("e")]);
    assert!(bench.all.concerned_by("none").is_empty());
}

#[test]
fn who_waits_or_failed_or_is_looked_at_may_wait() {
    let mut bench = Bench::new(es("t", "s"));
    for (standing, may_wait) in
        [(Standing::New, false), (Standing::Well, false), (Standing::Held, true), (Standing::Failed, true)]
    {
        bench.known().standing = standing;
        assert_eq!(bench.all.may_wait(&name("e"), false), may_wait, "{standing:?}");
        assert!(bench.all.may_wait(&name("e"), true), "{standing:?}");
    }
    assert!(!bench.all.may_wait(&name("other"), false));
}

#[test]
fn of_what_is_anothers_its_store_is_known_and_nothing_else() {
    let all = ExternalSecrets::new(Box::new(|_| pending().boxed()), None);
    let mut bench = Bench { all, shared: shared().divided(2) };
    let weights = |bench: &Bench| {
        let weights = bench.all.weights().into_iter().map(|(store, weight)| (store.name.clone(), weight));
        weights.collect::<BTreeMap<_, _>>()
    };
    assert!(!bench.put(es("t", "s")), "nobody looks at it here");
    assert!(bench.all.all.is_empty() && bench.saw(&target("t"), &Sighting::There(at("5"))).is_empty());
    assert_eq!(weights(&bench), BTreeMap::from([("s".to_owned(), 1)]));
    bench.put(es("t", "other"));
    assert_eq!(weights(&bench), BTreeMap::from([("other".to_owned(), 1)]));
    // It is to come: all of it is kept, and it is looked at when it has.
    let both = bench.shared.shards.clone().holding(&[0, 1]);
    bench.shared.coming = Some(both.clone());
    assert!(!bench.put(es("t", "other")));
    assert!(bench.all.all.len() == 1 && bench.all.others.is_empty());
    (bench.shared.shards, bench.shared.coming) = (both, None);
    let mut edited = es("t", "other");
    edited.metadata.generation = Some(2);
    assert!(bench.put(edited));
    bench.all.let_go(&name("e"), &mut bench.shared);
    assert_eq!(bench.all.all.len(), 1, "it is ours");
    // It goes to another.
    bench.shared.shards = Shards::new(2);
    bench.all.let_go(&name("e"), &mut bench.shared);
    assert!(bench.all.all.is_empty() && bench.saw(&target("t"), &Sighting::There(at("6"))).is_empty());
    assert_eq!(weights(&bench), BTreeMap::from([("other".to_owned(), 1)]));
    bench.all.listed(&HashSet::from([name("e")]), &mut bench.shared);
    assert_eq!(weights(&bench).len(), 1);
    bench.all.listed(&HashSet::new(), &mut bench.shared);
    assert_eq!(weights(&bench), BTreeMap::new());
    bench.put(es("t", "s"));
    bench.all.remove(&name("e"), &mut bench.shared);
    assert_eq!(weights(&bench), BTreeMap::new());
}

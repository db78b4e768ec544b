use std::future::pending;

use serde_json::json;

use super::super::rig::shared;
use super::super::samples::{at, name};
use super::*;

/// One PushSecret that selects Secrets with the label `push`, without a loop.
struct Bench {
    all: PushSecrets,
    shared: Shared,
}

fn ps(revision: &str) -> PushSecret {
    let selector = json!({"secret": {"selector": {"matchLabels": {"push": "yes"}}}});
    let spec = json!({"secretStoreRefs": [{"name": "s"}], "selector": selector});
    let mut ps = PushSecret::new("p", serde_json::from_value(spec).unwrap());
    ps.metadata.namespace = Some("ns".into());
    ps.metadata.uid = Some("u".into());
    ps.metadata.generation = Some(1);
    ps.metadata.resource_version = Some(revision.into());
    ps
}

fn secret(of: &str) -> Dependency {
    Dependency::new(Kind::Secret, name(of))
}

impl Bench {
    fn new() -> Self {
        let mut shared = shared();
        let mut all = PushSecrets::new(Box::new(|_| pending().boxed()));
        all.put(&name("p"), ps("1"), &mut shared);
        Self { all, shared }
    }

    /// Begins a look, the queue being empty then.
    fn look(&mut self) {
        self.shared.queue.remove(&item(&name("p")));
        assert!(self.all.look(&name("p"), Timestamp::UNIX_EPOCH, &self.shared).is_some());
    }

    /// Ends it, having read these. Answers whether another is wanted at once.
    fn end(&mut self, read: &[&str]) -> bool {
        let read = read.iter().map(|of| (secret(of), Some(at("1")))).collect();
        let memory = Memory { read: Some(read), ..Memory::default() };
        let outcome = Outcome::Done(keyferry_push::outcome::Done::default());
        let looked = Looked { outcome, memory, status: None, next: None };
        self.all.end(&name("p"), (Arc::new(ps("1")), looked), Duration::ZERO, &mut self.shared);
        self.shared.queue.waiting() > 0
    }

    /// Who is told that a Secret has gone, as the loop tells it.
    fn gone(&mut self, of: &str) -> Vec<Item> {
        let concerned = self.shared.index.saw(&secret(of), &Sighting::Gone(Some("uid".into())), |_| false);
        let noticed = self.all.noticed(&secret(of), None);
        concerned.into_iter().map(|(item, _)| item).chain(noticed.iter().map(item)).collect()
    }
}

#[test]
fn a_source_that_goes_while_a_look_is_under_way_is_missed() {
    let mut bench = Bench::new();
    bench.look();
    assert!(!bench.end(&["one"]));
    bench.look();
    // The look writes its status, of which the watch tells.
    bench.all.put(&name("p"), ps("2"), &mut bench.shared);
    assert_eq!(bench.gone("one"), [item(&name("p"))]);
}

#[test]
fn a_source_that_goes_while_it_is_first_read_is_looked_for_again() {
    let mut bench = Bench::new();
    bench.look();
    assert_eq!(bench.gone("one"), [], "nobody knows yet that it is read");
    assert_eq!(bench.gone("other"), []);
    assert!(bench.end(&["one"]), "it is gone by now");
    bench.look();
    assert!(!bench.end(&[]));
    assert_eq!(bench.gone("other"), []);
    bench.look();
    assert!(!bench.end(&["other"]), "it went before the look");
}

#[test]
fn a_source_that_loses_its_label_while_it_is_first_read_is_looked_at_again() {
    let mut bench = Bench::new();
    bench.look();
    assert_eq!(bench.all.noticed(&secret("one"), Some(&StringMap::new())), [] as [Name; 0]);
    assert!(bench.end(&["one"]));
    let labels = StringMap::from([("push".to_owned(), "yes".to_owned())]);
    assert_eq!(bench.all.noticed(&secret("two"), Some(&labels)), [name("p")], "it has come to be selected");
}

/// One that pushes into stores with the label `team`.
fn choosing(namespace: &str, of: &str) -> (Name, PushSecret) {
    let refs = json!([{"labelSelector": {"matchLabels": {"team": "a"}}}, {"kind": "ClusterSecretStore", "labelSelector": {"matchLabels": {"team": "a"}}}]);
    let spec = json!({"secretStoreRefs": refs, "selector": {"secret": {"name": "src"}}});
    let mut ps = PushSecret::new(of, serde_json::from_value(spec).unwrap());
    ps.metadata.namespace = Some(namespace.to_owned());
    ps.metadata.uid = Some(of.to_owned());
    ((namespace.to_owned(), of.to_owned()), ps)
}

fn labelled(mut store: keyferry_sync::store::Store) -> (StoreId, Arc<keyferry_sync::store::Store>) {
    store.metadata.labels = Some([("team".to_owned(), "a".to_owned())].into());
    (store.id.clone(), Arc::new(store))
}

#[test]
fn a_store_that_is_relabelled_is_asked_about_where_it_may_be_chosen_and_so_often() {
    let mut shared = shared();
    let mut all = PushSecrets::new(Box::new(|_| pending().boxed()));
    for n in 0..ASKED + 50 {
        let (name, ps) = choosing("ns", &format!("p{n:03}"));
        all.put(&name, ps, &mut shared);
    }
    let (other, ps) = choosing("other", "p");
    all.put(&other, ps, &mut shared);
    // What would be compared with too much is compared with nothing.
    let (excessive, mut ps) = choosing("other", "q");
    ps.spec.secret_store_refs = vec![ps.spec.secret_store_refs[1].clone(); 11];
    all.put(&excessive, ps, &mut shared);
    let stores = [
        (labelled(super::super::samples::store("s", 1, json!({}))), vec![("ns", ASKED)]),
        (labelled(super::super::samples::cluster_store("c", 1, json!({}))), vec![("ns", ASKED), ("other", 1)]),
    ];
    for ((id, store), expected) in stores {
        shared.stores.insert(id.clone(), (store, keyferry_sync::store::Readiness::Ready));
        let told = all.chosen(&id, &shared);
        for (namespace, count) in &expected {
            assert_eq!(told.iter().filter(|name| name.0 == *namespace).count(), *count, "{id}");
        }
        assert_eq!(told.len(), expected.iter().map(|(_, count)| count).sum::<usize>(), "{id}");
    }
}

#[test]
fn stores_are_chosen_by_a_look_of_the_namespace_and_the_cluster_as_far_as_they_are_compared() {
    let (looks, seen) = (Arc::new(std::sync::Mutex::new(Vec::new())), StoreId { namespace: None, name: "c".into() });
    let taken = looks.clone();
    let mut all = PushSecrets::new(Box::new(move |look: Look| {
        let stores: Vec<String> = look.stores.keys().map(ToString::to_string).collect();
        taken.lock().unwrap().push((stores.len(), look.stores.contains_key(&seen), look.has_many_stores));
        pending().boxed()
    }));
    let mut shared = shared();
    let (name, ps) = choosing("ns", "p");
    all.put(&name, ps, &mut shared);
    let mut put = |store| {
        let (id, store) = labelled(store);
        shared.stores.insert(id, (store, keyferry_sync::store::Readiness::Ready));
    };
    put(super::super::samples::cluster_store("c", 1, json!({})));
    for n in 0..PUSH_CANDIDATES.size() {
        put(super::super::samples::store(&format!("s{n:04}"), 1, json!({})));
    }
    assert!(all.look(&name, Timestamp::UNIX_EPOCH, &shared).is_some());
    let (id, store) = labelled(super::super::samples::store("z", 1, json!({})));
    shared.stores.insert(id, (store, keyferry_sync::store::Readiness::Ready));
    assert!(all.look(&name, Timestamp::UNIX_EPOCH, &shared).is_some());
    let most = PUSH_CANDIDATES.size() + 1;
    assert_eq!(*looks.lock().unwrap(), [(most, true, false), (most, true, true)]);
}

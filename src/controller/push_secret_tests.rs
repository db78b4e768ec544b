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

use std::sync::Mutex;

use async_trait::async_trait;
use keyferry_crds::Condition;
use keyferry_provider_core::{Keep, Key, Made, State, Term};
use keyferry_sync::ports::{Change, Entered, Planning};
use keyferry_sync::states::NewState;
use keyferry_sync::store::{Store, StoreId};
use serde_json::json;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn now() -> Timestamp {
    at(1000)
}

/// A state of this form, with what is `more`.
fn state(more: Value) -> GeneratorState {
    let mut object = json!({
        "metadata": {"name": "s", "namespace": "ns", "uid": "u", "finalizers": [names::FINALIZER_GENERATOR_STATE]},
        "spec": {"resource": {"kind": "Kept", "metadata": {"name": "g"}, "spec": {"a": 1}}, "state": {"id": 7}},
    });
    for (path, value) in more.as_object().unwrap() {
        let (place, name) = path.rsplit_once('/').unwrap();
        object.pointer_mut(place).unwrap()[name] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

#[test]
fn what_is_to_do_follows_from_the_object() {
    let renew = |second| json!({names::ANNOTATION_RENEW_AT: at(second).to_string()});
    for (more, expected) in [
        (json!({}), Step::Wait(None)),
        (json!({"/metadata/finalizers": []}), Step::Hold),
        (json!({"/spec/garbageCollectionDeadline": at(1000).to_string()}), Step::Delete),
        (json!({"/spec/garbageCollectionDeadline": at(1001).to_string()}), Step::Wait(Some(at(1001)))),
        (json!({"/metadata/deletionTimestamp": at(5).to_string()}), Step::Revoke),
        (
            json!({"/metadata/deletionTimestamp": at(5).to_string(), "/metadata/finalizers": ["other"]}),
            Step::Wait(None),
        ),
        (json!({"/metadata/annotations": renew(1000)}), Step::Renew),
        (json!({"/metadata/annotations": renew(1500)}), Step::Wait(Some(at(1500)))),
        // What is to be revoked is not prolonged.
        (
            json!({"/metadata/annotations": renew(10), "/spec/garbageCollectionDeadline": at(1100).to_string()}),
            Step::Wait(Some(at(1100))),
        ),
    ] {
        assert_eq!(step(&state(more.clone()), now()), expected, "{more}");
    }
}

#[test]
fn what_we_tell_of_one_is_no_reason_to_look_at_it() {
    let told = state(json!({"/status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Error"}]}}));
    assert!(asks_for_the_same(&state(json!({})), &told));
    let flagged = state(json!({"/spec/garbageCollectionDeadline": at(5).to_string()}));
    assert!(!asks_for_the_same(&state(json!({})), &flagged));
}

#[test]
fn a_cluster_generator_is_the_generator_that_it_holds() {
    let spec = json!({"kind": "Grafana", "generator": {"grafanaSpec": {"url": "x"}}});
    let state = state(json!({"/spec/resource": {"kind": "ClusterGenerator", "metadata": {"name": "g"}, "spec": spec}}));
    let generator = generator(&state).unwrap();
    assert_eq!((generator.kind, generator.name, generator.spec), ("Grafana", "g", &json!({"url": "x"})));
    assert!(super::generator(&GeneratorState::default()).is_none());
}

/// Notes what is asked of it, and fails as it is told.
#[derive(Default)]
struct World {
    log: Mutex<Vec<String>>,
    error: Option<Error>,
    renewed: Option<(State, Term)>,
}

impl World {
    fn called(&self, call: String) {
        self.log.lock().unwrap().push(call);
    }
}

#[async_trait]
impl Stores for World {
    fn planning(&self) -> Planning {
        Box::new(())
    }

    fn asking(&self, _: &StoreId) -> Planning {
        Box::new(())
    }

    async fn enter(&self, _: &Store, _: &str) -> Result<Arc<dyn Entered>, Error> {
        unreachable!("no store is asked")
    }

    async fn rehearse(&self, _: &Store, _: &str, _: Change<'_>, _: Option<&Key>) -> Result<(), Error> {
        unreachable!("no store is asked")
    }

    fn generators(&self) -> &[&'static str] {
        &["Kept"]
    }

    fn generator_field(&self, _: &str) -> Option<&'static str> {
        None
    }

    fn has_state(&self, _: &str) -> bool {
        true
    }

    async fn make(&self, _: &Generator<'_>, _: Arc<dyn Keep>) -> Result<Made, Error> {
        unreachable!("nothing is made")
    }

    async fn revoke(&self, generator: &Generator<'_>, state: &State) -> Result<(), Error> {
        self.called(format!("revoke {} {state}", generator.name));
        self.error.clone().map_or(Ok(()), Err)
    }

    async fn renew(&self, _: &Generator<'_>, state: &State) -> Result<Option<(State, Term)>, Error> {
        self.called(format!("renew {state}"));
        self.error.clone().map_or(Ok(self.renewed.clone()), Err)
    }
}

#[async_trait]
impl States for World {
    async fn begin(&self, _: &NewState, _: &State, _: &Marks) -> Result<String, Problem> {
        unreachable!("nothing is made")
    }

    async fn amend(&self, _: &str, name: &str, state: &State, marks: &Marks) -> Result<(), Problem> {
        self.called(format!("amend {name} {state} {:?}", marks.renew_at.map(Timestamp::as_second)));
        Ok(())
    }

    async fn flag(&self, _: &str, _: &str, _: Timestamp) -> Result<(), Problem> {
        unreachable!("that is for who made it")
    }

    async fn forget(&self, _: &str, _: &str) -> Result<(), Problem> {
        unreachable!("that is for who made it")
    }

    async fn hold(&self, _: &GeneratorState) -> Result<(), Problem> {
        self.called("hold".into());
        Ok(())
    }

    async fn delete(&self, _: &GeneratorState) -> Result<(), Problem> {
        self.called("delete".into());
        Ok(())
    }

    async fn release(&self, _: &GeneratorState) -> Result<(), Problem> {
        self.called("release".into());
        Ok(())
    }

    async fn tell(&self, _: &GeneratorState, conditions: &[Condition]) -> Result<(), Problem> {
        let message = conditions[0].message.clone().unwrap_or_default();
        self.called(format!("tell {} {message}", conditions[0].status));
        Ok(())
    }

    fn note(&self, _: &GeneratorState, note: Note) {
        self.called(format!("note {}", note.message));
    }
}

impl Audit for World {
    fn take(&self, delivery: Delivery) {
        let of = delivery.sources.iter().map(|source| format!("{} {}", source.object.kind, source.object.name));
        let of: Vec<String> = of.collect();
        let why = delivery.reason.unwrap_or_default();
        self.called(format!("audit {:?} {:?} {}{why}", delivery.action, delivery.outcome, of.join(",")));
    }
}

async fn look(world: World, more: Value, failures: u32) -> (Vec<String>, Looked) {
    let world = Arc::new(world);
    let work = Revocations { stores: world.clone(), states: world.clone(), audit: world.clone(), now };
    let looked = work.run(Arc::new(state(more)), failures).await;
    let log = std::mem::take(&mut *world.log.lock().unwrap());
    (log, looked)
}

fn deleted(second: i64) -> Value {
    json!({"/metadata/deletionTimestamp": at(second).to_string()})
}

#[tokio::test]
async fn what_is_revoked_goes() {
    let (log, looked) = look(World::default(), deleted(999), 0).await;
    assert_eq!(log, ["revoke g {\"id\":7}", "audit Revoked Done Kept g", "release"]);
    assert!(!looked.has_failed && looked.next.is_none());
}

#[tokio::test]
async fn what_can_not_be_revoked_is_told_once_and_tried_until_it_can() {
    let down = || World { error: Some(Error::new(ErrorKind::Unavailable, "down")), ..World::default() };
    // However long it takes.
    for (second, failures, wait) in [(999, 0, 1), (1, 3, 8), (1, 60, 300)] {
        let (log, looked) = look(down(), deleted(second), failures).await;
        let failed = "audit Revoked Failed Kept gdown";
        assert_eq!(log[..2], ["revoke g {\"id\":7}", failed]);
        assert_eq!(log[2..], ["note can't be revoked: down", "tell False can't be revoked: down"]);
        assert_eq!((looked.has_failed, looked.next), (true, Some(at(1000 + wait))));
    }
    let mut told = deleted(999);
    let condition = json!({"type": "Ready", "status": "False", "message": "can't be revoked: down"});
    told["/status"] = json!({"conditions": [condition]});
    assert_eq!(look(down(), told, 1).await.0.len(), 2);
}

#[tokio::test]
async fn what_nobody_can_ever_revoke_does_not_hold_up_a_namespace_for_ever() {
    let gone = || World { error: Some(Error::invalid("the Secret does not exist")), ..World::default() };
    let (log, _) = look(gone(), deleted(401), 0).await;
    assert!(!log.contains(&"release".to_owned()), "{log:?}");
    let (log, looked) = look(gone(), deleted(400), 0).await;
    assert_eq!(log[3], "release");
    assert!(log[2].starts_with("note let go without being revoked"), "{log:?}");
    assert!(!looked.has_failed);
    for (cause, is_let_go) in [(NAMESPACE_ENDS, true), ("the API server forbids it", false)] {
        let error = Error::new(ErrorKind::Denied, format!("can't get a token: {cause}"));
        let (log, _) = look(World { error: Some(error), ..World::default() }, deleted(400), 0).await;
        assert_eq!(log.contains(&"release".to_owned()), is_let_go, "{log:?}");
    }
}

#[tokio::test]
async fn what_nears_its_end_is_prolonged_as_long_as_that_can_be_done() {
    let due = json!({"/metadata/annotations": {names::ANNOTATION_RENEW_AT: at(1000).to_string()}});
    let term = Term { end: at(1060).into(), renews: true };
    let world = World { renewed: Some((json!({"id": 8}), term)), ..World::default() };
    let (log, _) = look(world, due.clone(), 0).await;
    assert_eq!(log, ["renew {\"id\":7}", "amend s {\"id\":8} Some(1040)"]);
    let (log, _) = look(World::default(), due.clone(), 0).await;
    assert_eq!(log, ["renew {\"id\":7}", "amend s {\"id\":7} None"]);
    let down = World { error: Some(Error::new(ErrorKind::Unavailable, "down")), ..World::default() };
    let (log, looked) = look(down, due, 0).await;
    assert_eq!(log[1..], ["note can't be prolonged: down", "tell False can't be prolonged: down"]);
    assert!(looked.has_failed);
}

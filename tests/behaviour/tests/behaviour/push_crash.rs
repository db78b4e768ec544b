//! kill -9 between any two steps of a push: at each in turn, before it is done and before anybody hears that it was.

use anyhow::{anyhow, ensure};
use keyferry_behaviour_tests::Rig;
use keyferry_doubles::{Faults, Server};
use serde_json::{Value, json};

use crate::pushes::{data, held, push, store_at, until_held, until_synced, version};

tests![kill_9_between_any_two_steps_of_a_push_leaves_nothing_unrecorded];

/// What is under way when the operator is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Under {
    /// A push to a place where nothing is.
    Push,
    /// The same of what is to stay where something is.
    PushUnlessThere,
    /// The deletion of an entry that is not wanted any more.
    Undo,
    /// The deletion of the PushSecret.
    Release,
}

/// The calls that change something in OpenBao: the mark of ours is written before the value.
const STEPS: [(Under, &str, &str); 6] = [
    (Under::Push, "POST", "/secret/metadata/"),
    (Under::Push, "POST", "/secret/data/"),
    (Under::PushUnlessThere, "POST", "/secret/metadata/"),
    (Under::PushUnlessThere, "POST", "/secret/data/"),
    (Under::Undo, "DELETE", "/secret/metadata/"),
    (Under::Release, "DELETE", "/secret/metadata/"),
];

/// What is pushed, in one round.
struct Round<'a> {
    under: Under,
    name: &'a str,
    remote: &'a str,
}

impl Round<'_> {
    fn spec(&self, rig: &Rig, remote: &str) -> Value {
        let policy = if self.under == Under::PushUnlessThere { "IfNotExists" } else { "Replace" };
        json!({"deletionPolicy": "Delete", "updatePolicy": policy, "data": data(rig, remote, &["a"])})
    }

    /// What goes before.
    async fn prepare(&self, rig: &Rig) {
        if matches!(self.under, Under::Undo | Under::Release) {
            push(rig, self.name, self.spec(rig, self.remote)).await;
            until_synced(rig, self.name).await;
        }
    }

    async fn begin(&self, rig: &Rig) {
        match self.under {
            Under::Push | Under::PushUnlessThere => push(rig, self.name, self.spec(rig, self.remote)).await,
            Under::Undo => push(rig, self.name, self.spec(rig, &format!("{}-other", self.remote))).await,
            Under::Release => rig.cluster.delete("PushSecret", self.name).await,
        }
    }

    /// While nobody runs, what is in the store is recorded by a PushSecret that is there.
    async fn is_recorded(&self, rig: &Rig) {
        if held(rig, self.remote).await.is_some() {
            let push = rig.cluster.get("PushSecret", self.name).await.expect("it is there while what it made is");
            let recorded = &push["status"]["syncedPushSecrets"]["SecretStore/s"];
            let place = format!("{}/a", rig.key(self.remote));
            assert!(recorded[&place].is_object(), "{:?}: it knows of {recorded}", self.under);
        }
    }

    /// What the next operator makes of it.
    async fn is_ended(&self, rig: &Rig, value: &str) {
        match self.under {
            Under::Push | Under::PushUnlessThere => {
                until_held(rig, self.remote, Some(json!({"a": value}))).await;
                until_synced(rig, self.name).await;
                assert_eq!(version(rig, self.remote).await, 1, "{:?}: it is written once", self.under);
                rig.cluster.delete("PushSecret", self.name).await;
            }
            Under::Undo => {
                until_held(rig, &format!("{}-other", self.remote), Some(json!({"a": value}))).await;
                until_held(rig, self.remote, None).await;
                rig.cluster.delete("PushSecret", self.name).await;
            }
            Under::Release => {}
        }
        rig.until_gone("PushSecret", self.name).await;
        assert_eq!(held(rig, self.remote).await, None, "{:?}: what it made goes with it", self.under);
    }
}

async fn kill_9_between_any_two_steps_of_a_push_leaves_nothing_unrecorded() {
    let mut rig = Rig::new("push-steps").await;
    let vault = Server::before(rig.vault.url());
    store_at(&rig, "s", &vault.url()).await;
    let value = rig.canaries.value("value");
    rig.secret("src", json!({"a": value})).await;
    for (n, (under, method, path)) in STEPS.into_iter().enumerate() {
        for is_done in [false, true] {
            let (name, remote) = (format!("p{n}-{is_done}"), format!("app-{n}-{is_done}"));
            let round = Round { under, name: &name, remote: &remote };
            round.prepare(&rig).await;
            let at = format!("{path}{}", rig.key(&remote));
            let (hanging, unheard) = if is_done { (0, 100) } else { (100, 0) };
            vault.take_calls();
            vault.fail(Faults { hanging, unheard, paths: vec![at.clone()], method: Some(method), ..Faults::default() });
            round.begin(&rig).await;
            rig.until(format!("{under:?} is at {method} {path}"), async |_: &Rig| {
                let is_there = vault.calls().iter().any(|call| call.method == method && call.path.contains(&at));
                ensure!(is_there, "not yet");
                Ok(())
            })
            .await;
            if is_done {
                // The call is counted when it comes.
                rig.until("it is done".into(), async |rig: &Rig| match (held(rig, &remote).await, path) {
                    (None, "/secret/data/") => Err(anyhow!("not yet written")),
                    (Some(_), _) if method == "DELETE" => Err(anyhow!("not yet deleted")),
                    _ => Ok(()),
                })
                .await;
            }
            rig.kill9();
            vault.fail(Faults::default());
            round.is_recorded(&rig).await;
            rig.start(&[]).await;
            round.is_ended(&rig, &value).await;
        }
    }
    rig.finish().await;
}

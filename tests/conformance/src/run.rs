//! Runs cases: one operator for all, and for each case a namespace.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_behaviour_tests::cluster::{self, SOON};
use keyferry_behaviour_tests::leaks::{self, Place};
use keyferry_behaviour_tests::{Canaries, Cluster, Operator};
use keyferry_testkit::{PATIENT_LEASE, Testbed, eventually};
use serde_json::{Map, Value, json};

use crate::case::{Case, Step};
use crate::compare::differences;
use crate::observe::observe;
use crate::probes;
use crate::quiet::Changes;
use crate::setup;

/// How long what a step expects may take to come. Long, because machines are busy.
const LATEST: Duration = Duration::from_secs(60);

/// What all cases share.
pub struct World {
    testbed: &'static Testbed,
    operator: Operator,
    changes: Changes,
    canaries: Canaries,
    log: PathBuf,
}

impl World {
    /// Starts the testbed and the operator. The values of `cases` must never be seen.
    pub async fn start(cases: &[Case], log: &Path) -> Result<Self> {
        let testbed = cluster::shared().await;
        let canaries = Canaries::default();
        for case in cases {
            case.values().iter().for_each(|value| canaries.add(&format!("a value of {}", case.namespace), value));
        }
        let changes = Changes::watch(&Cluster::new(testbed.kube_client().await, "default"));
        let args = ["--controller-class=default", "--loglevel=trace", "--leader-election-id=keyferry-conformance"];
        let args: Vec<String> = args.into_iter().chain(PATIENT_LEASE).map(str::to_owned).collect();
        let operator = Operator::start(testbed, &args, &[], log).await?;
        Ok(Self { testbed, operator, changes, canaries, log: log.to_owned() })
    }

    /// Runs the case of a file. The error is what a person reads.
    pub async fn run(&self, file: &Path) -> Result<()> {
        let case = Case::read_with(file, &setup::variables(self.testbed))?;
        let mut run = Run::begin(self, &case).await?;
        let mut done = run.steps(&case).await;
        // Also where it failed: what it left behind must not disturb the next run.
        let seen = run.end().await;
        if let Err(leak) = self.look_for_leaks(seen) {
            done = done.and(Err(leak));
        }
        done
    }

    fn look_for_leaks(&self, places: Vec<Place>) -> Result<()> {
        let found = self.canaries.find(&places);
        if found.is_empty() { Ok(()) } else { Err(anyhow!("secrets are to be seen:\n  {}", found.join("\n  "))) }
    }

    /// Ends the operator, and looks for values in all that it said.
    pub async fn finish(mut self) -> Result<()> {
        let metrics = self.operator.metrics().await?;
        self.operator.stop()?;
        let log = std::fs::read(&self.log)?;
        let log = String::from_utf8_lossy(&log).into_owned();
        self.look_for_leaks(vec![Place::new("/metrics", metrics), Place::new("the log", log)])
    }
}

/// A case under way.
struct Run<'a> {
    world: &'a World,
    cluster: Cluster,
    cluster_stores: Vec<String>,
}

/// What the API server made of the objects of a step.
#[derive(Default)]
struct Answers {
    accepted: Map<String, Value>,
    refusals: Vec<String>,
}

impl Answers {
    fn add<T>(&mut self, kind: &str, name: &str, answer: Result<T, String>) {
        let object = format!("{kind}/{name}");
        self.accepted.insert(object.clone(), json!(answer.is_ok()));
        self.refusals.extend(answer.err().map(|refusal| format!("({object} was refused: {refusal})")));
    }
}

impl<'a> Run<'a> {
    async fn begin(world: &'a World, case: &Case) -> Result<Self> {
        let cluster = Cluster::new(world.testbed.kube_client().await, &case.namespace);
        // A testbed that stays up may have it still, from the run before.
        remove_namespace(&cluster).await;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": case.namespace}});
        cluster.apply(&namespace).await;
        probes::forget(world.testbed, case).await?;
        setup::run(world.testbed, &case.setup).await?;
        Ok(Self { world, cluster, cluster_stores: Vec::new() })
    }

    async fn steps(&mut self, case: &Case) -> Result<()> {
        for (n, step) in case.steps.iter().enumerate() {
            let found = self.step(step).await.map_err(|error| anyhow!("step {}: {error:#}", n + 1))?;
            if !found.is_empty() {
                let lines = found.join("\n  ");
                return Err(anyhow!("step {} of {} differs:\n  {lines}", n + 1, case.steps.len()));
            }
        }
        Ok(())
    }

    /// Does a step; gives what differs then.
    async fn step(&mut self, step: &Step) -> Result<Vec<String>> {
        let answers = self.act(step).await?;
        let began = Instant::now();
        loop {
            self.world.changes.quiet(self.cluster.namespace()).await.map_err(|error| anyhow!(error))?;
            let mut got = observe(&self.cluster, &self.cluster_stores).await;
            got["accepted"] = Value::Object(answers.accepted.clone());
            probes::ask(self.world.testbed, &step.expect, &mut got).await?;
            let mut found = differences(&step.expect, &got);
            // It may be quiet because the operator has not come to it yet.
            if found.is_empty() || began.elapsed() > LATEST {
                if !found.is_empty() {
                    found.extend(answers.refusals);
                }
                return Ok(found);
            }
        }
    }

    async fn act(&mut self, step: &Step) -> Result<Answers> {
        let mut answers = Answers::default();
        match (&step.patch, &step.delete) {
            (None, None) => {
                let mut objects: Vec<&Value> = step.apply.iter().collect();
                objects.sort_by_key(|object| turn(object["kind"].as_str().unwrap_or_default()));
                for object in objects {
                    self.apply(object, &mut answers).await?;
                }
            }
            (Some(patch), None) => {
                let merge = without_string_data(&patch.merge);
                let answer = self.cluster.try_patch(&patch.kind, &patch.name, &merge).await;
                answers.add(&patch.kind, &patch.name, answer);
            }
            (None, Some(delete)) => {
                self.cluster.delete(&delete.kind, &delete.name).await;
                answers.add(&delete.kind, &delete.name, Ok(()));
            }
            (Some(_), Some(_)) => return Err(anyhow!("a step is one of apply, patch and delete")),
        }
        Ok(answers)
    }

    async fn apply(&mut self, object: &Value, answers: &mut Answers) -> Result<()> {
        let (name, kind) = names(object)?;
        if kind == "ClusterSecretStore" && !self.cluster_stores.iter().any(|store| store == name) {
            self.cluster_stores.push(name.to_owned());
        }
        let answer = self.cluster.try_apply(&without_string_data(object)).await;
        if answer.is_ok() && matches!(kind, "SecretStore" | "ClusterSecretStore") {
            self.until_condition(kind, name).await;
        }
        answers.add(kind, name, answer);
        Ok(())
    }

    async fn until_condition(&self, kind: &str, name: &str) {
        eventually(SOON, || async {
            let store = self.cluster.get(kind, name).await.unwrap_or_default();
            if store["status"]["conditions"].as_array().is_some_and(|conditions| !conditions.is_empty()) {
                Ok(())
            } else {
                Err(anyhow!("{kind} {name} has no condition"))
            }
        })
        .await;
    }

    /// Removes what it made; gives what was to be seen of it.
    async fn end(self) -> Vec<Place> {
        let mut places = leaks::visible(&self.cluster).await;
        // Where there are none the operator is gone, and the end of the run says so.
        let metrics = self.world.operator.metrics().await.ok();
        places.extend(metrics.map(|metrics| Place::new("/metrics", metrics)));
        for store in &self.cluster_stores {
            self.cluster.delete("ClusterSecretStore", store).await;
        }
        self.cluster.delete("ClusterExternalSecret", self.cluster.namespace()).await;
        self.cluster.delete("Namespace", self.cluster.namespace()).await;
        places
    }
}

/// When objects of a kind are applied: what others refer to comes before them, and what makes copies after what it may meet.
fn turn(kind: &str) -> u8 {
    match kind {
        "ExternalSecret" | "PushSecret" => 1,
        "ClusterExternalSecret" | "ClusterPushSecret" => 2,
        _ => 0,
    }
}

async fn remove_namespace(cluster: &Cluster) {
    cluster.delete("Namespace", cluster.namespace()).await;
    eventually(SOON, || async {
        match cluster.get("Namespace", cluster.namespace()).await {
            None => Ok(()),
            Some(_) => Err(anyhow!("the namespace {} of an earlier run is still there", cluster.namespace())),
        }
    })
    .await;
}

fn names(object: &Value) -> Result<(&str, &str)> {
    match (object["metadata"]["name"].as_str(), object["kind"].as_str()) {
        (Some(name), Some(kind)) => Ok((name, kind)),
        _ => Err(anyhow!("an object without kind or name")),
    }
}

/// `stringData` stands for base64 `data`: the API server merges it into what is there, which a replacement must not.
pub fn without_string_data(object: &Value) -> Value {
    let mut object = object.clone();
    let Some(Value::Object(texts)) = object.as_object_mut().and_then(|object| object.remove("stringData")) else {
        return object;
    };
    for (key, text) in texts {
        object["data"][key] = match text {
            Value::String(text) => json!(STANDARD.encode(text)),
            // In a merge patch: the end of the key.
            other => other,
        };
    }
    object
}

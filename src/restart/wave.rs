//! One round of restarts in a namespace: what changed, who restarts for it, a few at once.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::core::v1::ObjectReference;
use keyferry_cluster::client::ApiProblem;
use keyferry_cluster::events::Events;
use keyferry_cluster::target::rotation;
use keyferry_cluster::workloads::{Kind, Workload, Workloads};
use keyferry_sync::record::{Note, Severity};
use keyferry_sync::told::Told;
use kube::api::ObjectMeta;
use prometheus::{IntCounterVec, IntGauge};
use tokio::time::Instant;

use super::noted::{Noted, is_younger};
use super::who::{Asked, Changed, Says, Verdict, verdict};
use crate::controller::rotated::Rotated;
use crate::report::users::{Use, User};

/// How many workloads of a namespace restart at once.
const AT_ONCE: usize = 5;

/// When it is first looked whether one has its new pods, how long between two looks at most, and for how long: then the next
/// has its turn. Each look takes twice as long to come as the one before: of a thousand namespaces five wait in each.
const POLL: Duration = Duration::from_secs(3);
const LONGEST_POLL: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(600);

/// In whose name workloads are told that they restart.
const COMPONENT: &str = "keyferry-restarts";

/// What rounds work with.
pub struct World {
    /// The workloads.
    pub workloads: Workloads,
    /// Where events go.
    pub events: Events,
    /// Restarts, by outcome.
    pub counted: IntCounterVec,
    /// Workloads that wait for their turn.
    pub waiting: IntGauge,
    /// Whether workloads restart that an ExternalSecret asks for and that say nothing themselves.
    pub without_opt_in: bool,
}

/// What could not be done.
#[derive(Debug)]
pub struct Failed {
    /// For which Secrets; `None` is all of the round.
    pub secrets: Option<BTreeSet<String>>,
    /// Why, and what to do.
    pub why: String,
    /// Whether it passes by itself: an API server that is busy, or not to be reached.
    pub is_passing: bool,
}

/// Restarts who is to be restarted for these Secrets of a namespace and has not been. Answers what is to be tried again.
pub async fn run(world: &World, namespace: &str, rotated: &[Rotated]) -> Vec<Failed> {
    let round = Round { world, namespace, rotated, failed: Mutex::default() };
    let changed = round.changed().await;
    if !changed.is_empty() {
        let candidates = round.candidates(&changed).await;
        let candidates: Vec<_> = candidates.into_iter().map(|one| (one, Waits::new(&world.waiting))).collect();
        let (round, changed) = (&round, &changed);
        let each = |((kind, seen), waits): ((Kind, ObjectMeta), Waits)| async move {
            drop(waits);
            round.see_to(kind, &seen, changed).await;
        };
        stream::iter(candidates).for_each_concurrent(AT_ONCE, each).await;
    }
    round.failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// One that waits for its turn, for as long as this is there.
struct Waits(IntGauge);

impl Waits {
    fn new(all: &IntGauge) -> Self {
        all.inc();
        Self(all.clone())
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.dec();
    }
}

struct Round<'a> {
    world: &'a World,
    namespace: &'a str,
    rotated: &'a [Rotated],
    failed: Mutex<Vec<Failed>>,
}

impl Round<'_> {
    /// Takes note of what could not be done, and of the API server's problem with it.
    fn fail(&self, secrets: Option<BTreeSet<String>>, what: &str, problem: &ApiProblem, remedy: &str) {
        self.world.counted.with_label_values(&["failed"]).inc();
        let (why, is_passing) = (format!("{what}: {problem}{remedy}"), problem.is_temporary());
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(Failed { secrets, why, is_passing });
    }

    /// The Secrets as they are now.
    async fn changed(&self) -> Vec<Changed> {
        let mut all = Vec::new();
        let secrets: BTreeSet<&String> = self.rotated.iter().map(|rotated| &rotated.secret).collect();
        for secret in secrets {
            let metadata = match self.world.workloads.secret(self.namespace, secret).await {
                Ok(Some(metadata)) => metadata,
                // Nobody can restart with it.
                Ok(None) => continue,
                Err(problem) => {
                    let what = format!("can't see when Secret {secret:?} changed");
                    self.fail(Some([secret.clone()].into()), &what, &problem, "");
                    continue;
                }
            };
            let Some(at) = rotation::at(&metadata) else { continue };
            let mut asked = Vec::new();
            for of in self.rotated.iter().filter(|of| of.secret == *secret) {
                match Asked::read(of.asked.as_deref()) {
                    Ok(wish) => asked.push(wish),
                    // Trying again mends nothing: the next change is told anew.
                    Err(why) => {
                        self.world.counted.with_label_values(&["failed"]).inc();
                        super::warn(self.world, of, why);
                    }
                }
            }
            let says = Says::of(&metadata.annotations.unwrap_or_default());
            all.push(Changed { secret: secret.clone(), at, says, asked });
        }
        all
    }

    /// Those that may restart by what they say, whether they use a Secret that changed or not.
    async fn candidates(&self, changed: &[Changed]) -> Vec<(Kind, ObjectMeta)> {
        let mut all = Vec::new();
        for kind in Kind::ALL {
            let may = |metadata: &ObjectMeta| changed.iter().any(|one| self.verdict(kind, metadata, one) > Verdict::No);
            match self.world.workloads.list(kind, self.namespace, may).await {
                Ok(found) => all.extend(found.into_iter().map(|metadata| (kind, metadata))),
                Err(problem) => {
                    let what = format!("can't list {kind}s, to restart those that use what changed");
                    self.fail(None, &what, &problem, remedy(&problem));
                }
            }
        }
        all
    }

    fn verdict(&self, kind: Kind, metadata: &ObjectMeta, changed: &Changed) -> Verdict {
        let (name, says) = (metadata.name.as_deref().unwrap_or_default(), metadata.annotations.as_ref());
        verdict(kind, name, says.unwrap_or(&Default::default()), changed, self.world.without_opt_in)
    }

    /// Restarts one where it is to be, and waits until its new pods are there.
    async fn see_to(&self, kind: Kind, seen: &ObjectMeta, changed: &[Changed]) {
        let name = seen.name.as_deref().unwrap_or_default();
        let workload = match self.world.workloads.read(kind, self.namespace, seen).await {
            Ok(Some(workload)) => workload,
            Ok(None) => return,
            Err(problem) => {
                let what = format!("can't read {kind} {name:?}, to see whether it uses what changed");
                self.fail(None, &what, &problem, remedy(&problem));
                return;
            }
        };
        let missed = self.missed(&workload, changed);
        if missed.is_empty() {
            return;
        }
        let noted = Noted::of(&workload).with(missed.iter().copied());
        let secrets: BTreeSet<String> = missed.iter().map(|changed| changed.secret.clone()).collect();
        match self.world.workloads.restart(&workload, &noted).await {
            Ok(()) => {
                self.tell(&workload, &secrets);
                self.wait(kind, seen).await;
            }
            Err(problem) if problem.is_not_found() => {}
            // Another has taken its place, which began with what the Secret holds now; or others kept changing it.
            Err(problem) if problem.is_conflict() && self.is_gone(kind, seen).await => {}
            Err(problem) => {
                let what = format!("can't restart {kind} {name:?} for {}", list(&secrets));
                self.fail(Some(secrets), &what, &problem, remedy(&problem));
            }
        }
    }

    /// Whether this one is there no more, be it that there is another of its name.
    async fn is_gone(&self, kind: Kind, seen: &ObjectMeta) -> bool {
        matches!(self.world.workloads.read(kind, self.namespace, seen).await, Ok(None))
    }

    /// The changes that its pods have not seen, and that it is to restart for.
    fn missed<'c>(&self, workload: &Workload, changed: &'c [Changed]) -> Vec<&'c Changed> {
        let name = workload.metadata.name.as_deref().unwrap_or_default();
        let uses = User::new(&workload.kind.to_string(), self.namespace, name, &workload.pods);
        let uses = |secret: &str| uses.uses(secret).iter().any(|how| *how != Use::Kubelet);
        let noted = Noted::of(workload);
        let restarts = |one: &Changed| match self.verdict(workload.kind, &workload.metadata, one) {
            Verdict::No => false,
            Verdict::IfUsed => uses(&one.secret),
            Verdict::Yes => true,
        };
        changed.iter().filter(|one| !noted.has(one) && !is_younger(workload, one) && restarts(one)).collect()
    }

    fn tell(&self, workload: &Workload, secrets: &BTreeSet<String>) {
        let (kind, name) = (workload.kind, workload.metadata.name.as_deref().unwrap_or_default());
        let (namespace, named) = (self.namespace, list(secrets));
        tracing::info!(namespace, workload = %kind, name, secrets = named, "restarted");
        self.world.counted.with_label_values(&["restarted"]).inc();
        let note = |message: String| Note::new(Severity::Normal, "Restarted", Told::without_values(message));
        for of in self.rotated.iter().filter(|of| secrets.contains(&of.secret)) {
            let message = format!("restarted {kind} {name:?}, since Secret {:?} changed", of.secret);
            self.world.events.send(of.writer.clone(), of.component, note(message));
        }
        let reference = ObjectReference {
            api_version: Some("apps/v1".to_owned()),
            kind: Some(kind.to_string()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            uid: workload.metadata.uid.clone(),
            ..ObjectReference::default()
        };
        self.world.events.send(reference, COMPONENT, note(format!("restarted, since {named} changed")));
    }

    /// Waits until the pods of one that was restarted are the new ones; not for ever, since others wait for that.
    async fn wait(&self, kind: Kind, seen: &ObjectMeta) {
        let (until, mut pause) = (Instant::now() + PATIENCE, POLL);
        while Instant::now() < until {
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_POLL);
            match self.world.workloads.read(kind, self.namespace, seen).await {
                Ok(Some(workload)) if !workload.is_rolled_out() => {}
                Ok(_) => return,
                Err(problem) if problem.is_temporary() => {}
                Err(_) => return,
            }
        }
        self.world.counted.with_label_values(&["unfinished"]).inc();
        let (namespace, name) = (self.namespace, seen.name.as_deref().unwrap_or_default());
        tracing::warn!(namespace, workload = %kind, name, "restarted, and its new pods do not serve after ten minutes");
    }
}

fn list(secrets: &BTreeSet<String>) -> String {
    let named: Vec<String> = secrets.iter().map(|secret| format!("Secret {secret:?}")).collect();
    named.join(", ")
}

/// What to do where the API server forbids it.
fn remedy(problem: &ApiProblem) -> &'static str {
    if problem.is_status(403) {
        "; let the operator get, list and patch deployments, statefulsets and daemonsets (restarts.enabled of the chart \
         does), or restart them yourself"
    } else {
        ""
    }
}

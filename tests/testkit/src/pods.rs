//! Pods of a test, and what they say.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::{Event, Pod as Object, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use crate::eventually::eventually;
use crate::namespace::Namespace;

/// Longer than a busy machine takes to start a container.
const SOON: Duration = Duration::from_secs(120);

/// A pod that a test made.
pub struct Pod<'n> {
    namespace: &'n Namespace,
    name: String,
}

impl Namespace {
    /// Makes a pod, by name and spec. Without other words it is not started again once it has ended, and ends at once when
    /// it is deleted.
    pub async fn run_pod(&self, name: &str, spec: Value) -> Pod<'_> {
        // Before that, pods are refused.
        let accounts = self.api::<ServiceAccount>();
        eventually(SOON, || accounts.get("default")).await;
        let mut all =
            json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "enableServiceLinks": false});
        if let (Some(all), Value::Object(spec)) = (all.as_object_mut(), spec) {
            all.extend(spec);
        }
        let object = json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": all});
        let object: Object = serde_json::from_value(object).expect("a pod's spec");
        let created = self.api::<Object>().create(&PostParams::default(), &object).await;
        created.unwrap_or_else(|error| panic!("the pod {name} is refused: {error}"));
        self.pod(name)
    }

    /// A pod with one container `main`, which runs a script of the busybox image.
    pub async fn run_script(&self, name: &str, script: &str) -> Pod<'_> {
        let image = self.testbed().node().busybox().expect("the busybox image");
        self.run_pod(name, json!({"containers": [{"name": "main", "image": image, "command": ["sh", "-c", script]}]}))
            .await
    }

    /// A pod that is there, or will be.
    pub fn pod(&self, name: &str) -> Pod<'_> {
        Pod { namespace: self, name: name.to_owned() }
    }
}

impl Pod<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As it is now.
    pub async fn get(&self) -> Object {
        self.api().get(&self.name).await.unwrap_or_else(|error| panic!("the pod {}: {error}", self.name))
    }

    /// Waits for a phase: `Running`, `Succeeded`, `Failed`. What went wrong instead is told by its events.
    pub async fn until_phase(&self, phase: &str) -> Object {
        self.until(|pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(phase)).await
    }

    /// Waits until all its probes succeed.
    pub async fn until_ready(&self) -> Object {
        let is_ready = |pod: &Object| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        self.until(is_ready).await
    }

    async fn until(&self, done: impl Fn(&Object) -> bool) -> Object {
        let api = self.api();
        eventually(SOON, || async {
            let pod = api.get(&self.name).await.map_err(|error| error.to_string())?;
            if done(&pod) {
                return Ok(pod);
            }
            let status = serde_json::to_string(&pod.status).unwrap_or_default();
            Err(format!("{status}\nevents: {:#?}", self.events().await))
        })
        .await
    }

    /// What its first container has written. Blocks.
    pub fn logs(&self) -> Result<String> {
        self.kubectl(&["logs", &self.name])
    }

    /// Runs a command in its first container, and gives what that writes to stdout. Blocks.
    pub fn exec(&self, command: &[&str]) -> Result<String> {
        self.kubectl(&[&["exec", self.name.as_str(), "--"], command].concat())
    }

    /// What is told of it: reason and message of each event.
    pub async fn events(&self) -> Vec<String> {
        let only = ListParams::default().fields(&format!("involvedObject.kind=Pod,involvedObject.name={}", self.name));
        let events = self.namespace.api::<Event>().list(&only).await.map(|list| list.items).unwrap_or_default();
        let told =
            |event: Event| format!("{}: {}", event.reason.unwrap_or_default(), event.message.unwrap_or_default());
        events.into_iter().map(told).collect()
    }

    /// Deletes it and waits until it is gone, with its mounts.
    pub async fn delete(&self) {
        let api = self.api();
        let deleted = api.delete(&self.name, &DeleteParams::default().grace_period(0)).await;
        deleted.unwrap_or_else(|error| panic!("cannot delete the pod {}: {error}", self.name));
        eventually(SOON, || async {
            match api.get_opt(&self.name).await {
                Ok(None) => Ok(()),
                Ok(Some(_)) => Err("it is still there".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }

    fn api(&self) -> Api<Object> {
        self.namespace.api()
    }

    fn kubectl(&self, args: &[&str]) -> Result<String> {
        let namespace = ["--namespace", self.namespace.name()];
        self.namespace.testbed().kubectl(&[&namespace[..], args].concat(), "")
    }
}

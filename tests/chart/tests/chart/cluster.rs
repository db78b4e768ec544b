//! A cluster of its own for each test that installs: CRDs belong to the whole cluster, and taking them away again would
//! be a test of its own.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use keyferry_chart_tests::{Rendered, crds, files, folder};
use keyferry_testkit::{Operator, PATIENT_LEASE, Testbed, eventually};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

/// How long anything may take. Long, because machines are busy.
const SOON: Duration = Duration::from_secs(180);

/// The cluster of one test. One at a time: a control plane is not small.
pub struct Cluster {
    testbed: Testbed,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Waits for its turn; gives a new cluster with an empty namespace.
    pub async fn mine(namespace: &str) -> Self {
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        // As of any cluster with a CSI driver: they are privileged.
        let args = ["--apiserver-arg=--allow-privileged=true"];
        let testbed = Testbed::private(&args).unwrap_or_else(|error| panic!("the testbed did not start: {error:#}"));
        let cluster = Self { testbed, _turn: turn };
        cluster.kubectl(&["create", "namespace", namespace], "").unwrap();
        cluster
    }

    /// Runs kubectl as an admin.
    pub fn kubectl(&self, args: &[&str], input: &str) -> Result<String> {
        self.testbed.kubectl(args, input)
    }

    /// Waits until a user may do this in a namespace.
    pub async fn until_allowed(&self, user: &str, verb: &str, resource: &str, namespace: &str) {
        self.testbed.until_allowed(user, verb, resource, Some(namespace)).await;
    }

    /// Waits until the namespace has what pods run as.
    pub async fn until_account(&self, namespace: &str) {
        eventually(SOON, || async {
            self.get(namespace, "serviceaccount", "default").map(drop).ok_or("no account yet")
        })
        .await;
    }

    /// Runs helm as an admin.
    pub fn helm(&self, args: &[&str]) -> Result<String> {
        self.testbed.helm(args, "")
    }

    /// Installs the chart as `release` into `namespace`, with more arguments.
    pub fn install(&self, release: &str, namespace: &str, more: &[&str]) -> Result<String> {
        let chart = folder();
        let mut args = vec!["install", release, chart.to_str().unwrap(), "--namespace", namespace];
        args.extend(more);
        self.helm(&args)
    }

    /// An object as JSON.
    pub fn get(&self, namespace: &str, kind: &str, name: &str) -> Option<Value> {
        let args = ["get", kind, name, "--namespace", namespace, "--ignore-not-found", "--output=json"];
        let found = self.kubectl(&args, "").unwrap();
        (!found.is_empty()).then(|| serde_json::from_str(&found).unwrap())
    }

    /// The CRDs of our groups.
    pub fn crds(&self) -> Vec<Crd> {
        let found: Value = serde_json::from_str(&self.kubectl(&["get", "crd", "--output=json"], "").unwrap()).unwrap();
        let crds = found["items"].as_array().unwrap().iter().map(|crd| {
            let text = |pointer| crd.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            Crd {
                name: text("/metadata/name"),
                uid: text("/metadata/uid"),
                generation: crd["metadata"]["generation"].as_u64(),
            }
        });
        crds.filter(|crd| crd.name.ends_with("external-secrets.io")).collect()
    }

    /// Runs the operator as a release's pod would run it: with the arguments and the account of its Deployment.
    pub async fn operator(&self, release: &str, namespace: &str) -> Operator {
        self.operator_with(release, namespace, &[]).await
    }

    /// The same with more arguments.
    pub async fn operator_with(&self, release: &str, namespace: &str, more: &[&str]) -> Operator {
        let manifest = self.helm(&["get", "manifest", release, "--namespace", namespace]).unwrap();
        let rendered = Rendered::parse(&manifest);
        let account = rendered.pod()["serviceAccountName"].as_str().unwrap();
        let kubeconfig = self.testbed.account_kubeconfig(namespace, account).unwrap();
        let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
        let mut last = String::new();
        // A port that was free may be taken by somebody else before the operator gets to it.
        for _ in 0..3 {
            let live = Operator::free_port().unwrap();
            // The ports of a pod are its own; those of this machine are shared.
            let args = rendered.args().into_iter().map(|arg| match arg.split('=').next() {
                Some("--live-addr") => format!("--live-addr=127.0.0.1:{live}"),
                Some("--metrics-addr") => "--metrics-addr=127.0.0.1:0".to_owned(),
                _ => arg,
            });
            let mut operator =
                Operator::builder().args(args).args(PATIENT_LEASE).args(more).arg(&kubeconfig).spawn().unwrap();
            match operator.wait_ready(&format!("http://127.0.0.1:{live}/readyz"), SOON).await {
                Ok(()) => return operator,
                Err(error) if error.to_string().contains("can't listen on") => last = error.to_string(),
                Err(error) => panic!("{error:#}"),
            }
        }
        panic!("{last}");
    }

    /// A store of fixed values and an ExternalSecret that asks it, synced.
    pub async fn synced(&self, namespace: &str) -> (String, String) {
        self.kubectl(&["apply", "--namespace", namespace, "--filename=-"], OBJECTS).unwrap();
        let value = "{.data.password}";
        eventually(SOON, || async {
            let args = ["get", "secret", "app", "--namespace", namespace, "--output", &format!("jsonpath={value}")];
            match self.kubectl(&args, "") {
                Ok(found) if found == "c2VzYW1l" => Ok(()),
                other => {
                    Err(format!("{other:?}; {:?}", self.get(namespace, "externalsecret", "app").unwrap()["status"]))
                }
            }
        })
        .await;
        let uid = |kind| self.get(namespace, kind, "app").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
        (uid("externalsecret"), uid("secret"))
    }
}

/// What must not change when it is said that a CRD is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crd {
    pub name: String,
    /// Another one where it was deleted and made anew.
    pub uid: String,
    /// Counts changes of its spec.
    pub generation: Option<u64>,
}

/// The CRDs as users apply them.
pub fn crd_files() -> Vec<PathBuf> {
    files(&crds()).into_iter().map(|(name, _)| crds().join(name)).collect()
}

const OBJECTS: &str = "
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: fixed}
spec:
  provider:
    fake:
      data: [{key: password, value: sesame}]
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: app}
spec:
  secretStoreRef: {name: fixed, kind: SecretStore}
  data: [{secretKey: password, remoteRef: {key: password}}]
";

//! A cluster to migrate: what External Secrets Operator leaves in one, laid down, and the command run on it.
//!
//! Modules: [`eso`] a chart that is like that operator's, values and names included.

pub mod eso;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use keyferry_cluster::connection::Connection;
use keyferry_migrate::{Eso, Outcome, Output};
use keyferry_testkit::{Testbed, eventually};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

/// A cluster of our own, for one test at a time: CRDs and webhooks belong to all of it.
pub struct Cluster {
    /// The servers.
    pub testbed: Testbed,
    _turn: MutexGuard<'static, ()>,
}

/// What the command said.
pub struct Said {
    /// How it ended.
    pub outcome: Result<Outcome, String>,
    /// What it printed.
    pub out: String,
    /// Its lines while it worked.
    pub progress: String,
}

impl Cluster {
    /// Waits for its turn; gives a new cluster with this namespace.
    pub async fn mine(namespace: &str) -> Self {
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        keyferry_testkit::install_crypto_provider();
        let testbed = Testbed::private(&[]).unwrap_or_else(|error| panic!("the testbed did not start: {error:#}"));
        let cluster = Self { testbed, _turn: turn };
        cluster.kubectl(&["create", "namespace", namespace], "");
        cluster
    }

    /// Runs kubectl as an admin; it must succeed.
    #[track_caller]
    pub fn kubectl(&self, args: &[&str], input: &str) -> String {
        self.testbed.kubectl(args, input).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Runs helm as an admin; it must succeed.
    #[track_caller]
    pub fn helm(&self, args: &[&str]) -> String {
        self.testbed.helm(args, "").unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// What kubectl gets, as JSON.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.push("--output=json");
        serde_json::from_str(&self.kubectl(&args, "")).expect("JSON")
    }

    /// Creates objects.
    #[track_caller]
    pub fn create(&self, manifest: &str) {
        self.kubectl(&["create", "--filename=-"], manifest);
    }

    /// Waits until the API server serves every CRD.
    pub async fn established(&self) {
        eventually(Duration::from_secs(180), || async {
            let crds = self.json(&["get", "crd"]);
            let is_served = |crd: &&Value| {
                let conditions = crd.pointer("/status/conditions").and_then(Value::as_array);
                conditions.into_iter().flatten().any(|c| c["type"] == "Established" && c["status"] == "True")
            };
            let all = crds["items"].as_array().into_iter().flatten();
            if all.clone().all(|crd| is_served(&crd)) { Ok(()) } else { Err("a CRD is not served yet") }
        })
        .await;
    }

    /// Namespace, name and a field of every object of these kinds.
    pub fn fields(&self, kinds: &str, pointer: &str) -> Vec<(String, Value)> {
        let found = self.json(&["get", kinds, "--all-namespaces"]);
        let items = found["items"].as_array().cloned().unwrap_or_default();
        let field = |object: &Value| {
            let name = format!(
                "{}/{}/{}",
                text(object, "/kind"),
                text(object, "/metadata/namespace"),
                text(object, "/metadata/name")
            );
            (name, object.pointer(pointer).cloned().unwrap_or_default())
        };
        let mut fields: Vec<_> = items.iter().map(field).collect();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        fields
    }

    /// Runs the command as an admin.
    pub async fn migrate(&self, apply: bool, output: Output) -> Said {
        self.migrate_as(self.testbed.kubeconfig(), apply, output).await
    }

    /// Runs the command with a kubeconfig.
    pub async fn migrate_as(&self, kubeconfig: PathBuf, apply: bool, output: Output) -> Said {
        let args = Eso {
            connection: Connection { kubeconfig: Some(kubeconfig), context: None },
            apply,
            controller_class: "default".to_owned(),
            chart: "config/chart".to_owned(),
            eso_chart: None,
            output,
        };
        migrate(&args).await
    }

    /// Runs a line of a shell as an admin would who reads it off the report, in the folder of the repository; it must
    /// succeed.
    #[track_caller]
    pub fn shell(&self, line: &str) -> String {
        let kubernetes = self.testbed.kubernetes();
        let tools = tempfile::tempdir().expect("a folder");
        let helm = keyferry_testkit::install::helm().expect("helm builds");
        for (name, program) in [("kubectl", &kubernetes.kubectl), ("helm", &helm)] {
            std::os::unix::fs::symlink(program, tools.path().join(name)).expect("a link");
        }
        // As it would be with both in the PATH of the machine.
        let line = format!("PATH={}:$PATH; {line}", tools.path().display());
        let home = tools.path().join("home");
        let ran = std::process::Command::new("bash")
            .args(["-o", "pipefail", "-c", &line])
            .current_dir(Testbed::chart().expect("the chart is in the workspace").join("../.."))
            .env("KUBECONFIG", &kubernetes.kubeconfig)
            .env("HOME", home)
            .output()
            .expect("bash runs");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(ran.status.success(), "{line}\n{}{}", said(&ran.stdout), said(&ran.stderr));
        said(&ran.stdout)
    }

    /// Runs the command as somebody who has External Secrets Operator's chart elsewhere, and reads its report.
    pub async fn report_with(&self, eso_chart: &str, apply: bool) -> Report {
        let args = Eso {
            connection: Connection { kubeconfig: Some(self.testbed.kubeconfig()), context: None },
            apply,
            controller_class: "default".to_owned(),
            chart: "config/chart".to_owned(),
            eso_chart: Some(eso_chart.to_owned()),
            output: Output::Json,
        };
        Report::read(&migrate(&args).await)
    }

    /// Runs the command, and reads its report.
    pub async fn report(&self, apply: bool) -> Report {
        let said = self.migrate(apply, Output::Json).await;
        Report::read(&said)
    }
}

/// Runs the command.
pub async fn migrate(args: &Eso) -> Said {
    let (mut out, mut progress) = (Vec::new(), Vec::new());
    let outcome = keyferry_migrate::run(args, &["fake", "vault"], &mut out, &mut progress).await;
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Said { outcome, out: text(out), progress: text(progress) }
}

/// A report in JSON.
pub struct Report {
    /// How the command ended.
    pub outcome: Outcome,
    /// All of it.
    pub json: Value,
}

impl Report {
    /// Reads what was said.
    #[track_caller]
    pub fn read(said: &Said) -> Self {
        let outcome = said.outcome.clone().unwrap_or_else(|error| panic!("{error}"));
        Self { outcome, json: serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.out)) }
    }

    /// The findings of a code.
    pub fn all(&self, code: &str) -> Vec<&Value> {
        let findings = self.json["findings"].as_array().into_iter().flatten();
        findings.filter(|finding| finding["code"] == code).collect()
    }

    /// The one finding of a code.
    #[track_caller]
    pub fn one(&self, code: &str) -> &Value {
        let found = self.all(code);
        assert_eq!(found.len(), 1, "{code} in {:#}", self.json);
        found[0]
    }

    /// Codes of what blocks.
    pub fn blocking(&self) -> Vec<String> {
        let findings = self.json["findings"].as_array().into_iter().flatten();
        findings.filter(|finding| finding["severity"] == "blocks").map(|finding| text(finding, "/code")).collect()
    }
}

/// A text in an object; empty where there is none.
pub fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A value that is in the chart's values, and nowhere in a report.
pub const HIDDEN: &str = "hunter2-of-the-values";

/// A chart that is like External Secrets Operator's where it matters: CRDs as templates, kept only where `keep` is set; a
/// webhook of which nobody answers; Deployments of its images. Values: `keep`, `webhook`, `replicas`.
pub fn chart() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    write("Chart.yaml", "apiVersion: v2\nname: external-secrets\nversion: 2.9.0\n");
    write("values.yaml", &format!("keep: false\nwebhook: false\nreplicas: 1\npassword: {HIDDEN}\n"));
    let keep = "\nmetadata:\n  annotations:\n    other: \"yes\"\n{{- if .Values.keep }}\n    helm.sh/resource-policy: keep\n{{- end }}\n";
    for crd in keyferry_crds::crds() {
        let text = keyferry_crds::yaml(&crd);
        assert!(!text.contains("{{"), "nothing in it may look like a template");
        write(&format!("templates/{}", keyferry_crds::file_name(&crd)), &text.replace("\nmetadata:\n", keep));
    }
    for (kind, scope) in [("Workflow", "Namespaced"), ("ClusterWorkflow", "Cluster")] {
        let crd = other_crd(kind, scope).replace("\nmetadata:\n", keep);
        write(&format!("templates/{kind}.yaml"), &crd);
    }
    write("templates/webhook.yaml", WEBHOOK);
    for (name, args) in [("external-secrets", ""), ("cert-controller", "args: [certcontroller]")] {
        write(&format!("templates/{name}.yaml"), &DEPLOYMENT.replace("NAME", name).replace("ARGS", args));
    }
    write(
        "templates/account.yaml",
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: of-eso\n  annotations: {eks.amazonaws.com/role-arn: 'arn:aws:iam::1:role/eso'}\n",
    );
    write(
        "templates/secret.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: of-the-chart}\nstringData: {password: {{ .Values.password }}}\n",
    );
    dir
}

/// A CRD of a kind that keyferry does not serve.
pub fn other_crd(kind: &str, scope: &str) -> String {
    let singular = kind.to_lowercase();
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: {singular}s.external-secrets.io\nspec:\n  \
         group: external-secrets.io\n  scope: {scope}\n  names: {{kind: {kind}, plural: {singular}s, singular: {singular}}}\n  versions:\n  \
         - name: v1alpha1\n    served: true\n    storage: true\n    schema: {{openAPIV3Schema: {{type: object, \
         x-kubernetes-preserve-unknown-fields: true}}}}\n"
    )
}

const WEBHOOK: &str = "{{- if .Values.webhook }}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata:
  name: secretstore-validate
  labels: {external-secrets.io/component: webhook}
webhooks:
- name: validate.secretstore.external-secrets.io
  rules: [{apiGroups: [external-secrets.io], apiVersions: [v1], operations: [CREATE, UPDATE, DELETE], resources: [secretstores], scope: Namespaced}]
  clientConfig: {service: {namespace: {{ .Release.Namespace }}, name: external-secrets-webhook, path: /validate}}
  admissionReviewVersions: [v1]
  sideEffects: None
  timeoutSeconds: 5
---
apiVersion: v1
kind: Service
metadata: {name: external-secrets-webhook}
spec: {ports: [{port: 443}], selector: {nobody: has-it}}
{{- end }}
";

const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      serviceAccountName: of-eso
      containers:
      - name: main
        image: ghcr.io/external-secrets/external-secrets:v2.9.0
        ARGS
";

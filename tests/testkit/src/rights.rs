//! The operator of tests has the rights that the chart gives it and no more: tests find what the chart forgot.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};

use crate::eventually::eventually;
use crate::install;
use crate::testbed::Testbed;

/// The namespace of the release whose rights operators have.
pub const OPERATOR_NAMESPACE: &str = "keyferry-system";

/// The release, and with it the ServiceAccount.
pub const OPERATOR_ACCOUNT: &str = "keyferry";

/// How long the token lasts: longer than anybody waits for a test.
const TOKEN_LASTS: &str = "24h";

/// What was granted already.
#[derive(Debug, Default)]
pub(crate) struct Granted {
    kubeconfig: OnceLock<Result<PathBuf, String>>,
    leases: Mutex<BTreeMap<(String, String), u32>>,
}

impl Testbed {
    /// The folder of the Helm chart.
    pub fn chart() -> Result<PathBuf> {
        Ok(install::workspace_root()?.join("config/chart"))
    }

    /// A kubeconfig file of the chart's ServiceAccount, with the rights that the chart gives it by default. Made when
    /// first asked for.
    pub fn operator_kubeconfig(&self) -> Result<PathBuf> {
        let made = self.granted().kubeconfig.get_or_init(|| self.grant().map_err(|error| format!("{error:#}")));
        made.clone().map_err(|error| anyhow!("the operator got no rights: {error}"))
    }

    /// Lets that account have a Lease of another name or in another namespace than the chart's default, as the chart
    /// does where its values say so.
    pub fn allow_lease(&self, namespace: &str, name: &str) -> Result<()> {
        self.allow_leases(namespace, name, 0)
    }

    /// The same, with those of so many shards.
    pub fn allow_leases(&self, namespace: &str, name: &str, shards: u32) -> Result<()> {
        let mut leases = self.granted().leases.lock().unwrap_or_else(PoisonError::into_inner);
        let lease = (namespace.to_owned(), name.to_owned());
        if leases.get(&lease).is_none_or(|granted| *granted < shards) {
            let values = &[
                // The name of the Role, which several Leases of a namespace must not share.
                format!("fullnameOverride={name}"),
                format!("serviceAccount.name={OPERATOR_ACCOUNT}"),
                format!("extraArgs.leader-election-id={name}"),
                format!("extraArgs.leader-election-namespace={namespace}"),
                format!("extraArgs.shards={shards}"),
            ];
            let manifest = self.rendered(values, &["templates/rbac-lease.yaml"])?;
            self.kubectl(&["apply", "--server-side", "--force-conflicts", "--filename=-"], &manifest)?;
            leases.insert(lease, shards);
        }
        Ok(())
    }

    /// Lets that account write targets of other kinds too, as the chart does where its values
    /// (`genericTargets.resources`) name them. `name` is that of the role.
    pub fn allow_targets(&self, name: &str, resources: &Value) -> Result<()> {
        let targets = json!({"enabled": true, "resources": resources});
        let mut helm = self.template(&["templates/rbac.yaml"])?;
        helm.arg(format!("--set=fullnameOverride={name},serviceAccount.name={OPERATOR_ACCOUNT}"));
        helm.arg(format!("--set-json=genericTargets={targets}"));
        let manifest = run(helm, "")?;
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "--filename=-"], &manifest).map(|_| ())
    }

    fn grant(&self) -> Result<PathBuf> {
        let templates = ["templates/serviceaccount.yaml", "templates/rbac.yaml", "templates/rbac-lease.yaml"];
        let manifest = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {OPERATOR_NAMESPACE}}}\n---\n{}",
            self.rendered(&[], &templates)?
        );
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "--filename=-"], &manifest)?;
        self.account_kubeconfig(OPERATOR_NAMESPACE, OPERATOR_ACCOUNT)
    }

    /// A kubeconfig file of a ServiceAccount, which must be there.
    pub fn account_kubeconfig(&self, namespace: &str, account: &str) -> Result<PathBuf> {
        let duration = format!("--duration={TOKEN_LASTS}");
        let token = self.kubectl(&["create", "token", account, "--namespace", namespace, &duration], "")?;
        let admin = self.kubernetes();
        // Another process may use this testbed too, and read its own file while we write ours.
        let name = format!("{namespace}-{account}-{}.kubeconfig", std::process::id());
        let file = self.description().data_dir.join(name);
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "testbed",
            "clusters": [{"name": "testbed", "cluster": {"server": admin.url, "certificate-authority-data": admin.ca_bundle}}],
            "users": [{"name": account, "user": {"token": token.trim()}}],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": account}}],
        });
        fs::write(&file, kubeconfig.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    /// Waits until a user may do this: what was just granted the API server knows some moments later. Without a
    /// namespace it is asked for all of them.
    pub async fn until_allowed(&self, user: &str, verb: &str, resource: &str, namespace: Option<&str>) {
        let namespace = namespace.map_or("--all-namespaces".to_owned(), |name| format!("--namespace={name}"));
        let question = ["auth", "can-i", verb, resource, &namespace, "--as", user];
        // Where the answer is no, kubectl fails.
        eventually(Duration::from_secs(120), || async { self.kubectl(&question, "") }).await;
    }

    /// What the chart's templates make of these values.
    fn rendered(&self, values: &[String], templates: &[&str]) -> Result<String> {
        let mut helm = self.template(templates)?;
        helm.args(values.iter().flat_map(|value| ["--set-string", value]));
        run(helm, "")
    }

    fn template(&self, templates: &[&str]) -> Result<Command> {
        let mut helm = Command::new(install::helm()?);
        helm.args(["template", OPERATOR_ACCOUNT]).arg(Self::chart()?).args(["--namespace", OPERATOR_NAMESPACE]);
        helm.args(templates.iter().flat_map(|template| ["--show-only", template]));
        Ok(helm)
    }

    /// Runs kubectl as an admin, with `input` as its stdin; gives what it writes to stdout.
    pub fn kubectl<S: AsRef<OsStr>>(&self, args: &[S], input: &str) -> Result<String> {
        let kubernetes = self.kubernetes();
        let mut kubectl = Command::new(&kubernetes.kubectl);
        kubectl.arg("--kubeconfig").arg(&kubernetes.kubeconfig).args(args);
        // What an earlier testbed on the same port served is not served by this one.
        kubectl.env("KUBECACHEDIR", self.description().data_dir.join("kubectl"));
        run(kubectl, input)
    }

    /// Runs helm as an admin, with `input` as its stdin; gives what it writes to stdout.
    pub fn helm<S: AsRef<OsStr>>(&self, args: &[S], input: &str) -> Result<String> {
        let mut helm = Command::new(install::helm()?);
        // Not the developer's own repositories and plugins.
        let home = self.description().data_dir.join("helm");
        helm.arg("--kubeconfig").arg(self.kubeconfig()).args(args).envs([
            ("HELM_CACHE_HOME", home.join("cache")),
            ("HELM_CONFIG_HOME", home.join("config")),
            ("HELM_DATA_HOME", home.join("data")),
        ]);
        run(helm, input)
    }
}

/// Runs a program to its end. The error holds what it says.
fn run(mut command: Command, input: &str) -> Result<String> {
    let program = command.get_program().to_owned();
    let mut ran = || {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // Closed when it is dropped. Who does not read it ends early, and says why.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        child.wait_with_output()
    };
    let output = ran().with_context(|| format!("cannot run {}", program.display()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let args: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        let said = String::from_utf8_lossy(&output.stderr);
        Err(anyhow!("{} {} ended with {}:\n{}", program.display(), args.join(" "), output.status, said.trim()))
    }
}

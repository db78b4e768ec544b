//! A namespace with a secret in OpenBao, a store whose login is whoever mounts, and an ExternalSecret that no Secret is made of.

use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Event, ServiceAccount};
use keyferry_testkit::{Namespace, OpenBao, OpenBaoOptions, Operator, Testbed, Vault, eventually};
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};

use crate::kubelet::{Ask, Kubelet, install_definitions};

/// What takes a real server's time.
pub const LONG: Duration = Duration::from_secs(90);

/// The account of pods that may mount.
pub const APP: &str = "app";
/// The account of pods that may not.
pub const STRANGER: &str = "stranger";

/// A namespace and its store.
pub struct Base {
    /// The servers.
    pub testbed: &'static Testbed,
    /// The namespace.
    pub namespace: Namespace,
    /// The store.
    pub vault: Vault,
    /// Where the driver finds it.
    pub url: String,
    /// How the driver reaches the API server.
    pub kubeconfig: PathBuf,
}

/// The same with a driver that is asked by tests.
pub struct Rig {
    base: Base,
    /// The driver.
    pub kubelet: Kubelet,
}

impl Deref for Rig {
    type Target = Base;

    fn deref(&self) -> &Base {
        &self.base
    }
}

impl Rig {
    /// With these flags of the driver.
    pub async fn new(name: &str, args: &[&str]) -> Self {
        Self::of(Self::base(name).await, args).await
    }

    /// With this in the driver's environment.
    pub async fn within(name: &str, environment: &[(&str, String)]) -> Self {
        let base = Self::base(name).await;
        let kubelet = Kubelet::start(base.kubeconfig.clone(), &[], environment).await;
        Self { base, kubelet }
    }

    async fn base(name: &str) -> Base {
        let testbed = tokio::task::spawn_blocking(Testbed::shared).await.expect("a testbed");
        Base::new(testbed, name, testbed.vault_url()).await
    }

    /// The same of what is there already.
    pub async fn of(base: Base, args: &[&str]) -> Self {
        let kubelet = Kubelet::start(base.kubeconfig.clone(), args, &[]).await;
        Self { base, kubelet }
    }

    /// Waits for an event on a pod with this reason, while its volume is asked for; gives its message.
    pub async fn event_after(&self, pod: &str, reason: &str, ask: &Ask) -> String {
        let asking = async {
            loop {
                self.kubelet.publish(ask).await.expect("what stands is answered for");
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        };
        tokio::select! {
            told = self.event(pod, reason, "") => told,
            () = asking => unreachable!("it asks for ever"),
        }
    }
}

/// An OpenBao of its own, which writes down what it is asked.
pub struct Audited {
    server: OpenBao,
    folder: tempfile::TempDir,
}

impl Audited {
    /// One that has begun.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("audit.log");
        let config =
            format!("audit \"file\" \"calls\" {{\n  options {{\n    file_path = \"{}\"\n  }}\n}}\n", log.display());
        let file = folder.path().join("config.hcl");
        std::fs::write(&file, config).expect("a file");
        let options = OpenBaoOptions { args: vec![format!("-config={}", file.display())], ..Default::default() };
        Self { server: OpenBao::start(&options).await.expect("an OpenBao"), folder }
    }

    /// Where it is, on this machine.
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// How often it was asked to read or write what is at a path below this one.
    pub fn count(&self, path: &str) -> usize {
        let log = std::fs::read_to_string(self.folder.path().join("audit.log")).unwrap_or_default();
        let calls = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let calls = calls.filter(|call| call["type"] == "request" && call["request"]["operation"] != "list");
        calls.filter(|call| call["request"]["path"].as_str().is_some_and(|asked| asked.starts_with(path))).count()
    }
}

impl Base {
    /// With a store of its own that counts.
    pub async fn audited(name: &str) -> (Self, Audited) {
        let testbed = tokio::task::spawn_blocking(Testbed::shared).await.expect("a testbed");
        let audited = Audited::start().await;
        let url = audited.url().to_owned();
        (Self::of(testbed, name, audited.server.client().expect("a client"), url).await, audited)
    }

    /// The same, found at another URL.
    pub async fn of_audited(testbed: &'static Testbed, name: &str, audited: &Audited, url: String) -> Self {
        Self::of(testbed, name, audited.server.client().expect("a client"), url).await
    }

    /// With a store that the driver finds at this URL.
    pub async fn new(testbed: &'static Testbed, name: &str, url: String) -> Self {
        Self::of(testbed, name, testbed.vault(), url).await
    }

    async fn of(testbed: &'static Testbed, name: &str, vault: Vault, url: String) -> Self {
        tokio::task::spawn_blocking(|| install_definitions(testbed)).await.expect("definitions");
        let namespace = testbed.namespace(&format!("node-{name}")).await;
        for account in [APP, STRANGER, "driver"] {
            let object = json!({"metadata": {"name": account}});
            let object: ServiceAccount = serde_json::from_value(object).expect("an account");
            namespace.api().create(&PostParams::default(), &object).await.expect("an account is made");
        }
        let kubeconfig = Self::prepare(testbed, &namespace, &vault).await;
        Self { testbed, namespace, vault, url, kubeconfig }
    }

    /// Sets up the store; gives the kubeconfig of the driver, which may do no more than the chart lets it.
    async fn prepare(testbed: &Testbed, namespace: &Namespace, vault: &Vault) -> PathBuf {
        let name = namespace.name();
        vault.enable_kubernetes_auth(name, &testbed.kubernetes()).await.expect("auth");
        let rules = format!("path \"secret/data/{name}/*\" {{ capabilities = [\"read\"] }}");
        vault.write_policy(name, rules).await.expect("a policy");
        let role = json!({
            "bound_service_account_names": APP,
            "bound_service_account_namespaces": name,
            "audience": "vault",
            "policies": name,
            "ttl": "10m",
        });
        let path = format!("auth/{name}/role/app");
        vault.request(reqwest::Method::POST, &path, Some(&role)).await.expect("a role");
        let rules = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": format!("driver-{name}")},
            "rules": [
                {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
                {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
            ],
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("driver-{name}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("driver-{name}")},
            "subjects": [{"kind": "ServiceAccount", "name": "driver", "namespace": name}],
        });
        let text = format!("{rules}\n---\n{binding}");
        testbed.kubectl(&["apply", "--filename=-"], &text).expect("rights of the driver");
        testbed.account_kubeconfig(name, "driver").expect("a kubeconfig")
    }

    /// Applies an object in the namespace.
    pub fn apply(&self, kind: &str, name: &str, spec: Value) {
        let object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace.name()}, "spec": spec,
        });
        self.kubectl(&["apply", "--filename=-"], &object.to_string());
    }

    /// Runs kubectl as an admin.
    pub fn kubectl(&self, args: &[&str], input: &str) -> String {
        let args: Vec<&str> = args.iter().copied().chain(["--namespace", self.namespace.name()]).collect();
        self.testbed.kubectl(&args, input).expect("kubectl")
    }

    /// A store at this URL, whose login is whoever mounts.
    pub fn store(&self, name: &str, url: &str) {
        let auth = json!({
            "mountPath": self.namespace.name(), "role": "app",
            "serviceAccountRef": {"name": "whoever-mounts", "audiences": ["vault"]},
        });
        let vault = json!({
            "server": url, "path": "secret", "version": "v2", "auth": {"kubernetes": auth},
        });
        self.apply("SecretStore", name, json!({"loginBy": "Mount", "provider": {"vault": vault}}));
    }

    /// The store, and an ExternalSecret of it, with this more in its target.
    pub fn declare(&self, name: &str, target: Value) {
        self.store("vault", &self.url);
        let mut policy = json!({"creationPolicy": "None"});
        for (field, value) in target.as_object().into_iter().flatten() {
            policy[field] = value.clone();
        }
        let spec = json!({
            "refreshInterval": "1s",
            "secretStoreRef": {"name": "vault", "kind": "SecretStore"},
            "target": policy,
            "dataFrom": [{"extract": {"key": format!("{}/{name}", self.namespace.name())}}],
        });
        self.apply("ExternalSecret", name, spec);
    }

    /// Has an ExternalSecret refreshed at this interval.
    pub fn refresh_every(&self, name: &str, interval: &str) {
        let patch = json!({"spec": {"refreshInterval": interval}}).to_string();
        self.kubectl(&["patch", "externalsecret", name, "--type=merge", "--patch", &patch], "");
    }

    /// Writes what the store has of it.
    pub async fn put(&self, name: &str, data: Value) {
        self.vault.put(&format!("{}/{name}", self.namespace.name()), data).await.expect("a secret is written");
    }

    /// Lets an account's pods mount it, by what `keyferry grant` prints.
    pub async fn grant(&self, name: &str, account: &str) {
        let program = Operator::program().expect("the program");
        let kubeconfig = self.testbed.kubeconfig();
        let mut command = Command::new(program);
        command.args(["grant", name, "--to", account, "--namespace", self.namespace.name(), "--kubeconfig"]);
        let printed = command.arg(kubeconfig).output().expect("it runs");
        assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
        self.kubectl(&["apply", "--filename=-"], &String::from_utf8_lossy(&printed.stdout));
        let user = format!("system:serviceaccount:{}:{account}", self.namespace.name());
        let resource = format!("externalsecrets.external-secrets.io/{name}");
        self.testbed.until_allowed(&user, "get", &resource, Some(self.namespace.name())).await;
    }

    /// A call of the kubelet for a pod of this account, with fresh tokens.
    pub async fn ask(&self, pod: &str, account: &str, external_secret: &str) -> Ask {
        self.ask_with(pod, account, external_secret, &["", "vault"]).await
    }

    /// The same with tokens of these audiences; none is the API server's own.
    pub async fn ask_with(&self, pod: &str, account: &str, external_secret: &str, audiences: &[&str]) -> Ask {
        let mut tokens = json!({});
        for &audience in audiences {
            let audiences = if audience.is_empty() { vec![] } else { vec![audience.to_owned()] };
            let spec =
                TokenRequestSpec { audiences: Some(audiences), expiration_seconds: Some(3600), ..Default::default() };
            let request = TokenRequest { spec: Some(spec), ..Default::default() };
            let api: Api<ServiceAccount> = self.namespace.api();
            let answer = api.create_token_request(account, &PostParams::default(), &request).await.expect("a token");
            let status = answer.status.expect("a token");
            tokens[audience] = json!({"token": status.token, "expirationTimestamp": status.expiration_timestamp});
        }
        Ask {
            pod: pod.to_owned(),
            namespace: self.namespace.name().to_owned(),
            account: account.to_owned(),
            tokens: tokens.to_string(),
            attributes: vec![("externalSecret".to_owned(), external_secret.to_owned())],
            ..Ask::default()
        }
    }

    /// Waits for an event on a pod with this reason; gives its message.
    pub async fn event(&self, pod: &str, reason: &str, says: &str) -> String {
        eventually(LONG, || async {
            let events: Api<Event> = self.namespace.api();
            let all = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
            let of_pod = all.iter().filter(|event| event.involved_object.name.as_deref() == Some(pod));
            let told: Vec<String> = of_pod
                .filter(|event| event.reason.as_deref() == Some(reason))
                .filter_map(|event| event.message.clone())
                .collect();
            told.iter().find(|message| message.contains(says)).cloned().ok_or_else(|| format!("{reason}: {told:?}"))
        })
        .await
    }
}

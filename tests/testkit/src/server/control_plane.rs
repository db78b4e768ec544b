//! Kubernetes without nodes: etcd, the API server, and the controllers. Service
//! accounts, tokens, garbage collection and namespaces work; pods run where a node is added.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::pki::Pki;
use super::{HttpProbe, Probe, Server, Spec, free_port};
use crate::description::Kubernetes;
use crate::install::Tools;
use crate::node;

/// What a caller may want different.
#[derive(Debug, Clone, Default)]
pub(crate) struct ControlPlaneOptions {
    pub apiserver_args: Vec<String>,
    pub controller_manager_args: Vec<String>,
    /// Files applied before the controllers start. The garbage collector looks for new
    /// kinds every 30 s only: a CRD that is there when it starts saves that wait.
    pub manifests: Vec<PathBuf>,
    /// What the API server is told of a node that comes later.
    pub node: Option<Newcomer>,
}

/// A node that will be there.
#[derive(Debug, Clone)]
pub(crate) struct Newcomer {
    /// How its programs show who they are: the lines of the API server's file of tokens.
    pub tokens: String,
    /// The Unix socket of the way to it.
    pub egress: PathBuf,
}

#[derive(Debug)]
pub(crate) struct ControlPlane {
    pub servers: [Server; 3],
    pub access: Kubernetes,
    pub pki: Pki,
}

impl ControlPlane {
    pub async fn start(tools: &Tools, dir: &Path, options: &ControlPlaneOptions) -> Result<Self> {
        let pki = Pki::create(dir)?;
        let token = random_token();
        let tokens = dir.join("tokens.csv");
        let more = options.node.as_ref().map_or("", |node| &node.tokens);
        write(&tokens, &format!("{token},admin,admin-uid,\"system:masters\"\n{more}"))?;

        let etcd = Server::start(|| etcd(tools, dir)).await?;
        let etcd_url = etcd.spec.url_of("--advertise-client-urls=")?;
        let api_server = Server::start(|| api_server(tools, dir, &pki, &tokens, &token, &etcd_url, options)).await?;
        let access = access(tools, dir, &pki, &token, api_server.spec.url_of("--service-account-issuer=")?)?;
        for manifest in &options.manifests {
            apply(&access, manifest).await?;
        }
        let controllers = Server::start(|| controller_manager(tools, dir, &pki, &access, options)).await?;
        Ok(Self { servers: [etcd, api_server, controllers], access, pki })
    }
}

fn etcd(tools: &Tools, dir: &Path) -> Result<Spec> {
    let client = format!("http://127.0.0.1:{}", free_port()?);
    let peer = format!("http://127.0.0.1:{}", free_port()?);
    Ok(Spec {
        name: "etcd",
        program: tools.etcd.clone(),
        args: vec![
            "--name=testbed".into(),
            format!("--data-dir={}", dir.join("etcd").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=testbed={peer}"),
            // The data is thrown away: it need not survive a power cut.
            "--unsafe-no-fsync".into(),
            // It is alone, so it need not wait long for others before it leads.
            "--heartbeat-interval=10".into(),
            "--election-timeout=100".into(),
            "--log-level=warn".into(),
        ],
        dir: dir.to_owned(),
        inside: None,
        log: dir.join("etcd.log"),
        ready: Probe::plain(format!("{client}/health")),
    })
}

fn api_server(
    tools: &Tools,
    dir: &Path,
    pki: &Pki,
    tokens: &Path,
    token: &str,
    etcd_url: &str,
    options: &ControlPlaneOptions,
) -> Result<Spec> {
    let port = free_port()?;
    let url = format!("https://127.0.0.1:{port}");
    let mut args = vec![
        format!("--etcd-servers={etcd_url}"),
        "--bind-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={}", pki.certificate.display()),
        format!("--tls-private-key-file={}", pki.key.display()),
        format!("--cert-dir={}", dir.display()),
        // Stores that check tokens by OpenID discovery follow this URL.
        format!("--service-account-issuer={url}"),
        format!("--service-account-key-file={}", pki.service_account_public_key.display()),
        format!("--service-account-signing-key-file={}", pki.service_account_key.display()),
        format!("--token-auth-file={}", tokens.display()),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
    ];
    match &options.node {
        Some(newcomer) => args.extend(node_args(dir, pki, newcomer)?),
        None => args.extend([
            "--advertise-address=127.0.0.1".into(),
            "--authorization-mode=RBAC".into(),
            // It refuses to publish a loopback address, and would say so every ten seconds.
            "--endpoint-reconciler-type=none".into(),
        ]),
    }
    args.extend(options.apiserver_args.iter().cloned());
    Ok(Spec {
        name: "kube-apiserver",
        program: tools.kube_apiserver.clone(),
        args,
        dir: dir.to_owned(),
        inside: None,
        log: dir.join("kube-apiserver.log"),
        ready: Probe::Http(HttpProbe {
            url: format!("{url}/readyz"),
            header: Some(("Authorization", format!("Bearer {token}"))),
            ca_file: Some(pki.ca.clone()),
        }),
    })
}

/// What pods and kubelets need of an API server, and how it reaches them.
fn node_args(dir: &Path, pki: &Pki, newcomer: &Newcomer) -> Result<Vec<String>> {
    let egress = dir.join("egress.json");
    let connection = json!({
        "proxyProtocol": "HTTPConnect",
        "transport": {"uds": {"udsName": newcomer.egress}},
    });
    let selections = json!({
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [{"name": "cluster", "connection": connection}],
    });
    write(&egress, &selections.to_string())?;
    Ok(vec![
        // Where pods find it: a way leads from there to its own port.
        format!("--advertise-address={}", node::ADDRESS),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged=true".into(),
        format!("--egress-selector-config-file={}", egress.display()),
        format!("--kubelet-client-certificate={}", pki.client_certificate.display()),
        format!("--kubelet-client-key={}", pki.client_key.display()),
        "--kubelet-preferred-address-types=InternalIP".into(),
    ])
}

fn controller_manager(
    tools: &Tools,
    dir: &Path,
    pki: &Pki,
    access: &Kubernetes,
    options: &ControlPlaneOptions,
) -> Result<Spec> {
    let mut args = vec![
        format!("--kubeconfig={}", access.kubeconfig.display()),
        format!("--service-account-private-key-file={}", pki.service_account_key.display()),
        format!("--root-ca-file={}", pki.ca.display()),
        // One identity for all controllers, and no brake: making some forty service
        // accounts at 20 requests a second would double the time to start.
        "--use-service-account-credentials=false".into(),
        "--kube-api-qps=1000".into(),
        "--kube-api-burst=1000".into(),
        "--leader-elect=false".into(),
        // Nobody asks it anything, so it need not listen.
        "--secure-port=0".into(),
    ];
    args.extend(options.controller_manager_args.iter().cloned());
    Ok(Spec {
        name: "kube-controller-manager",
        program: tools.kube_controller_manager.clone(),
        args,
        dir: dir.to_owned(),
        inside: None,
        log: dir.join("kube-controller-manager.log"),
        // It works when it has made the first service account.
        ready: Probe::Http(HttpProbe {
            url: format!("{}/api/v1/namespaces/default/serviceaccounts/default", access.url),
            header: Some(("Authorization", format!("Bearer {}", access.token))),
            ca_file: Some(pki.ca.clone()),
        }),
    })
}

fn access(tools: &Tools, dir: &Path, pki: &Pki, token: &str, url: String) -> Result<Kubernetes> {
    let ca_bundle = BASE64.encode(&pki.ca_pem);
    let kubeconfig = dir.join("kubeconfig");
    write(&kubeconfig, &kubeconfig_text(&url, &ca_bundle, token))?;
    Ok(Kubernetes {
        url,
        kubeconfig,
        ca_file: pki.ca.clone(),
        ca_bundle,
        token: token.to_owned(),
        kubectl: tools.kubectl.clone(),
    })
}

/// A kubeconfig of whoever has this token.
pub(super) fn kubeconfig_text(url: &str, ca_bundle: &str, token: &str) -> String {
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         current-context: testbed\n\
         clusters:\n\
         - name: testbed\n  \
           cluster:\n    \
             server: {url}\n    \
             certificate-authority-data: {ca_bundle}\n\
         users:\n\
         - name: admin\n  \
           user:\n    \
             token: {token}\n\
         contexts:\n\
         - name: testbed\n  \
           context:\n    \
             cluster: testbed\n    \
             user: admin\n"
    )
}

async fn apply(access: &Kubernetes, manifest: &Path) -> Result<()> {
    let output = tokio::process::Command::new(&access.kubectl)
        .arg("--kubeconfig")
        .arg(&access.kubeconfig)
        .args(["apply", "--server-side", "--filename"])
        .arg(manifest)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run kubectl")?;
    if output.status.success() {
        Ok(())
    } else {
        Err(anyhow!("cannot apply {}: {}", manifest.display(), String::from_utf8_lossy(&output.stderr).trim()))
    }
}

pub(super) fn random_token() -> String {
    format!("{:032x}", rand::random::<u128>())
}

pub(super) fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

impl Spec {
    /// The value of one of our own arguments.
    fn url_of(&self, argument: &str) -> Result<String> {
        let value = self.args.iter().find_map(|arg| arg.strip_prefix(argument));
        let value = value.ok_or_else(|| anyhow!("{} has no {argument}", self.name))?;
        Ok(value.to_owned())
    }
}

//! The programs of a node: containerd, kubelet and kube-proxy inside, and the scheduler beside the other controllers.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use super::control_plane::{Newcomer, kubeconfig_text, random_token, write};
use super::pki::Pki;
use super::{ControlPlane, HttpProbe, Probe, Server, Spec, free_port, http_client};
use crate::description::Kubernetes;
use crate::install::NodeTools;
use crate::node::config::{Files, PAUSE_IMAGE};
use crate::node::{self, House, Inside, proxy_socket};

/// A node is Ready once its network is known to work.
const READY_WITHIN: Duration = Duration::from_secs(120);
const ASK_EVERY: Duration = Duration::from_millis(50);

/// How the programs show the API server who they are.
#[derive(Debug)]
pub(crate) struct Tokens {
    kubelet: String,
    scheduler: String,
    proxy: String,
}

impl Tokens {
    pub fn new() -> Self {
        Self { kubelet: random_token(), scheduler: random_token(), proxy: random_token() }
    }

    /// What the API server is told, before the node is there. `dir` is the node's folder.
    pub fn newcomer(&self, dir: &Path) -> Newcomer {
        let Self { kubelet, scheduler, proxy } = self;
        let tokens = format!(
            "{kubelet},system:node:{},node-uid,\"system:nodes\"\n\
             {scheduler},system:kube-scheduler,scheduler-uid\n\
             {proxy},system:kube-proxy,proxy-uid\n",
            node::NAME
        );
        Newcomer { tokens, egress: proxy_socket(dir) }
    }
}

/// The programs, running.
#[derive(Debug)]
pub(crate) struct Node {
    pub servers: [Server; 4],
}

/// What all of them need to know.
struct Site<'a> {
    tools: &'a NodeTools,
    dir: &'a Path,
    inside: &'a Inside,
    /// The node's view of `/run`, from outside.
    root: PathBuf,
    access: &'a Kubernetes,
    pki: &'a Pki,
}

impl Node {
    /// Starts them, and waits until pods can run.
    pub async fn start(
        tools: &NodeTools,
        dir: &Path,
        house: &House,
        control_plane: &ControlPlane,
        tokens: &Tokens,
    ) -> Result<Self> {
        let (access, pki) = (&control_plane.access, &control_plane.pki);
        let root = PathBuf::from(format!("/proc/{}/root", house.init()));
        let site = Site { tools, dir, inside: &house.inside, root, access, pki };
        house.ways.let_out(port_of(&access.url)?).await?;
        let url = access.url.replace("127.0.0.1", node::ADDRESS);
        let proxy_kubeconfig = site.kubeconfig("proxy", &url, &tokens.proxy)?;
        let kubelet_kubeconfig = site.kubeconfig("kubelet", &url, &tokens.kubelet)?;
        let scheduler_kubeconfig = site.kubeconfig("scheduler", &access.url, &tokens.scheduler)?;
        let files = Files::write(dir, &tools.runc, &tools.cni, &pki.ca, &proxy_kubeconfig)?;
        let containerd = Server::start(|| site.containerd(&files)).await?;
        import(tools, house, &pause_image(tools)?, dir)?;
        let (kubelet, proxy, scheduler) = tokio::try_join!(
            Server::start(|| site.kubelet(&files, &kubelet_kubeconfig)),
            Server::start(|| site.proxy(&files)),
            Server::start(|| site.scheduler(&scheduler_kubeconfig)),
        )?;
        until_ready(access).await?;
        Ok(Self { servers: [containerd, kubelet, proxy, scheduler] })
    }
}

impl Site<'_> {
    fn kubeconfig(&self, who: &str, url: &str, token: &str) -> Result<PathBuf> {
        let file = self.dir.join(format!("{who}.kubeconfig"));
        write(&file, &kubeconfig_text(url, &self.access.ca_bundle, token))?;
        Ok(file)
    }

    fn containerd(&self, files: &Files) -> Result<Spec> {
        let ready = Probe::Socket(self.root.join(node::CONTAINERD_SOCKET.trim_start_matches('/')));
        let args = vec![format!("--config={}", files.containerd.display()), "--log-level=info".into()];
        Ok(self.spec("containerd", &self.tools.containerd, args, ready))
    }

    fn kubelet(&self, files: &Files, kubeconfig: &Path) -> Result<Spec> {
        let args = vec![
            format!("--config={}", files.kubelet.display()),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--hostname-override={}", node::NAME),
            format!("--node-ip={}", node::ADDRESS),
            format!("--root-dir={}", node::KUBELET_ROOT),
        ];
        let ready = self.through_the_api_server(&format!("nodes/{}/proxy/healthz", node::NAME));
        Ok(self.spec("kubelet", &self.tools.kubelet, args, ready))
    }

    fn proxy(&self, files: &Files) -> Result<Spec> {
        let args = vec![format!("--config={}", files.proxy.display())];
        let ready = self.through_the_api_server(&format!("nodes/{}:10256/proxy/livez", node::NAME));
        Ok(self.spec("kube-proxy", &self.tools.kube_proxy, args, ready))
    }

    /// It is a client of the API server and no more: it runs outside.
    fn scheduler(&self, kubeconfig: &Path) -> Result<Spec> {
        let port = free_port()?;
        let args = vec![
            format!("--kubeconfig={}", kubeconfig.display()),
            "--leader-elect=false".into(),
            "--bind-address=127.0.0.1".into(),
            format!("--secure-port={port}"),
            format!("--tls-cert-file={}", self.pki.certificate.display()),
            format!("--tls-private-key-file={}", self.pki.key.display()),
        ];
        let url = format!("https://127.0.0.1:{port}/readyz");
        let ready = Probe::Http(HttpProbe { url, header: None, ca_file: Some(self.pki.ca.clone()) });
        let spec = self.spec("kube-scheduler", &self.tools.kube_scheduler, args, ready);
        Ok(Spec { inside: None, ..spec })
    }

    fn spec(&self, name: &'static str, program: &Path, args: Vec<String>, ready: Probe) -> Spec {
        Spec {
            name,
            program: program.to_owned(),
            args,
            dir: self.dir.to_owned(),
            log: self.dir.join(format!("{name}.log")),
            inside: Some(self.inside.clone()),
            ready,
        }
    }

    fn through_the_api_server(&self, path: &str) -> Probe {
        Probe::Http(HttpProbe {
            url: format!("{}/api/v1/{path}", self.access.url),
            header: Some(("Authorization", format!("Bearer {}", self.access.token))),
            ca_file: Some(self.access.ca_file.clone()),
        })
    }
}

fn port_of(url: &str) -> Result<u16> {
    let port = url.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.ok_or_else(|| anyhow!("{url} has no port"))
}

/// What holds a pod's namespaces need only wait.
fn pause_image(tools: &NodeTools) -> Result<keyferry_image::Image> {
    let image = keyferry_image::Image::new(PAUSE_IMAGE).file("/bin/busybox", 0o755, &tools.busybox)?;
    Ok(image.entrypoint(&["/bin/busybox", "sleep", "2147483647"]))
}

fn import(tools: &NodeTools, house: &House, image: &keyferry_image::Image, dir: &Path) -> Result<()> {
    let archive = dir.join("pause.tar");
    image.write_archive(&archive)?;
    let ctr = node::import_command(&tools.ctr, &archive);
    let mut process = house.inside.start("ctr", ctr, dir, &dir.join("ctr.log"))?;
    let status = process.wait(READY_WITHIN)?;
    if status.success() {
        Ok(())
    } else {
        Err(anyhow!("ctr ended with {status}; see {}", process.log_file().display()))
    }
}

async fn until_ready(access: &Kubernetes) -> Result<()> {
    let client = http_client(Some(&access.ca_file))?;
    let url = format!("{}/api/v1/nodes/{}", access.url, node::NAME);
    let start = Instant::now();
    loop {
        let answer = client.get(&url).bearer_auth(&access.token).send().await?.bytes().await?;
        let object: serde_json::Value = serde_json::from_slice(&answer).context("the API server answers no JSON")?;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
        // Until its own tolerance is told, pods are not put there.
        if ready.is_some_and(|ready| ready["status"] == "True") && object["spec"]["taints"].is_null() {
            return Ok(());
        }
        if start.elapsed() > READY_WITHIN {
            let cause = ready.map_or("it says nothing".into(), |ready| ready["message"].to_string());
            return Err(anyhow!("the node was not ready within {READY_WITHIN:?}: {cause}"));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

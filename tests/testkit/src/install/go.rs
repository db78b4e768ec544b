//! What Go builds: the control plane, a node, helm, and the tools that encrypt documents. Versions are pinned by the `go.mod` and
//! `go.sum` files of `tests/tools`, which are compiled in, so that a program that
//! lies elsewhere still builds the same.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::cache::Artifact;

const AGE_MOD: &str = include_str!("../../../tools/age/go.mod");
const AGE_SUM: &str = include_str!("../../../tools/age/go.sum");
const CNI_MOD: &str = include_str!("../../../tools/cni/go.mod");
const CNI_SUM: &str = include_str!("../../../tools/cni/go.sum");
const CONTAINERD_MOD: &str = include_str!("../../../tools/containerd/go.mod");
const CONTAINERD_SUM: &str = include_str!("../../../tools/containerd/go.sum");
const CSI_SANITY_MOD: &str = include_str!("../../../tools/csi-sanity/go.mod");
const CSI_SANITY_SUM: &str = include_str!("../../../tools/csi-sanity/go.sum");
const ENV_READERS: &str = include_str!("../../../tools/env-readers/main.go");
const ENV_READERS_MOD: &str = include_str!("../../../tools/env-readers/go.mod");
const ENV_READERS_SUM: &str = include_str!("../../../tools/env-readers/go.sum");
const ETCD_MOD: &str = include_str!("../../../tools/etcd/go.mod");
const ETCD_SUM: &str = include_str!("../../../tools/etcd/go.sum");
const HELM_MOD: &str = include_str!("../../../tools/helm/go.mod");
const HELM_SUM: &str = include_str!("../../../tools/helm/go.sum");
const KUBESEAL_MOD: &str = include_str!("../../../tools/kubeseal/go.mod");
const KUBESEAL_SUM: &str = include_str!("../../../tools/kubeseal/go.sum");
const KUBERNETES_MOD: &str = include_str!("../../../tools/kubernetes/go.mod");
const KUBERNETES_SUM: &str = include_str!("../../../tools/kubernetes/go.sum");
const PROMETHEUS_MOD: &str = include_str!("../../../tools/prometheus/go.mod");
const PROMETHEUS_SUM: &str = include_str!("../../../tools/prometheus/go.sum");
const SOPS_MOD: &str = include_str!("../../../tools/sops/go.mod");
const SOPS_SUM: &str = include_str!("../../../tools/sops/go.sum");

pub(super) fn age() -> Artifact {
    let version = pinned(AGE_MOD, "filippo.io/age");
    Module {
        title: format!("age {version}"),
        go_mod: AGE_MOD,
        go_sum: AGE_SUM,
        ldflags: "-s -w".into(),
        programs: vec![("age", "filippo.io/age/cmd/age")],
    }
    .artifact()
}

pub(super) fn sops() -> Artifact {
    let version = pinned(SOPS_MOD, "github.com/getsops/sops/v3");
    Module {
        title: format!("sops {version}"),
        go_mod: SOPS_MOD,
        go_sum: SOPS_SUM,
        ldflags: "-s -w".into(),
        programs: vec![("sops", "github.com/getsops/sops/v3/cmd/sops")],
    }
    .artifact()
}

/// A program of ours around the libraries of others.
pub(super) fn env_readers() -> Artifact {
    let versions = ["github.com/compose-spec/compose-go/v2", "github.com/docker/cli"];
    let [compose, docker] = versions.map(|module| pinned(ENV_READERS_MOD, module));
    let Artifact { title, inputs, contains, make } = Module {
        title: format!("env-readers compose-go {compose} docker {docker}"),
        go_mod: ENV_READERS_MOD,
        go_sum: ENV_READERS_SUM,
        ldflags: "-s -w".into(),
        programs: vec![("env-readers", ".")],
    }
    .artifact();
    Artifact {
        title,
        inputs: format!("{inputs}\n{ENV_READERS}"),
        contains,
        make: Box::new(move |folder, progress| {
            fs::write(folder.join("main.go"), ENV_READERS)?;
            make(folder, progress)
        }),
    }
}

pub(super) fn kubeseal() -> Artifact {
    let version = pinned(KUBESEAL_MOD, "github.com/bitnami-labs/sealed-secrets");
    Module {
        title: format!("kubeseal {version}"),
        go_mod: KUBESEAL_MOD,
        go_sum: KUBESEAL_SUM,
        ldflags: format!("-s -w -X main.VERSION={version}"),
        programs: vec![("kubeseal", "github.com/bitnami-labs/sealed-secrets/cmd/kubeseal")],
    }
    .artifact()
}

/// Prometheus, without what finds out in clouds whom it asks.
pub(super) fn prometheus() -> Artifact {
    let version = pinned(PROMETHEUS_MOD, "github.com/prometheus/prometheus");
    Module {
        title: format!("prometheus {version}"),
        go_mod: PROMETHEUS_MOD,
        go_sum: PROMETHEUS_SUM,
        ldflags: "-s -w".into(),
        programs: vec![
            ("promtool", "github.com/prometheus/prometheus/cmd/promtool"),
            ("prometheus", "github.com/prometheus/prometheus/cmd/prometheus"),
        ],
    }
    .tagged("remove_all_sd")
}

pub(super) fn etcd() -> Artifact {
    let version = pinned(ETCD_MOD, "go.etcd.io/etcd/server/v3");
    Module {
        title: format!("etcd {version}"),
        go_mod: ETCD_MOD,
        go_sum: ETCD_SUM,
        ldflags: "-s -w".into(),
        programs: vec![("etcd", "go.etcd.io/etcd/server/v3")],
    }
    .artifact()
}

pub(super) fn helm() -> Artifact {
    let version = pinned(HELM_MOD, "helm.sh/helm/v4");
    Module {
        title: format!("helm {version}"),
        go_mod: HELM_MOD,
        go_sum: HELM_SUM,
        // Charts may ask which Helm renders them.
        ldflags: format!("-s -w -X helm.sh/helm/v4/internal/version.version={version}"),
        programs: vec![("helm", "helm.sh/helm/v4/cmd/helm")],
    }
    .artifact()
}

pub(super) fn kubernetes() -> Artifact {
    kubernetes_programs(
        "kubernetes",
        vec![
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            CONTROLLER_MANAGER,
            ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
        ],
    )
}

/// What a node adds to the control plane.
pub(super) fn node() -> Artifact {
    kubernetes_programs(
        "kubernetes-node",
        vec![
            ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
            ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
            ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        ],
    )
}

pub(super) fn containerd() -> Artifact {
    let version = pinned(CONTAINERD_MOD, "github.com/containerd/containerd/v2");
    Module {
        title: format!("containerd {version}"),
        go_mod: CONTAINERD_MOD,
        go_sum: CONTAINERD_SUM,
        ldflags: "-s -w".into(),
        programs: vec![
            ("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
            ("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
            ("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
        ],
    }
    .artifact()
}

pub(super) fn cni() -> Artifact {
    let version = pinned(CNI_MOD, "github.com/containernetworking/plugins");
    Module {
        title: format!("cni {version}"),
        go_mod: CNI_MOD,
        go_sum: CNI_SUM,
        ldflags: "-s -w".into(),
        programs: vec![
            ("bridge", "github.com/containernetworking/plugins/plugins/main/bridge"),
            ("host-local", "github.com/containernetworking/plugins/plugins/ipam/host-local"),
            ("loopback", "github.com/containernetworking/plugins/plugins/main/loopback"),
        ],
    }
    .artifact()
}

pub(super) fn csi_sanity() -> Artifact {
    let version = pinned(CSI_SANITY_MOD, "github.com/kubernetes-csi/csi-test/v5");
    Module {
        title: format!("csi-sanity {version}"),
        go_mod: CSI_SANITY_MOD,
        go_sum: CSI_SANITY_SUM,
        ldflags: "-s -w".into(),
        programs: vec![("csi-sanity", "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity")],
    }
    .artifact()
}

/// For those who bring everything else in `KUBEBUILDER_ASSETS`.
pub(super) fn controller_manager_only() -> Artifact {
    kubernetes_programs("kube-controller-manager", vec![CONTROLLER_MANAGER])
}

const CONTROLLER_MANAGER: (&str, &str) = ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager");

fn kubernetes_programs(title: &str, programs: Vec<(&'static str, &'static str)>) -> Artifact {
    let version = pinned(KUBERNETES_MOD, "k8s.io/kubernetes");
    Module {
        title: format!("{title} {version}"),
        go_mod: KUBERNETES_MOD,
        go_sum: KUBERNETES_SUM,
        ldflags: version_flags(version),
        programs,
    }
    .artifact()
}

/// Makes `/version` tell the truth: a build without these flags calls itself
/// v0.0.0, and clients that look at the version refuse it.
fn version_flags(version: &str) -> String {
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    [("gitVersion", version), ("gitMajor", major), ("gitMinor", minor), ("gitTreeState", "clean")]
        .iter()
        .fold("-s -w".to_owned(), |flags, (name, value)| {
            format!("{flags} -X k8s.io/component-base/version.{name}={value}")
        })
}

/// What a build waits for before it is tried again: it downloads its modules, over networks that fail now and then.
const PAUSES: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(30)];

struct Module {
    title: String,
    go_mod: &'static str,
    go_sum: &'static str,
    ldflags: String,
    /// File name and package of each.
    programs: Vec<(&'static str, &'static str)>,
}

impl Module {
    fn artifact(self) -> Artifact {
        self.tagged("")
    }

    /// The same, built with these tags.
    fn tagged(self, tags: &'static str) -> Artifact {
        let programs: Vec<String> = self.programs.iter().map(|p| p.0.to_owned()).collect();
        Artifact {
            title: self.title.clone(),
            inputs: format!("{}\n{}\n{}{tags}", self.go_mod, self.go_sum, self.ldflags),
            contains: programs.clone(),
            make: Box::new(move |folder, progress| {
                fs::write(folder.join("go.mod"), self.go_mod)?;
                fs::write(folder.join("go.sum"), self.go_sum)?;
                let build = |name: &str, package: &str| {
                    let mut go = Command::new("go");
                    go.current_dir(folder)
                        .args(["build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false"])
                        .args(["-tags", tags, "-ldflags", &self.ldflags, "-o", name, package])
                        // Without C the build is quicker and the result stands alone.
                        .env("CGO_ENABLED", "0")
                        // A developer's own settings must not change what is built.
                        .env("GOFLAGS", "")
                        .env("GOWORK", "off");
                    progress.run(
                        &format!("building {name}"),
                        "install Go 1.26 or newer, or set KUBEBUILDER_ASSETS to a folder that has \
                         etcd, kube-apiserver, kube-controller-manager and kubectl",
                        go,
                        &folder.join("build.log"),
                        packages_built,
                    )
                };
                for (name, package) in &self.programs {
                    let mut pauses = PAUSES.iter();
                    while let Err(error) = build(name, package) {
                        let has_go = Command::new("go").arg("version").output().is_ok();
                        let Some(pause) = pauses.next().filter(|_| has_go) else { return Err(error) };
                        progress.say(&format!("{error:#}\nonce more in {pause:?}"));
                        std::thread::sleep(*pause);
                    }
                }
                Ok(())
            }),
        }
    }
}

/// `go build -v` names each package as it is compiled.
fn packages_built(log: &str) -> String {
    let packages = log.lines().filter(|line| !line.contains(' ')).count();
    format!(", {packages} packages built")
}

/// The version that a `go.mod` requires of `module`.
fn pinned(go_mod: &'static str, module: &str) -> &'static str {
    let version = go_mod.lines().find_map(|line| {
        let line = line.trim().trim_start_matches("require ");
        let version = line.strip_prefix(module)?.strip_prefix(' ')?;
        // A comment may follow.
        version.split_whitespace().next()
    });
    version.unwrap_or("of-unknown-version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_go_modules() {
        let kubernetes = pinned(KUBERNETES_MOD, "k8s.io/kubernetes");
        assert!(kubernetes.starts_with("v1."), "{kubernetes}");
        let etcd = pinned(ETCD_MOD, "go.etcd.io/etcd/server/v3");
        assert!(etcd.starts_with("v3.") && !etcd.contains(' '), "{etcd}");
        for (module, text) in [
            ("github.com/containerd/containerd/v2", CONTAINERD_MOD),
            ("github.com/containernetworking/plugins", CNI_MOD),
            ("github.com/kubernetes-csi/csi-test/v5", CSI_SANITY_MOD),
            ("github.com/prometheus/prometheus", PROMETHEUS_MOD),
        ] {
            assert!(pinned(text, module).starts_with('v'), "{module}");
        }
        assert!(pinned(HELM_MOD, "helm.sh/helm/v4").starts_with("v4."));
        assert!(version_flags("v1.36.3").contains("version.gitMinor=36"));
    }
}

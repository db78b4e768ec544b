//! The testbed with our CRDs, and its objects as plain JSON: tests say what a user writes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use keyferry_testkit::{Testbed, eventually};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use tokio::sync::OnceCell;

/// How long anything may take that is not a matter of intervals. Long, because machines are busy.
pub const SOON: Duration = Duration::from_secs(180);

/// The group of ExternalSecrets and stores.
pub const GROUP: &str = "external-secrets.io";

/// The CRDs as they are committed: what users apply.
pub fn crd_files() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds/yaml");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}

/// A testbed that has our CRDs from its start, so that garbage collection knows our kinds at once.
pub fn private(args: &[&str]) -> Result<Testbed> {
    let files = crd_files()?;
    let mut all: Vec<&str> = args.to_vec();
    for file in &files {
        all.extend(["--manifest", file.to_str().ok_or_else(|| anyhow!("{} is no text", file.display()))?]);
    }
    Testbed::private(&all)
}

/// The testbed that all tests of the process share: the one that `KEYFERRY_TESTBED` names, on which our CRDs are
/// installed now, or a new one.
pub async fn shared() -> &'static Testbed {
    static SHARED: OnceCell<Testbed> = OnceCell::const_new();
    let start = async || match std::env::var_os(keyferry_testkit::description::KEYFERRY_TESTBED) {
        Some(file) if !file.is_empty() => {
            let testbed = Testbed::shared().clone();
            install_crds(&testbed.kube_client().await).await;
            testbed
        }
        _ => private(&[]).unwrap_or_else(|error| panic!("the testbed did not start: {error:#}")),
    };
    SHARED.get_or_init(start).await
}

/// Puts our CRDs into a running cluster, and waits until they are served.
pub async fn install_crds(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for file in crd_files().expect("the CRDs are committed") {
        put_crd(&api, &read_yaml(&file)).await;
    }
}

/// Reads YAML as Kubernetes does: `y` is a text.
pub fn read_yaml(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let options = serde_saphyr::options! { strict_booleans: true };
    let value = serde_saphyr::from_str_with_options(&text, options);
    value.unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Creates a CRD or puts it in the place of the one that is there, and waits until it is served.
pub async fn put_crd(api: &Api<CustomResourceDefinition>, crd: &Value) {
    let name = crd["metadata"]["name"].as_str().expect("a CRD has a name");
    let manager = PatchParams::apply("keyferry-tests").force();
    api.patch(name, &manager, &Patch::Apply(crd)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    eventually(SOON, || async {
        let conditions = api.get(name).await?.status.and_then(|status| status.conditions).unwrap_or_default();
        if conditions.iter().any(|c| c.type_ == "Established" && c.status == "True") {
            Ok(())
        } else {
            Err(anyhow!("{name} is not served"))
        }
    })
    .await;
}

/// Objects of a cluster as JSON.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    namespace: String,
}

impl Cluster {
    /// Objects of this namespace, and those that have none.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned() }
    }

    /// The client underneath.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The objects of a kind that tests use: `Secret`, `ExternalSecret` and the like.
    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        self.api_of(api_version(kind), kind)
    }

    /// The objects of such a kind in all namespaces.
    pub fn everywhere(&self, kind: &str) -> Api<DynamicObject> {
        Api::all_with(self.client(), &resource(api_version(kind), kind))
    }

    fn api_of(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let resource = resource(api_version, kind);
        if kind.starts_with("Cluster") || kind.starts_with("Validating") || kind == "Namespace" {
            Api::all_with(self.client(), &resource)
        } else {
            Api::namespaced_with(self.client(), &self.namespace, &resource)
        }
    }

    /// Creates an object, or replaces the one that is there. `Err` holds the API server's refusal.
    pub async fn try_apply(&self, object: &Value) -> Result<DynamicObject, String> {
        let (api, mut object) = self.read(object);
        let name = object.name_any();
        loop {
            let answer = match api.get_opt(&name).await {
                Ok(None) => api.create(&PostParams::default(), &object).await,
                Ok(Some(present)) => {
                    object.metadata.resource_version = present.metadata.resource_version;
                    api.replace(&name, &PostParams::default(), &object).await
                }
                Err(error) => Err(error),
            };
            match answer {
                // Somebody wrote its status in between, or deleted it: no refusal of ours.
                Err(kube::Error::Api(status)) if status.code == 409 => object.metadata.resource_version = None,
                answer => return answer.map_err(|error| refusal(&name, error)),
            }
        }
    }

    /// Creates an object, or replaces the one that is there.
    #[track_caller]
    pub fn apply(&self, object: &Value) -> impl Future<Output = DynamicObject> {
        let caller = std::panic::Location::caller();
        async move {
            let applied = self.try_apply(object).await;
            applied.unwrap_or_else(|refusal| panic!("{caller}: {refusal}"))
        }
    }

    fn read(&self, object: &Value) -> (Api<DynamicObject>, DynamicObject) {
        let object: DynamicObject = serde_json::from_value(object.clone()).expect("a Kubernetes object");
        let types = object.types.clone().expect("an object has a kind");
        (self.api_of(&types.api_version, &types.kind), object)
    }

    /// An object, where it exists.
    pub async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let found = self.api(kind).get_opt(name).await;
        found.unwrap_or_else(|error| panic!("{kind} {name}: {error}")).map(to_value)
    }

    /// All objects of a kind.
    pub async fn list(&self, kind: &str) -> Vec<Value> {
        let found = self.api(kind).list(&ListParams::default()).await;
        found.unwrap_or_else(|error| panic!("{kind}: {error}")).items.into_iter().map(to_value).collect()
    }

    /// Merges `patch` into an object. `Err` holds the API server's refusal.
    pub async fn try_patch(&self, kind: &str, name: &str, patch: &Value) -> Result<Value, String> {
        let answer = self.api(kind).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        answer.map(to_value).map_err(|error| refusal(name, error))
    }

    /// Merges `patch` into an object.
    #[track_caller]
    pub fn patch(&self, kind: &str, name: &str, patch: &Value) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let patched = self.try_patch(kind, name, patch).await;
            patched.unwrap_or_else(|refusal| panic!("{caller}: {kind} {name}: {refusal}"))
        }
    }

    /// Merges `patch` into an object's status.
    #[track_caller]
    pub fn patch_status(&self, kind: &str, name: &str, patch: &Value) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let answer = self.api(kind).patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await;
            answer.map(to_value).unwrap_or_else(|error| panic!("{caller}: {kind} {name}: {error}"))
        }
    }

    /// Deletes an object; one that is not there is fine.
    pub async fn delete(&self, kind: &str, name: &str) {
        match self.api(kind).delete(name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => panic!("{kind} {name}: {error}"),
        }
    }
}

fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// The apiVersion of a kind that tests use.
pub fn api_version(kind: &str) -> &'static str {
    match kind {
        "ExternalSecret" | "SecretStore" | "ClusterSecretStore" => "external-secrets.io/v1",
        "PushSecret" | "ClusterPushSecret" => "external-secrets.io/v1alpha1",
        "ClusterExternalSecret" => "external-secrets.io/v1",
        "Fake" | "Password" | "UUID" | "MFA" | "VaultDynamicSecret" | "Grafana" | "GitlabDeployToken"
        | "STSSessionToken" | "GeneratorState" | "ClusterGenerator" => "generators.external-secrets.io/v1alpha1",
        "ValidatingAdmissionPolicy" | "ValidatingAdmissionPolicyBinding" => "admissionregistration.k8s.io/v1",
        "Widget" | "Latecomer" | "Unseen" => "keyferry.test/v1",
        "Lease" => "coordination.k8s.io/v1",
        "Deployment" | "StatefulSet" | "DaemonSet" => "apps/v1",
        "Role" | "RoleBinding" => "rbac.authorization.k8s.io/v1",
        _ => "v1",
    }
}

fn to_value(object: DynamicObject) -> Value {
    serde_json::to_value(object).expect("plain data")
}

/// What the API server says against an object. Any other failure fails the test.
fn refusal(name: &str, error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) if (400..500).contains(&status.code) => status.message,
        other => panic!("{name}: the API server did not judge it: {other}"),
    }
}

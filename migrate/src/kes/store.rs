//! Where the values of an old manifest are, as a store; and what is to be filled in of it.

use clap::Args;
use serde_json::{Value, json};

use super::entry::Spec;

/// What the operator's environment said, and manifests do not.
#[derive(Args, Clone, Debug, Default)]
pub struct Place {
    /// AWS: the region of manifests that name none (AWS_REGION)
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Vault's URL (VAULT_ADDR)
    #[arg(long, value_name = "URL")]
    pub vault_server: Option<String>,
    /// Vault: the role of manifests that name none (DEFAULT_VAULT_ROLE)
    #[arg(long, value_name = "ROLE")]
    pub vault_role: Option<String>,
    /// Vault: the mount of the login of manifests that name none (DEFAULT_VAULT_MOUNT_POINT)
    #[arg(long, default_value = "kubernetes", value_name = "PATH")]
    pub vault_mount_point: String,
    /// The ServiceAccount, in the namespace of each store, as which stores of Vault log in
    #[arg(long, value_name = "NAME")]
    pub service_account: Option<String>,
    /// Google: the project of manifests that name none
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
    /// Alibaba Cloud: the region
    #[arg(long, value_name = "REGION")]
    pub alibaba_region: Option<String>,
    /// IBM Cloud: the endpoint (IBM_CLOUD_SECRETS_MANAGER_API_ENDPOINT)
    #[arg(long, value_name = "URL")]
    pub ibm_endpoint: Option<String>,
}

/// What stands where something is to be filled in. Nobody has a host of this name, so that nothing is sent anywhere.
pub const FILL_IN: &str = "fill-me-in.invalid";

/// A store: what it is called by default, its provider, and what is to be done about it.
pub struct Store {
    /// The name.
    pub name: String,
    /// `spec.provider`.
    pub provider: Value,
    /// What is to be filled in.
    pub to_do: Vec<String>,
    /// What is to be known.
    pub notes: Vec<String>,
}

/// The store of these; `mount` is that of Vault's engine. The error says why there is none.
pub fn store(spec: &Spec, mount: &str, place: &Place) -> Result<Store, String> {
    let mut made = Store { name: String::new(), provider: Value::Null, to_do: Vec::new(), notes: Vec::new() };
    match spec.backend_type.as_str() {
        "secretsManager" => aws(&mut made, "SecretsManager", spec, place),
        "systemManager" => aws(&mut made, "ParameterStore", spec, place),
        "vault" => vault(&mut made, spec, mount, place),
        "azureKeyVault" => {
            let name = spec.key_vault_name.as_deref();
            let name = made.filled(name, "spec.provider.azurekv.vaultUrl: the manifest has no keyVaultName");
            made.named("azure", [Some(name.clone())]);
            let url =
                if name == FILL_IN { format!("https://{name}") } else { format!("https://{name}.vault.azure.net") };
            made.provider = json!({"azurekv": {"vaultUrl": url, "authType": "WorkloadIdentity"}});
            made.to_do.push(
                "spec.provider.azurekv: the old operator logged in by AZURE_* of its environment: set serviceAccountRef, or authType \
                 ServicePrincipal with tenantId and authSecretRef"
                    .to_owned(),
            );
        }
        "gcpSecretsManager" => {
            let project = spec.project_id.as_deref().or(place.project.as_deref());
            let project = made.filled(project, "spec.provider.gcpsm.projectID: set it, or give --project");
            made.named("gcp", [Some(project.clone())]);
            made.provider = json!({"gcpsm": {"projectID": project}});
            made.ambient("spec.provider.gcpsm.auth");
        }
        "alicloudSecretsManager" => alibaba(&mut made, place),
        "akeyless" => akeyless(&mut made),
        "ibmcloudSecretsManager" => {
            made.named("ibm", []);
            let url = place.ibm_endpoint.clone().unwrap_or_else(|| format!("https://{FILL_IN}"));
            if place.ibm_endpoint.is_none() {
                made.to_do.push("spec.provider.ibm.serviceUrl: set it, or give --ibm-endpoint".to_owned());
            }
            made.provider = json!({"ibm": {"serviceUrl": url, "auth": {"secretRef": {
                "secretApiKeySecretRef": {"name": "ibm", "key": "apiKey"},
            }}}});
            made.to_do.push(
                "spec.provider.ibm.auth: the old operator logged in by IBM_CLOUD_SECRETS_MANAGER_API_* of its environment: make the \
                 Secret \"ibm\" of its API key"
                    .to_owned(),
            );
        }
        other => return Err(format!("backendType {other:?} has no counterpart")),
    }
    Ok(made)
}

impl Store {
    fn named(&mut self, kind: &str, parts: impl IntoIterator<Item = Option<String>>) {
        let parts = parts.into_iter().flatten().filter(|part| !part.is_empty() && part != FILL_IN);
        let joined = std::iter::once(kind.to_owned()).chain(parts).collect::<Vec<_>>().join("-");
        let plain: String =
            joined.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        self.name = plain.trim_matches('-').chars().take(200).collect();
    }

    fn filled(&mut self, known: Option<&str>, what: &str) -> String {
        match known.filter(|known| !known.is_empty()) {
            Some(known) => known.to_owned(),
            None => {
                self.to_do.push(what.to_owned());
                FILL_IN.to_owned()
            }
        }
    }

    /// Who logs in by what a cloud gives the operator itself.
    fn ambient(&mut self, field: &str) {
        self.notes.push(format!(
            "it logs in by the operator's own identity, as the old one did: give keyferry's ServiceAccount what that had, or set {field}"
        ));
    }
}

fn aws(made: &mut Store, service: &str, spec: &Spec, place: &Place) {
    let region = spec.region.as_deref().or(place.region.as_deref());
    let region = made.filled(region, "spec.provider.aws.region: set it, or give --region");
    let role = spec.role_arn.as_deref().filter(|role| !role.is_empty());
    let short = role.and_then(|role| role.rsplit(['/', ':']).next()).map(str::to_owned);
    made.named(&service.to_lowercase(), [spec.region.clone(), short]);
    made.provider = json!({"aws": {"service": service, "region": region}});
    if let Some(role) = role {
        made.provider["aws"]["role"] = json!(role);
        made.notes.push(
            "annotations iam.amazonaws.com/permitted of namespaces bound roles to namespaces: who may write stores is that now".to_owned(),
        );
    }
    made.ambient("spec.provider.aws.auth");
}

fn alibaba(made: &mut Store, place: &Place) {
    let region = place.alibaba_region.as_deref();
    let region = made.filled(region, "spec.provider.alibaba.regionID: set it, or give --alibaba-region");
    made.named("alibaba", [Some(region.clone())]);
    made.provider = json!({"alibaba": {"regionID": region, "auth": {"secretRef": {
        "accessKeyIDSecretRef": {"name": "alicloud", "key": "accessKeyId"},
        "accessKeySecretSecretRef": {"name": "alicloud", "key": "accessKeySecret"},
    }}}});
    made.to_do.push(
        "spec.provider.alibaba.auth: the old operator logged in by ALICLOUD_* of its environment: make the Secret \"alicloud\" of it"
            .to_owned(),
    );
}

fn akeyless(made: &mut Store) {
    made.named("akeyless", []);
    made.provider = json!({"akeyless": {"akeylessGWApiURL": "https://api.akeyless.io", "authSecretRef": {"secretRef": {
        "accessID": {"name": "akeyless", "key": "accessId"},
        "accessType": {"name": "akeyless", "key": "accessType"},
        "accessTypeParam": {"name": "akeyless", "key": "accessTypeParam"},
    }}}});
    made.to_do.push(
        "spec.provider.akeyless.authSecretRef: the old operator logged in by AKEYLESS_* of its environment: make the Secret \
         \"akeyless\" of it"
            .to_owned(),
    );
}

fn vault(made: &mut Store, spec: &Spec, mount: &str, place: &Place) {
    let version = if spec.kv_version == Some(1) { "v1" } else { "v2" };
    let server = place.vault_server.clone().unwrap_or_else(|| format!("https://{FILL_IN}"));
    if place.vault_server.is_none() {
        made.to_do.push("spec.provider.vault.server: set it, or give --vault-server".to_owned());
    }
    let role = spec.vault_role.as_deref().or(place.vault_role.as_deref());
    let role = made.filled(role, "spec.provider.vault.auth.kubernetes.role: set it, or give --vault-role");
    let login = spec.vault_mount_point.clone().unwrap_or_else(|| place.vault_mount_point.clone());
    let mut kubernetes = json!({"mountPath": login, "role": role});
    match &place.service_account {
        Some(name) => kubernetes["serviceAccountRef"] = json!({"name": name}),
        None => made.to_do.push(
            "spec.provider.vault.auth.kubernetes.serviceAccountRef: the old operator logged in as itself: name a ServiceAccount that \
             Vault's role is bound to, or give --service-account"
                .to_owned(),
        ),
    }
    made.named("vault", [Some(mount.replace('/', "-")), Some(role), (login != "kubernetes").then_some(login)]);
    made.provider =
        json!({"vault": {"server": server, "path": mount, "version": version, "auth": {"kubernetes": kubernetes}}});
}

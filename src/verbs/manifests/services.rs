//! Services that keep keys, for who has manifests and no store: each is asked with the login that this machine has for it, as its
//! own tools would. What a document says leads nowhere but to keys: where a service is, and who asks it, is the machine's to say.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_documents::sops::{Key, Service};
use keyferry_provider_core::proxy::Proxies;
use keyferry_provider_core::{
    BuildContext, CaRef, Caller, Credentials, Environment, Error, ErrorKind, KeyService, SecretBytes, SecretRef,
    ServiceAccountRef, Token,
};
use keyferry_stores::registry;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Those that were asked before.
#[derive(Default)]
pub struct Services(HashMap<String, Result<Arc<dyn KeyService>, Error>>);

impl Services {
    /// The one that keeps a key.
    ///
    /// # Errors
    /// Where this machine has no login for it; the error names the key.
    pub async fn of(&mut self, key: &Key) -> Result<Arc<dyn KeyService>, Error> {
        let environment = environment();
        let login = Login::for_key(key, &environment)?;
        let id = format!("{} {}", login.service, login.spec);
        if let Some(known) = self.0.get(&id) {
            return known.clone();
        }
        let built = login.connect(environment).await;
        self.0.insert(id, built.clone());
        built
    }
}

/// Where a service is, and who asks it.
pub struct Login {
    /// What the registry calls the service.
    pub service: &'static str,
    /// Its spec, as a store has it.
    pub spec: Value,
    /// What the spec refers to.
    held: Held,
}

/// Below which names the clouds of Microsoft have vaults, and what the spec calls the cloud. A token goes nowhere else.
const VAULTS: [(&str, &str); 6] = [
    (".vault.azure.net", "PublicCloud"),
    (".managedhsm.azure.net", "PublicCloud"),
    (".vault.usgovcloudapi.net", "USGovernmentCloud"),
    (".managedhsm.usgovcloudapi.net", "USGovernmentCloud"),
    (".vault.azure.cn", "ChinaCloud"),
    (".managedhsm.azure.cn", "ChinaCloud"),
];

impl Login {
    /// A login whose spec says all.
    pub fn new(service: &'static str, spec: Value) -> Self {
        Self { service, spec, held: Held::default() }
    }

    /// For the service that keeps a key of a file of SOPS.
    fn for_key(key: &Key, environment: &Environment) -> Result<Self, Error> {
        match key.service {
            Service::Aws => {
                let region = key.name.split(':').nth(3).filter(|region| !region.is_empty());
                let region =
                    region.ok_or_else(|| Error::invalid(format!("{:?} is not the ARN of a key of KMS", key.name)))?;
                Ok(Self::new("aws", json!({"service": "SecretsManager", "region": region})))
            }
            Service::Google => Ok(Self::new("gcpsm", json!({}))),
            Service::Azure => Self::of_azure(&key.name, environment),
            Service::Vault => Self::of_vault(&key.name, environment),
            Service::Age | Service::Pgp | Service::Other(_) => Err(key.refusal()),
        }
    }

    /// As the command lines of Vault and OpenBao log in. The address in the file would be whoever's who wrote it.
    fn of_vault(key: &str, environment: &Environment) -> Result<Self, Error> {
        let named = |name: &str| environment(&format!("BAO_{name}")).or_else(|| environment(&format!("VAULT_{name}")));
        let missing =
            |what: &str| Error::new(ErrorKind::Denied, format!("key {key:?} of a transit engine: set {what}"));
        let server = named("ADDR").ok_or_else(|| missing("VAULT_ADDR to the address of its server"))?;
        let left = || std::fs::read_to_string(Path::new(&environment("HOME")?).join(".vault-token")).ok();
        let token = named("TOKEN").or_else(left).map(Zeroizing::new).filter(|token| !token.trim().is_empty());
        let token = token.ok_or_else(|| missing("VAULT_TOKEN, or log in by `vault login`"))?;
        let engine = key.rsplit_once('/').map_or("", |(engine, _)| engine);
        let mut login = Self::new(
            "vault",
            json!({"server": server, "path": engine, "auth": {"tokenSecretRef": Held::named("token")}}),
        );
        if let Some(namespace) = named("NAMESPACE") {
            login.spec["namespace"] = json!(namespace);
        }
        if let Some(file) = named("CACERT") {
            let authority = std::fs::read(&file).map_err(|error| {
                missing(&format!("VAULT_CACERT to a file that can be read: {file:?}: {}", error.kind()))
            })?;
            login.spec["caBundle"] = json!(STANDARD.encode(authority));
        }
        login.held.0.insert("token", token.trim().into());
        Ok(login)
    }

    /// An application's secret in the environment, a pod's token, or the identity of the machine.
    fn of_azure(url: &str, environment: &Environment) -> Result<Self, Error> {
        let host = url.strip_prefix("https://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        let cloud = VAULTS.iter().find(|(suffix, _)| host.strip_suffix(suffix).is_some_and(|name| !name.is_empty()));
        let (_, cloud) = cloud.filter(|_| is_name).ok_or_else(|| {
            Error::invalid(format!("the key {url:?} is in no vault of a cloud of Microsoft's: it is not asked"))
        })?;
        let mut login = Self::new("azurekv", json!({"vaultUrl": format!("https://{host}"), "environmentType": cloud}));
        let (tenant, client, secret) =
            (environment("AZURE_TENANT_ID"), environment("AZURE_CLIENT_ID"), environment("AZURE_CLIENT_SECRET"));
        match (tenant, client, secret) {
            (Some(tenant), Some(client), Some(secret)) => {
                login.spec["tenantId"] = json!(tenant);
                login.spec["authSecretRef"] =
                    json!({"clientId": Held::named("client"), "clientSecret": Held::named("secret")});
                let secret = Zeroizing::new(secret);
                login.held.0.extend([("client", client.as_str().into()), ("secret", secret.as_str().into())]);
            }
            _ if environment("AZURE_FEDERATED_TOKEN_FILE").is_some() => {
                login.spec["authType"] = json!("WorkloadIdentity");
            }
            (_, client, _) => {
                login.spec["authType"] = json!("ManagedIdentity");
                login.spec["identityId"] = json!(client);
            }
        }
        Ok(login)
    }

    /// Logs in, with the clouds' own settings beside.
    ///
    /// # Errors
    /// Where the service is not in this build, or does not know us.
    pub async fn connect(self, environment: Environment) -> Result<Arc<dyn KeyService>, Error> {
        let Self { service: name, spec, held } = self;
        let service = registry::key_service(name)
            .ok_or_else(|| Error::invalid(format!("this build of keyferry has no provider {name:?}")))?;
        let (store, namespace) = (name.to_owned(), Some("default".to_owned()));
        let caller = Caller { store_kind: "SecretStore", store, namespace };
        let proxies = Proxies::of(&*environment).map_err(Error::invalid)?;
        let context = BuildContext::new(Arc::new(held), Arc::new(())).trusted();
        let addresses = context.addresses.clone().through(proxies);
        (service.build)(&spec, BuildContext { caller, environment, addresses, ..context }).await
    }
}

/// What is at hand to log in with, by what specs call it. There is no cluster to ask for anything else.
#[derive(Default)]
struct Held(BTreeMap<&'static str, SecretBytes>);

impl Held {
    fn named(key: &str) -> Value {
        json!({"name": "held", "key": key})
    }
}

fn no_cluster() -> Error {
    Error::invalid("there is no cluster to ask for a credential")
}

#[async_trait]
impl Credentials for Held {
    async fn secret(&self, reference: &SecretRef, _: Option<&str>) -> Result<SecretBytes, Error> {
        reference.key.as_deref().and_then(|key| self.0.get(key)).cloned().ok_or_else(no_cluster)
    }

    async fn labelled_secret(&self, _: &SecretRef, _: &str, _: &str) -> Result<BTreeMap<String, SecretBytes>, Error> {
        Err(no_cluster())
    }

    async fn service_account_token(&self, _: &ServiceAccountRef, _: &[&str]) -> Result<Token, Error> {
        Err(no_cluster())
    }

    async fn service_account_annotations(&self, _: &ServiceAccountRef) -> Result<BTreeMap<String, String>, Error> {
        Err(no_cluster())
    }

    async fn controller_token(&self) -> Result<SecretBytes, Error> {
        Err(no_cluster())
    }

    async fn config_map(&self, _: &SecretRef) -> Result<SecretBytes, Error> {
        Err(no_cluster())
    }

    async fn ca_bundle(&self, _: &CaRef) -> Result<Vec<u8>, Error> {
        Err(no_cluster())
    }
}

/// Names the file that says who somebody is to Google.
const OF_GOOGLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// The clouds' own settings, as their tools take them: what `gcloud auth application-default login` left behind is one.
#[expect(clippy::disallowed_methods, reason = "whoever runs this logs in as with the clouds' own tools")]
pub fn environment() -> Environment {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let folder = variable("CLOUDSDK_CONFIG").or_else(|| Some(format!("{}/.config/gcloud", variable("HOME")?)));
    let left = folder.map(|folder| format!("{folder}/application_default_credentials.json"));
    let left = left.filter(|file| Path::new(file).is_file());
    Arc::new(move |name| variable(name).or_else(|| left.clone().filter(|_| name == OF_GOOGLE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(service: Service, name: &str) -> Key {
        Key { service, name: name.to_owned(), wrapped: "canary".to_owned(), context: BTreeMap::new() }
    }

    /// What is asked, with these variables.
    fn login(service: Service, name: &str, variables: &'static [(&str, &str)]) -> Result<(Value, Held), String> {
        let environment: Environment = Arc::new(move |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        });
        let login = Login::for_key(&key(service, name), &environment).map_err(|error| error.to_string())?;
        Ok((login.spec, login.held))
    }

    #[test]
    fn where_a_service_is_the_machine_says_and_not_the_file() {
        let variables = &[
            ("VAULT_ADDR", "https://v"),
            ("VAULT_TOKEN", "canary\n"),
            ("BAO_ADDR", "https://b"),
            ("BAO_NAMESPACE", "n"),
        ];
        let (spec, held) = login(Service::Vault, "a/b/sops", variables).unwrap();
        let auth = json!({"tokenSecretRef": {"name": "held", "key": "token"}});
        assert_eq!(spec, json!({"server": "https://b", "path": "a/b", "auth": auth, "namespace": "n"}));
        assert_eq!(held.0["token"].expose(), b"canary");
        for (variables, says) in [
            (&[][..], "key \"transit/sops\" of a transit engine: set VAULT_ADDR"),
            (&[("VAULT_ADDR", "https://v")], "set VAULT_TOKEN"),
            (&[("VAULT_ADDR", "https://v"), ("VAULT_TOKEN", "canary"), ("VAULT_CACERT", "/none")], "VAULT_CACERT"),
        ] {
            let problem = login(Service::Vault, "transit/sops", variables).err().unwrap();
            assert!(problem.contains(says) && !problem.contains("canary"), "{problem}");
        }
    }

    #[test]
    fn a_token_for_azure_goes_to_vaults_of_azure_alone() {
        let of = |url: &str| login(Service::Azure, url, &[]);
        for (vault, cloud) in [("a-b.vault.azure.net", "PublicCloud"), ("h.managedhsm.azure.cn", "ChinaCloud")] {
            let (spec, _) = of(&format!("https://{vault}/keys/sops/1")).unwrap();
            let expected = json!({"vaultUrl": format!("https://{vault}"), "environmentType": cloud,
                "authType": "ManagedIdentity", "identityId": null});
            assert_eq!(spec, expected);
        }
        for url in [
            "https://a.vault.azure.net.evil.example/keys/k",
            "https://evil.example/.vault.azure.net",
            "https://evil.example#.vault.azure.net",
            "https://evil.example\\.vault.azure.net",
            "https://u@a.vault.azure.net/keys/k",
            "https://.vault.azure.net/keys/k",
            "http://a.vault.azure.net/keys/k",
        ] {
            assert!(of(url).err().unwrap().contains("in no vault of a cloud of Microsoft's"), "{url}");
        }
        let application = &[("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "canary")];
        let (spec, held) = login(Service::Azure, "https://a.vault.azure.net/keys/k", application).unwrap();
        assert_eq!((&spec["tenantId"], &spec["authSecretRef"]["clientId"]["key"]), (&json!("t"), &json!("client")));
        assert!(held.0["secret"].expose() == b"canary" && !spec.to_string().contains("canary"));
        let pod = &[("AZURE_CLIENT_ID", "c"), ("AZURE_FEDERATED_TOKEN_FILE", "/token")];
        let (spec, _) = login(Service::Azure, "https://a.vault.azure.net/keys/k", pod).unwrap();
        assert_eq!(spec["authType"], "WorkloadIdentity");
    }

    #[test]
    fn a_key_of_aws_is_asked_for_in_its_region() {
        let (spec, _) = login(Service::Aws, "arn:aws:kms:eu-west-1:1:key/k", &[]).unwrap();
        assert_eq!(spec["region"], "eu-west-1");
        assert!(login(Service::Aws, "alias/sops", &[]).err().unwrap().contains("is not the ARN"));
    }
}

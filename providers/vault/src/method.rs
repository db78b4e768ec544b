//! From `auth` to a way to get a token.

use keyferry_provider_core::names::is_label;
use keyferry_provider_core::{Blame, Error, SecretRef, ServiceAccountRef, filled};
use keyferry_provider_http::path::clean;
use keyferry_provider_identity::aws::{Aws, AwsIdentity};
use keyferry_provider_identity::google::GoogleIdentity;
use serde::Deserialize;

use crate::product::Product;

/// What our sessions are called at AWS, in CloudTrail and in policies; External Secrets Operator's name.
const SESSION: &str = "external-secrets-provider-vault";

/// How to get a token.
#[derive(Debug)]
pub enum Method {
    /// Not at all: an agent between us and the server adds one.
    None,
    /// It is in a secret.
    Token(SecretRef),
    /// A role id and a secret id buy one.
    AppRole {
        /// Where the method is mounted, below `auth/`.
        mount: String,
        /// The role id.
        role: RoleId,
        /// The secret id.
        secret: SecretRef,
    },
    /// A token of a Kubernetes ServiceAccount buys one.
    Kubernetes {
        /// Where the method is mounted, below `auth/`.
        mount: String,
        /// The role to log in as.
        role: String,
        /// Whose token.
        jwt: Jwt,
    },
    /// A user's name and password buy one.
    Password {
        /// The field of `auth` that says so: `ldap` or `userPass`.
        field: &'static str,
        /// Where the method is mounted, below `auth/`.
        mount: String,
        /// The user's name: a segment of a path.
        user: String,
        /// The password.
        password: SecretRef,
    },
    /// Any JWT buys one that an issuer signed whom the server believes.
    Jwt {
        /// Where the method is mounted, below `auth/`.
        mount: String,
        /// The role to log in as; the mount's default where there is none.
        role: Option<String>,
        /// Which JWT.
        jwt: Jwt,
    },
    /// The client certificate of the connection buys one.
    Cert {
        /// Where the method is mounted, below `auth/`.
        mount: String,
        /// The role to log in as; any that fits where there is none.
        role: Option<String>,
        /// The certificate.
        cert: SecretRef,
        /// Its key.
        key: SecretRef,
    },
    /// A call to AWS that was signed and not made buys one: the server makes it, and learns who signed.
    Iam(Iam),
    /// A JWT of a Google service account buys one.
    Gcp(Gcp),
}

/// Where the role id of an AppRole stands.
#[derive(Debug)]
pub enum RoleId {
    /// In the spec.
    Plain(String),
    /// In a secret.
    Ref(SecretRef),
}

/// Whose Kubernetes token, or which other JWT, to log in with.
#[derive(Debug)]
pub enum Jwt {
    /// A ServiceAccount's, minted for the login.
    ServiceAccount {
        /// Whose.
        account: ServiceAccountRef,
        /// For whom, beside those of the reference.
        audiences: Vec<String>,
    },
    /// One that is kept in a secret.
    Secret(SecretRef),
    /// The operator's own.
    Controller,
}

/// A login by AWS's word.
#[derive(Debug)]
pub struct Iam {
    /// Where the method is mounted, below `auth/`.
    pub mount: String,
    /// The role to log in as.
    pub vault_role: String,
    /// What the server wants to find signed, so that no other server can use the call.
    pub server_id: Option<String>,
    /// Whom we are to AWS.
    pub aws: Aws,
}

/// A login by Google's word.
#[derive(Debug)]
pub struct Gcp {
    /// Where the method is mounted, below `auth/`.
    pub mount: String,
    /// The role to log in as.
    pub role: String,
    /// Who signs.
    pub identity: GoogleIdentity,
}

/// `auth`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthSpec {
    pub namespace: Option<String>,
    token_secret_ref: Option<SecretRef>,
    app_role: Option<AppRoleSpec>,
    kubernetes: Option<KubernetesSpec>,
    ldap: Option<PasswordSpec>,
    user_pass: Option<PasswordSpec>,
    jwt: Option<JwtSpec>,
    cert: Option<CertSpec>,
    iam: Option<IamSpec>,
    gcp: Option<GcpSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AppRoleSpec {
    path: Option<String>,
    role_id: Option<String>,
    role_ref: Option<SecretRef>,
    secret_ref: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KubernetesSpec {
    /// So it is called under `vault`, and `path` under `openBao`.
    mount_path: Option<String>,
    path: Option<String>,
    role: Option<String>,
    service_account_ref: Option<ServiceAccountRef>,
    secret_ref: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PasswordSpec {
    path: Option<String>,
    username: Option<String>,
    secret_ref: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JwtSpec {
    path: Option<String>,
    role: Option<String>,
    secret_ref: Option<SecretRef>,
    kubernetes_service_account_token: Option<KubernetesTokenSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KubernetesTokenSpec {
    service_account_ref: Option<ServiceAccountRef>,
    audiences: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CertSpec {
    path: Option<String>,
    vault_role: Option<String>,
    client_cert: Option<SecretRef>,
    secret_ref: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IamSpec {
    path: Option<String>,
    region: Option<String>,
    role: Option<String>,
    vault_role: Option<String>,
    #[serde(rename = "externalID")]
    external_id: Option<String>,
    #[serde(rename = "vaultAwsIamServerID")]
    server_id: Option<String>,
    jwt: Option<AwsJwtSpec>,
    secret_ref: Option<AwsKeysSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AwsJwtSpec {
    service_account_ref: Option<ServiceAccountRef>,
}

#[derive(Deserialize)]
struct AwsKeysSpec {
    #[serde(rename = "accessKeyIDSecretRef")]
    id: Option<SecretRef>,
    #[serde(rename = "secretAccessKeySecretRef")]
    secret: Option<SecretRef>,
    #[serde(rename = "sessionTokenSecretRef")]
    token: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GcpSpec {
    path: Option<String>,
    role: Option<String>,
    #[serde(rename = "projectID")]
    project: Option<String>,
    secret_ref: Option<GoogleKeySpec>,
    workload_identity: Option<WorkloadSpec>,
}

#[derive(Deserialize)]
struct GoogleKeySpec {
    #[serde(rename = "secretAccessKeySecretRef")]
    key: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WorkloadSpec {
    service_account_ref: Option<ServiceAccountRef>,
    cluster_location: Option<String>,
    cluster_name: Option<String>,
    #[serde(rename = "clusterProjectID")]
    project: Option<String>,
}

/// The method of a spec; every refusal names the field.
///
/// # Errors
/// `Invalid` where it is none, several, or not whole.
pub fn of(product: Product, auth: Option<AuthSpec>) -> Result<Method, Error> {
    let Some(auth) = auth else { return Ok(Method::None) };
    let mut set: Vec<(&str, Result<Method, Error>)> = Vec::new();
    set.extend(auth.token_secret_ref.map(|token| ("tokenSecretRef", Ok(Method::Token(token)))));
    set.extend(auth.app_role.map(|spec| ("appRole", app_role(spec))));
    set.extend(auth.kubernetes.map(|spec| ("kubernetes", kubernetes(product, spec))));
    set.extend(auth.ldap.map(|spec| ("ldap", password("ldap", "ldap", spec))));
    set.extend(auth.user_pass.map(|spec| ("userPass", password("userPass", "userpass", spec))));
    set.extend(auth.jwt.map(|spec| ("jwt", jwt(spec))));
    set.extend(auth.cert.map(|spec| ("cert", cert(spec))));
    set.extend(auth.iam.map(|spec| ("iam", iam(spec))));
    set.extend(auth.gcp.map(|spec| ("gcp", gcp(spec))));
    let names: Vec<&str> = set.iter().map(|(name, _)| *name).collect();
    let names = names.join(", ");
    match (set.pop(), set.is_empty()) {
        (Some((name, method)), true) => method.map_err(|error| error.context(format!("{product}.auth.{name}"))),
        (Some(_), false) => {
            Err(Error::invalid(format!("{product}.auth sets more than one login method: keep one of {names}")))
        }
        (None, _) => {
            let all = match product {
                Product::Vault => "tokenSecretRef, appRole, kubernetes, ldap, userPass, jwt, cert, iam and gcp",
                Product::OpenBao => "tokenSecretRef, appRole, kubernetes and userPass",
            };
            Err(Error::invalid(format!("{product}.auth sets no login method: set one of {all}")))
        }
    }
}

fn app_role(spec: AppRoleSpec) -> Result<Method, Error> {
    let role = match (filled(spec.role_id), spec.role_ref) {
        (Some(id), _) => RoleId::Plain(id.trim().to_owned()), // where both are set the plain one counts
        (None, Some(reference)) => RoleId::Ref(reference),
        (None, None) => return Err(Error::invalid("it needs roleId or roleRef")),
    };
    let secret = needed(spec.secret_ref, "secretRef")?;
    Ok(Method::AppRole { mount: mounted(spec.path, "approle", "path")?, role, secret })
}

fn kubernetes(product: Product, spec: KubernetesSpec) -> Result<Method, Error> {
    let role = named(spec.role, "role")?;
    let jwt = match (spec.service_account_ref, spec.secret_ref, product) {
        (Some(account), _, _) => Jwt::ServiceAccount { account, audiences: Vec::new() }, // this one counts
        (None, Some(secret), _) => Jwt::Secret(secret),
        (None, None, Product::Vault) => Jwt::Controller,
        (None, None, Product::OpenBao) => return Err(Error::invalid("it needs serviceAccountRef or secretRef")),
    };
    let (path, field) = match product {
        Product::Vault => (spec.mount_path, "mountPath"),
        Product::OpenBao => (spec.path, "path"),
    };
    Ok(Method::Kubernetes { mount: mounted(path, "kubernetes", field)?, role, jwt })
}

fn password(field: &'static str, mount: &str, spec: PasswordSpec) -> Result<Method, Error> {
    let user = named(spec.username, "username")?;
    // It becomes a segment of a path.
    if clean(&user).is_ok_and(|cleaned| cleaned == user) && !user.contains('/') {
        let (mount, password) = (mounted(spec.path, mount, "path")?, needed(spec.secret_ref, "secretRef")?);
        Ok(Method::Password { field, mount, user, password })
    } else {
        Err(Error::invalid("username holds a slash, control characters or nothing but dots, which no login takes"))
    }
}

fn jwt(spec: JwtSpec) -> Result<Method, Error> {
    let jwt = match (spec.secret_ref, spec.kubernetes_service_account_token) {
        (Some(secret), _) => Jwt::Secret(secret), // where both are set this one counts
        (None, Some(token)) => Jwt::ServiceAccount {
            account: needed(token.service_account_ref, "kubernetesServiceAccountToken.serviceAccountRef")?,
            audiences: token.audiences.unwrap_or_else(|| vec!["vault".to_owned()]),
        },
        (None, None) => return Err(Error::invalid("it needs secretRef or kubernetesServiceAccountToken")),
    };
    Ok(Method::Jwt { mount: mounted(spec.path, "jwt", "path")?, role: trimmed(spec.role), jwt })
}

fn cert(spec: CertSpec) -> Result<Method, Error> {
    let (cert, key) = (needed(spec.client_cert, "clientCert")?, needed(spec.secret_ref, "secretRef")?);
    Ok(Method::Cert { mount: mounted(spec.path, "cert", "path")?, role: trimmed(spec.vault_role), cert, key })
}

fn iam(spec: IamSpec) -> Result<Method, Error> {
    let identity = match (spec.jwt, spec.secret_ref) {
        (Some(jwt), _) => AwsIdentity::ServiceAccount(needed(jwt.service_account_ref, "jwt.serviceAccountRef")?),
        (None, Some(keys)) => AwsIdentity::Keys {
            id: needed(keys.id, "secretRef.accessKeyIDSecretRef")?,
            secret: needed(keys.secret, "secretRef.secretAccessKeySecretRef")?,
            token: keys.token,
        },
        (None, None) => AwsIdentity::Operator,
    };
    let region = filled(spec.region).unwrap_or_else(|| "us-east-1".to_owned());
    // It becomes part of the host that signed requests go to: anything but a label could lead them elsewhere.
    if !is_label(&region) {
        return Err(Error::invalid("region is not the name of a region, such as eu-west-1"));
    }
    Ok(Method::Iam(Iam {
        mount: mounted(spec.path, "aws", "path")?,
        vault_role: named(spec.vault_role, "vaultRole")?,
        server_id: trimmed(spec.server_id),
        aws: Aws {
            region,
            role: trimmed(spec.role),
            external_id: filled(spec.external_id),
            session: SESSION,
            instead: "set jwt or secretRef",
            identity,
        },
    }))
}

fn gcp(spec: GcpSpec) -> Result<Method, Error> {
    let identity = match (spec.secret_ref, spec.workload_identity) {
        (Some(secret), _) => GoogleIdentity::Key(needed(secret.key, "secretRef.secretAccessKeySecretRef")?),
        (None, Some(workload)) => GoogleIdentity::Workload {
            account: needed(workload.service_account_ref, "workloadIdentity.serviceAccountRef")?,
            cluster: [
                filled(workload.project).or(filled(spec.project)),
                filled(workload.cluster_location),
                filled(workload.cluster_name),
            ],
        },
        // TRAP: as in External Secrets Operator a serviceAccountRef beside these changes nothing.
        (None, None) => GoogleIdentity::Operator,
    };
    Ok(Method::Gcp(Gcp { mount: mounted(spec.path, "gcp", "path")?, role: named(spec.role, "role")?, identity }))
}

fn mounted(path: Option<String>, default: &str, field: &str) -> Result<String, Error> {
    let mount = filled(path).unwrap_or_else(|| default.to_owned());
    let mount = clean(&mount).map_err(|error| error.context(field).with_blame(Blame::Spec))?;
    if mount.is_empty() { Err(Error::invalid(format!("{field} names no mount"))) } else { Ok(mount) }
}

/// A text that was given, without the white space around it; nothing where that leaves none.
fn trimmed(text: Option<String>) -> Option<String> {
    filled(text.map(|text| text.trim().to_owned()))
}

fn named(text: Option<String>, field: &str) -> Result<String, Error> {
    needed(trimmed(text), field)
}

fn needed<T>(given: Option<T>, field: &str) -> Result<T, Error> {
    given.ok_or_else(|| Error::invalid(format!("it needs {field}")))
}

#[cfg(test)]
#[path = "method_tests.rs"]
mod tests;

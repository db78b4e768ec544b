//! From `auth` to plain data that is known to make sense.

use keyferry_provider_core::{CaRef, CaSource, Error, SecretRef, ServiceAccountRef, filled};
use serde::Deserialize;

/// How to log in, and where the spec says so.
#[derive(Debug)]
pub struct Auth {
    /// The path of the fields in the spec, such as `spec.provider.gcpsm.auth`.
    pub at: &'static str,
    /// Who we are.
    pub identity: Identity,
}

/// Who we are to Google.
#[derive(Debug)]
pub enum Identity {
    /// Whose key file is kept in a secret.
    Key(SecretRef),
    /// Whom a ServiceAccount of a GKE cluster stands for.
    Cluster(Cluster),
    /// Whom an identity of somebody else stands for.
    Federation(Federation),
    /// Whom Google takes the operator itself for.
    Operator,
}

/// `workloadIdentity`.
#[derive(Debug)]
pub struct Cluster {
    /// The ServiceAccount.
    pub account: ServiceAccountRef,
    /// Where the cluster is; the metadata server knows it too.
    pub location: Option<String>,
    /// What it is called.
    pub name: Option<String>,
    /// Which project it belongs to.
    pub project: Option<String>,
}

/// `workloadIdentityFederation`.
#[derive(Debug)]
pub struct Federation {
    /// What we show.
    pub subject: Subject,
    /// The provider of the pool that is to know it, in place of the document's.
    pub audience: Option<String>,
    /// The service account to act as, in place of whom the document or the annotation names.
    pub email: Option<String>,
}

/// What we show to Google's token service.
#[derive(Debug)]
pub enum Subject {
    /// A token of a Kubernetes ServiceAccount.
    Account(ServiceAccountRef),
    /// What a document says, which may ask one server for a token.
    Document {
        /// Where the document is.
        document: CaRef,
        /// The server that it may ask.
        endpoint: Option<String>,
    },
    /// That we have keys of AWS.
    Aws {
        /// The region whose token service vouches for us.
        region: String,
        /// The Secret that holds them.
        secret: SecretRef,
    },
}

/// `auth`, as it stands. Nulls are taken as absent, as the API server leaves them.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthSpec {
    secret_ref: Option<KeySpec>,
    workload_identity: Option<ClusterSpec>,
    workload_identity_federation: Option<FederationSpec>,
}

#[derive(Deserialize)]
struct KeySpec {
    #[serde(rename = "secretAccessKeySecretRef")]
    key: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClusterSpec {
    service_account_ref: Option<ServiceAccountRef>,
    cluster_location: Option<String>,
    cluster_name: Option<String>,
    #[serde(rename = "clusterProjectID")]
    cluster_project: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FederationSpec {
    cred_config: Option<ObjectSpec>,
    service_account_ref: Option<ServiceAccountRef>,
    aws_security_credentials: Option<AwsSpec>,
    audience: Option<String>,
    external_token_endpoint: Option<String>,
    gcp_service_account_email: Option<String>,
}

#[derive(Deserialize)]
struct ObjectSpec {
    name: Option<String>,
    key: Option<String>,
    namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AwsSpec {
    region: Option<String>,
    aws_credentials_secret_ref: Option<ObjectSpec>,
}

impl Auth {
    /// Reads what stands at `at`. As in External Secrets Operator the first of `secretRef`, `workloadIdentity` and
    /// `workloadIdentityFederation` counts.
    ///
    /// # Errors
    /// `Invalid`, with the field.
    pub fn new(spec: Option<AuthSpec>, at: &'static str) -> Result<Self, Error> {
        let spec = spec.unwrap_or_default();
        let identity = match (spec.secret_ref, spec.workload_identity, spec.workload_identity_federation) {
            (Some(KeySpec { key: Some(key) }), _, _) => Identity::Key(key),
            (Some(KeySpec { key: None }), _, _) => {
                return Err(Error::invalid(format!("{at}.secretRef needs secretAccessKeySecretRef")));
            }
            (None, Some(cluster), _) => Identity::Cluster(of_cluster(cluster, at)?),
            (None, None, Some(federation)) => Identity::Federation(of_federation(federation, at)?),
            (None, None, None) => Identity::Operator,
        };
        Ok(Self { at, identity })
    }
}

fn of_cluster(spec: ClusterSpec, at: &str) -> Result<Cluster, Error> {
    let Some(account) = spec.service_account_ref else {
        return Err(Error::invalid(format!("{at}.workloadIdentity needs serviceAccountRef")));
    };
    let part = |text, field: &str| part(text, &format!("{at}.workloadIdentity.{field}"));
    Ok(Cluster {
        account,
        location: part(spec.cluster_location, "clusterLocation")?,
        name: part(spec.cluster_name, "clusterName")?,
        project: part(spec.cluster_project, "clusterProjectID")?,
    })
}

/// A name that becomes part of the cluster's: with more in it, it could be that of another.
fn part(text: Option<String>, field: &str) -> Result<Option<String>, Error> {
    let Some(text) = filled(text) else { return Ok(None) };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    if text.bytes().all(fits) {
        Ok(Some(text))
    } else {
        Err(Error::invalid(format!("{field} is not a name that Google gives")))
    }
}

fn of_federation(spec: FederationSpec, at: &str) -> Result<Federation, Error> {
    let at = format!("{at}.workloadIdentityFederation");
    let missing = |field: &str| Error::invalid(format!("{at} needs {field}"));
    let audience = filled(spec.audience);
    let subject = match (spec.cred_config, spec.service_account_ref, spec.aws_security_credentials) {
        (Some(document), None, None) => {
            let (Some(name), Some(key)) = (filled(document.name), filled(document.key)) else {
                return Err(missing("credConfig.name and credConfig.key"));
            };
            let document = CaRef { source: CaSource::ConfigMap, name, key: Some(key), namespace: document.namespace };
            Subject::Document { document, endpoint: filled(spec.external_token_endpoint) }
        }
        (None, Some(account), None) => Subject::Account(account),
        (None, None, Some(aws)) => {
            let Some(secret) = aws.aws_credentials_secret_ref else {
                return Err(missing("awsSecurityCredentials.awsCredentialsSecretRef"));
            };
            let secret = SecretRef { name: secret.name, key: None, namespace: secret.namespace };
            let region = region(aws.region).ok_or_else(|| missing("a region in awsSecurityCredentials"))?;
            Subject::Aws { region, secret }
        }
        _ => return Err(missing("exactly one of credConfig, serviceAccountRef and awsSecurityCredentials")),
    };
    if audience.is_none() && !matches!(subject, Subject::Document { .. }) {
        return Err(missing("audience"));
    }
    let email = filled(spec.gcp_service_account_email);
    if email.as_deref().is_some_and(|email| !is_account(email)) {
        return Err(Error::invalid(format!("{at}.gcpServiceAccountEmail is not the e-mail of a service account")));
    }
    Ok(Federation { subject, audience, email })
}

/// A region of AWS, which becomes part of a host name.
fn region(text: Option<String>) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    filled(text).filter(|text| text.bytes().all(fits) && !text.starts_with('-') && !text.ends_with('-'))
}

/// Whether this may be the e-mail or the id of a service account: it becomes part of a path.
pub(crate) fn is_account(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@');
    !text.is_empty() && text.bytes().all(fits) && !text.split('@').any(|part| part.trim_matches('.').is_empty())
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::{Blame, ErrorKind};
    use serde_json::{Value, json};

    use super::*;

    const AT: &str = "spec.provider.gcpsm.auth";

    fn read(spec: &Value) -> Result<Identity, Error> {
        Auth::new(Deserialize::deserialize(spec).unwrap(), AT).map(|auth| auth.identity)
    }

    #[test]
    fn the_first_of_several_counts_and_none_is_the_operator() {
        let key = json!({"secretAccessKeySecretRef": {"name": "n", "key": "k"}});
        let cluster = json!({"serviceAccountRef": {"name": "app"}});
        let federation = json!({"audience": "a", "serviceAccountRef": {"name": "app"}});
        let all = json!({"secretRef": key, "workloadIdentity": cluster, "workloadIdentityFederation": federation});
        assert!(matches!(read(&all), Ok(Identity::Key(_))));
        let two = json!({"secretRef": null, "workloadIdentity": cluster, "workloadIdentityFederation": federation});
        assert!(matches!(read(&two), Ok(Identity::Cluster(_))));
        assert!(matches!(read(&json!({"workloadIdentityFederation": federation})), Ok(Identity::Federation(_))));
        for none in [json!({}), json!(null), json!({"secretRef": null})] {
            assert!(matches!(read(&none), Ok(Identity::Operator)), "{none}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field_and_not_by_its_value() {
        let account = json!({"name": "app"});
        let federated = |more: Value| json!({"workloadIdentityFederation": more});
        for (spec, words) in [
            (json!({"secretRef": {}}), "secretRef needs secretAccessKeySecretRef"),
            (json!({"workloadIdentity": {}}), "workloadIdentity needs serviceAccountRef"),
            (
                json!({"workloadIdentity": {"serviceAccountRef": account, "clusterName": "a/clusters/canary"}}),
                "clusterName is not a name",
            ),
            (federated(json!({})), "exactly one of"),
            (federated(json!({"credConfig": {"name": "c", "key": "k"}, "serviceAccountRef": account})), "exactly one"),
            (federated(json!({"credConfig": {"name": "c"}})), "credConfig.name and credConfig.key"),
            (federated(json!({"serviceAccountRef": account})), "needs audience"),
            (federated(json!({"awsSecurityCredentials": {"region": "eu-west-1"}})), "awsCredentialsSecretRef"),
            (
                federated(
                    json!({"awsSecurityCredentials": {"region": "canary.example.com/", "awsCredentialsSecretRef":
                    {"name": "aws"}}, "audience": "a"}),
                ),
                "needs a region",
            ),
            (
                federated(json!({"serviceAccountRef": account, "audience": "a",
                    "gcpServiceAccountEmail": "canary/../x"})),
                "is not the e-mail",
            ),
        ] {
            let error = read(&spec).unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Spec));
            let message = error.message();
            assert!(message.starts_with(AT) && message.contains(words) && !message.contains("canary"), "{error}");
        }
    }

    #[test]
    fn whom_to_act_as_is_one_segment_of_a_path() {
        for (text, fits) in [
            ("app@p-1.iam.gserviceaccount.com", true),
            ("112233445566", true),
            ("", false),
            ("..", false),
            ("a@..", false),
            ("a/b", false),
            ("a:signBlob", false),
            ("a?x", false),
            ("a%2fb", false),
        ] {
            assert_eq!(is_account(text), fits, "{text}");
        }
    }
}

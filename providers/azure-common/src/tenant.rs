//! Ids of tenants and applications: out of a spec, out of Secrets, out of annotations.

use std::collections::BTreeMap;

use keyferry_provider_core::{BuildContext, Credentials, Error, SecretRef};

use crate::identity::{Federation, Id, Named};

/// Where a ServiceAccount says whom its tokens stand for.
const CLIENT_ANNOTATION: &str = "azure.workload.identity/client-id";
const TENANT_ANNOTATION: &str = "azure.workload.identity/tenant-id";

/// Where a pod says it.
pub const CLIENT_VARIABLE: &str = "AZURE_CLIENT_ID";
pub const TENANT_VARIABLE: &str = "AZURE_TENANT_ID";

/// Which application of which tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// The tenant's id, which can be part of a path.
    pub tenant: Named<String>,
    /// The application's id.
    pub client: Named<String>,
}

impl Application {
    /// Of a spec that names both.
    pub async fn of_spec(tenant: &Id, client: &Named<SecretRef>, port: &dyn Credentials) -> Result<Self, Error> {
        Ok(Self { tenant: id(tenant, port).await?, client: kept(client, port).await? })
    }

    /// Of a ServiceAccount: what the spec does not name its annotations do, and the pod the tenant. Two that differ are
    /// an error: nobody could tell which is meant.
    pub async fn of_account(federation: &Federation, ctx: &BuildContext) -> Result<Self, Error> {
        let port = &*ctx.credentials;
        let Named { field, value: account } = &federation.account;
        let annotations = port.service_account_annotations(account).await.map_err(|error| error.context(field))?;
        let client = match &federation.client {
            Some(client) => Some(kept(client, port).await?),
            None => None,
        };
        let tenant = match &federation.tenant {
            Some(tenant) => Some(id(tenant, port).await?),
            None => None,
        };
        let client = one_of(client, &annotations, CLIENT_ANNOTATION, field)?;
        let tenant = one_of(tenant, &annotations, TENANT_ANNOTATION, field)?;
        let of_pod = || (ctx.environment)(TENANT_VARIABLE).map(|id| Named::new(TENANT_VARIABLE, id));
        let missing = |what: &str, annotation: &str| {
            let name = &account.name;
            Error::invalid(format!(
                "{field}: {what} is missing: annotate the ServiceAccount {name:?} with {annotation}"
            ))
        };
        let client = client.ok_or_else(|| missing("the application's client id", CLIENT_ANNOTATION))?;
        let tenant = tenant.or_else(of_pod).ok_or_else(|| missing("the tenant's id", TENANT_ANNOTATION))?;
        Ok(Self { tenant: checked(tenant)?, client: checked(client)? })
    }

    /// Of the operator's own pod.
    pub fn of_pod(ctx: &BuildContext, field: &'static str) -> Result<Self, Error> {
        let variable = |name: &'static str| {
            let value = (ctx.environment)(name).filter(|value| !value.is_empty());
            value.map(|value| Named::new(name, value)).ok_or_else(|| no_variables(field))
        };
        Ok(Self { tenant: checked(variable(TENANT_VARIABLE)?)?, client: checked(variable(CLIENT_VARIABLE)?)? })
    }
}

/// The error where a pod has no identity.
pub fn no_variables(field: &str) -> Error {
    Error::invalid(format!(
        "{field} names no ServiceAccount, and the operator's own pod has no workload identity: label it with \
         azure.workload.identity/use=true, or set {field}.serviceAccountRef"
    ))
}

fn one_of(
    spec: Option<Named<String>>,
    annotations: &BTreeMap<String, String>,
    annotation: &'static str,
    account: &str,
) -> Result<Option<Named<String>>, Error> {
    let annotated = annotations.get(annotation).map(|id| id.trim()).filter(|id| !id.is_empty());
    match (spec, annotated) {
        (Some(spec), Some(annotated)) if spec.value != annotated => Err(Error::invalid(format!(
            "{} and the annotation {annotation} of {account} differ: keep one of them",
            spec.field
        ))),
        (Some(spec), _) => Ok(Some(spec)),
        (None, annotated) => Ok(annotated.map(|id| Named::new(annotation, id.to_owned()))),
    }
}

async fn id(id: &Id, port: &dyn Credentials) -> Result<Named<String>, Error> {
    match id {
        Id::Given(given) => checked(Named::new(given.field, given.value.trim().to_owned())),
        Id::Kept(reference) => kept(reference, port).await,
    }
}

async fn kept(reference: &Named<SecretRef>, port: &dyn Credentials) -> Result<Named<String>, Error> {
    let Named { field, value } = reference;
    let secret = port.secret(value, None).await.map_err(|error| error.context(field))?;
    let text = secret.expose_str().unwrap_or_default().trim().to_owned();
    checked(Named::new(field, text))
}

/// An id can be part of a path, and of a form: it is a GUID, or a name of the DNS.
fn checked(id: Named<String>) -> Result<Named<String>, Error> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if id.value.bytes().all(is_fine) && id.value.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        Ok(id)
    } else {
        Err(Error::invalid(format!("{} is no id of Entra ID: those have letters, digits and hyphens", id.field)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_can_be_part_of_a_path() {
        for good in ["72f988bf-86f1-41af-91ab-2d7cd011db47", "contoso.onmicrosoft.com", "organizations"] {
            assert!(checked(Named::new("the.id", good.to_owned())).is_ok(), "{good}");
        }
        for bad in ["", "..", "a/b", "canary?x", "a#b", "a b", "a\n", "ä", ".a"] {
            let error = checked(Named::new("the.id", bad.to_owned())).unwrap_err();
            assert!(error.message().starts_with("the.id is no id") && !error.message().contains("canary"), "{error}");
        }
    }

    #[test]
    fn what_is_said_twice_must_be_the_same() {
        let annotations = BTreeMap::from([("a".to_owned(), "one ".to_owned()), ("empty".to_owned(), String::new())]);
        let said = |text: &str| Some(Named::new("the.id", text.to_owned()));
        let of = |spec, annotation| one_of(spec, &annotations, annotation, "the.account");
        assert_eq!(of(None, "b"), Ok(None));
        assert_eq!(of(None, "empty"), Ok(None));
        assert_eq!(of(None, "a").unwrap().unwrap().value, "one");
        assert_eq!(of(said("one"), "a"), Ok(said("one")));
        assert_eq!(of(said("two"), "empty"), Ok(said("two")));
        let error = of(said("two"), "a").unwrap_err();
        assert_eq!(error.message(), "the.id and the annotation a of the.account differ: keep one of them");
    }
}

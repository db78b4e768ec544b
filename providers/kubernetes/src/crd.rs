//! A store of custom resources: any objects of one kind, read whole or as far as its whitelist goes. Never Secrets, which the
//! store of Secrets is for.

use async_trait::async_trait;
use keyferry_provider_core::names::{is_label, is_name};
use keyferry_provider_core::{
    Answer, Blame, BuildContext, Caller, Capabilities, Dialect, Error, ErrorKind, Fetched, Key, Metadata, Page,
    PropertyLookup, Provider, Push, Query, Reach, Remote, SecretBytes, ServiceAccountRef, filled, json, one_by_one,
};
use serde::Deserialize;
use serde_json::json as value;

use crate::answers;
use crate::client::{Call, Client};
use crate::config::{CRD, Connection, ConnectionSpec, remote_namespace};
use crate::login::Login;
use crate::whitelist::{Allowed, Whitelist, WhitelistSpec, only};

/// What the store can do.
pub const CAPABILITIES: Capabilities =
    Capabilities { metadata: Metadata::PassedOver, find_by_name: true, ..Capabilities::READ_ONLY };

/// What a store's spec comes to.
pub struct Config {
    connection: Connection,
    /// The namespace of what is read; every one where there is none.
    namespace: Option<String>,
    resource: Resource,
    whitelist: Whitelist,
    /// Whether keys may name a namespace.
    is_of_cluster: bool,
}

/// A kind of objects.
struct Resource {
    group: String,
    version: String,
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(flatten)]
    connection: ConnectionSpec,
    service_account_ref: Option<ServiceAccountRef>,
    /// The same before it was a reference.
    service_account_name: Option<String>,
    remote_namespace: Option<String>,
    resource: Option<ResourceSpec>,
    whitelist: Option<WhitelistSpec>,
}

#[derive(Default, Deserialize)]
struct ResourceSpec {
    group: Option<String>,
    version: Option<String>,
    kind: Option<String>,
}

impl Config {
    /// Checks a spec as a whole; every refusal names the field.
    pub fn new(spec: &serde_json::Value, caller: &Caller) -> Result<Self, Error> {
        // The parser's own error would quote what it stumbles over.
        let spec = Spec::deserialize(spec).map_err(|_| {
            Error::invalid("spec.provider.crd does not have the form of a store of custom resources: check the types")
        })?;
        let is_of_cluster = caller.is_of_cluster();
        let own = caller.namespace.clone().filter(|_| !is_of_cluster);
        let named = |name| ServiceAccountRef { name, ..ServiceAccountRef::default() };
        let account = spec.service_account_ref.or(filled(spec.service_account_name).map(named));
        Ok(Self {
            connection: connection(spec.connection, account, caller, is_of_cluster)?,
            namespace: remote_namespace(spec.remote_namespace, &CRD)?.or(own),
            resource: Resource::new(spec.resource.unwrap_or_default())?,
            whitelist: Whitelist::new(spec.whitelist.unwrap_or_default())?,
            is_of_cluster,
        })
    }
}

fn connection(
    spec: ConnectionSpec,
    account: Option<ServiceAccountRef>,
    caller: &Caller,
    is_of_cluster: bool,
) -> Result<Connection, Error> {
    match (spec.names_credentials() || spec.names_server(), account) {
        (true, None) | (false, None) => Connection::new(spec, &CRD),
        (true, Some(_)) => Err(Error::invalid(
            "spec.provider.crd sets serviceAccountRef beside a server or credentials: that is impersonation, which is not \
             supported: remove one",
        )),
        (false, Some(account)) => {
            let namespace = account.namespace.clone().or(caller.namespace.clone()).filter(|_| is_of_cluster);
            if is_of_cluster && namespace.is_none() {
                let message =
                    "spec.provider.crd.serviceAccountRef has no namespace: it is taken from the ExternalSecret";
                return Err(Error::new(ErrorKind::Referent, message));
            }
            Connection::of_own_cluster(account, namespace, &CRD)
        }
    }
}

impl Resource {
    fn new(spec: ResourceSpec) -> Result<Self, Error> {
        let at = "spec.provider.crd.resource";
        let (group, kind) = (spec.group.unwrap_or_default(), spec.kind.unwrap_or_default());
        let version = spec.version.unwrap_or_default();
        // Both become parts of a path of the API.
        if !group.is_empty() && !is_name(&group) {
            return Err(Error::invalid(format!("{at}.group is not the name of a group; the core group is \"\"")));
        }
        if !is_label(&version) {
            return Err(Error::invalid(format!("{at}.version is not a version, such as v1")));
        }
        if kind.is_empty() {
            return Err(Error::invalid(format!("{at}.kind is empty")));
        }
        if kind.eq_ignore_ascii_case("Secret") {
            return Err(Error::invalid(format!("{at}.kind must not be Secret: use a store of the kind kubernetes")));
        }
        Ok(Self { group, version, kind })
    }

    fn path(&self) -> String {
        match self.group.as_str() {
            "" => format!("api/{}", self.version),
            group => format!("apis/{group}/{}", self.version),
        }
    }
}

/// The objects of one kind, as one login sees them.
pub struct CustomResources {
    login: Login,
    config: Config,
    /// What they are called in paths.
    plural: String,
    is_namespaced: bool,
}

/// An object as a key names it.
struct Place<'a> {
    namespace: Option<&'a str>,
    name: &'a str,
}

impl CustomResources {
    /// From the spec, logged in, and with the kind looked up.
    pub async fn new(config: Config, ctx: BuildContext) -> Result<Self, Error> {
        let access = config.connection.access(&ctx).await?;
        let client = Client::new(&access, &ctx)?;
        let login = Login::new(client, ctx.credentials, access.identity).await?;
        let (plural, is_namespaced) = discover(&login, &config.resource).await?;
        Ok(Self { login, config, plural, is_namespaced })
    }

    fn place<'a>(&'a self, key: &'a str) -> Result<Place<'a>, Error> {
        let refuse = |problem: &str| Err(Error::invalid(format!("key {key:?} {problem}")).with_blame(Blame::Request));
        let (namespace, name) = match key.split_once('/') {
            Some(_) if !self.config.is_of_cluster => return refuse("must be a name: the store says the namespace"),
            Some(_) if !self.is_namespaced => return refuse("must be a name: these objects are in no namespace"),
            Some((namespace, name)) => (Some(namespace), name),
            None => (self.config.namespace.as_deref().filter(|_| self.is_namespaced), key),
        };
        if self.is_namespaced && namespace.is_none() {
            return refuse("must be a namespace and a name, with a slash between");
        }
        // Names of objects are lower case but for those of RBAC, which may have colons and more.
        let leads_elsewhere = |text: &str| text.is_empty() || text == "." || text == ".." || text.contains(['/', '%']);
        if namespace.is_some_and(|namespace| !is_label(namespace)) || leads_elsewhere(name) {
            return refuse("can be the name of no object");
        }
        Ok(Place { namespace, name })
    }

    fn path(&self, namespace: Option<&str>) -> String {
        let (base, plural) = (self.config.resource.path(), &self.plural);
        match namespace {
            Some(namespace) => format!("{base}/namespaces/{namespace}/{plural}"),
            None => format!("{base}/{plural}"),
        }
    }

    fn what(&self, place: &Place<'_>) -> String {
        let kind = &self.config.resource.kind;
        match place.namespace {
            Some(namespace) => format!("{kind} {:?} in namespace {namespace:?}", place.name),
            None => format!("{kind} {:?}", place.name),
        }
    }

    /// What rules are told of the namespace: in the store of a namespace it is no matter of theirs.
    fn told<'a>(&self, namespace: Option<&'a str>) -> Option<&'a str> {
        namespace.filter(|_| self.config.is_of_cluster)
    }

    async fn read(&self, key: &Key) -> Answer {
        let place = self.place(&key.name)?;
        let denied = || {
            let message = format!("spec.provider.crd.whitelist lets nothing be read of {}", self.what(&place));
            Error::new(ErrorKind::Denied, message).with_blame(Blame::Spec)
        };
        let patterns = match self.config.whitelist.of(self.told(place.namespace), place.name) {
            Allowed::Nothing => return Err(denied()),
            Allowed::Whole => None,
            Allowed::Fields(patterns) => Some(patterns),
        };
        let call = Call::get("GetResource", format!("{}/{}", self.path(place.namespace), place.name));
        let (answer, client) = (self.login.send(&call).await?, self.login.client());
        if answer.status == 404 && answers::is_missing(&answer.body, &self.plural, place.name) {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no {}", self.what(&place))));
        }
        if answer.status != 200 {
            return Err(client.refusal(&answer, &self.what(&place), &format!("get {}", self.plural)));
        }
        let raw = json::value(answer.body.expose()).filter(|raw| json::object(raw.get().as_bytes()).is_some());
        let raw = raw.ok_or_else(|| client.malformed())?;
        json::check_parts(raw)?;
        let whole: Option<SecretBytes> = match patterns {
            None => json::canonical(raw),
            Some(patterns) => Some(only(raw.get(), &patterns).ok_or_else(denied)?),
        };
        Ok(Fetched::from(whole.ok_or_else(|| client.malformed())?))
    }

    /// A page of the objects whose names match, and that may be read whole.
    async fn list(&self, query: &Query, next: Option<&str>) -> Result<Page, Error> {
        let namespace = self.config.namespace.as_deref().filter(|_| self.is_namespaced);
        let call = Call::list("ListResources", self.path(namespace), "", next);
        let answer = self.login.send(&call).await?;
        if answer.status != 200 {
            let what = format!("{} of {}", self.plural, self.config.resource.path());
            return Err(self.login.client().refusal(&answer, &what, &format!("list {}", self.plural)));
        }
        let page = answers::names(&answer.body).ok_or_else(|| self.login.client().malformed())?;
        let found = page.names.into_iter().zip(page.namespaces).filter(|(name, of)| {
            let of = of.as_deref().or(namespace);
            query.matches(name) && matches!(self.config.whitelist.of(self.told(of), name), Allowed::Whole)
        });
        let keys = found.map(|(name, of)| match of.filter(|_| namespace.is_none()) {
            Some(of) => format!("{of}/{name}"),
            None => name,
        });
        Ok(Page::of_names(keys, page.next))
    }
}

/// What the objects of a kind are called in paths, and whether they are in namespaces.
async fn discover(login: &Login, resource: &Resource) -> Result<(String, bool), Error> {
    #[derive(Deserialize)]
    struct List {
        resources: Vec<Known>,
    }
    #[derive(Deserialize)]
    struct Known {
        name: String,
        kind: String,
        namespaced: bool,
    }
    let answer = login.send(&Call::get("GetResources", resource.path())).await?;
    let group = if resource.group.is_empty() { "core" } else { &resource.group };
    let unknown = |what: &str| Error::invalid(format!("spec.provider.crd.resource: the API server has no {what}"));
    match answer.status {
        200 => {}
        404 => return Err(unknown(&format!("version {} of the group {group}", resource.version))),
        _ => return Err(login.client().refusal(&answer, &format!("the group {group}"), "ask for kinds")),
    }
    let list: List = serde_json::from_slice(answer.body.expose()).map_err(|_| login.client().malformed())?;
    // Parts of objects, such as their status, have a slash.
    let is_it = |known: &Known| !known.name.contains('/') && known.kind.eq_ignore_ascii_case(&resource.kind);
    let found = list.resources.into_iter().find(is_it);
    let found = found.ok_or_else(|| unknown(&format!("kind {} in the group {group}", resource.kind)))?;
    if is_label(&found.name) { Ok((found.name, found.namespaced)) } else { Err(login.client().malformed()) }
}

#[async_trait]
impl Provider for CustomResources {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        let property = PropertyLookup::DottedKeyThenPath;
        Dialect { property, find_converts_names: true, ..Dialect::default() }
    }

    fn joins(&self, _: &[Key], _: &Key) -> bool {
        false
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        one_by_one(keys, |key| self.read(key)).await
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        self.list(query, at.first().map(String::as_str)).await
    }

    async fn push(&self, _: &Push) -> Result<(), Error> {
        Err(Error::cannot("pushed to"))
    }

    async fn delete(&self, _: &Remote, _: Reach) -> Result<(), Error> {
        Err(Error::cannot("deleted from"))
    }

    async fn exists(&self, _: &Remote) -> Result<bool, Error> {
        Err(Error::cannot("pushed to"))
    }

    async fn validate(&self) -> Result<(), Error> {
        let namespace = self.config.namespace.as_deref().filter(|_| self.is_namespaced);
        let Resource { group, version, .. } = &self.config.resource;
        let attributes = value!({"namespace": namespace, "verb": "get", "group": group, "version": version, "resource": self.plural});
        // A review that can't be had says nothing of the objects.
        let unverified = |error: Error| Error::new(ErrorKind::Unverified, error.message().to_owned());
        if self.login.may(&attributes).await.map_err(unverified)? {
            return Ok(());
        }
        let message = format!("client is not allowed to get {}: allow it by a Role", self.plural);
        Err(Error::new(ErrorKind::Denied, message))
    }

    fn identity_note(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config_of(kind: &'static str, namespace: Option<&str>, more: Value) -> Result<Config, Error> {
        let mut spec = json!({
            "resource": {"group": "example.com", "version": "v1", "kind": "Widget"},
            "auth": {"token": {"bearerToken": {"name": "t", "key": "k"}}},
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let namespace = namespace.map(str::to_owned);
        Config::new(&spec, &Caller { store_kind: kind, store: "s".into(), namespace })
    }

    fn config(more: Value) -> Result<Config, Error> {
        config_of("SecretStore", Some("team"), more)
    }

    #[test]
    fn where_objects_are() {
        let namespace = |kind, remote: Value| {
            config_of(kind, Some("team"), json!({ "remoteNamespace": remote })).unwrap().namespace
        };
        assert_eq!(namespace("SecretStore", Value::Null).as_deref(), Some("team"));
        assert_eq!(namespace("SecretStore", json!("other")).as_deref(), Some("other"));
        assert_eq!(namespace("ClusterSecretStore", Value::Null), None);
        assert_eq!(namespace("ClusterSecretStore", json!("other")).as_deref(), Some("other"));
        assert_eq!(config(json!({})).unwrap().resource.path(), "apis/example.com/v1");
        let core = json!({"resource": {"group": "", "version": "v1", "kind": "ConfigMap"}});
        assert_eq!(config(core).unwrap().resource.path(), "api/v1");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_field() {
        let resource = |group: &str, version: &str, kind: &str| json!({"resource": {"group": group, "version": version, "kind": kind}});
        for (more, words) in [
            (resource("", "v1", "Secret"), "must not be Secret"),
            (resource("", "v1", "secret"), "must not be Secret"),
            (resource("a/../b", "v1", "X"), "resource.group"),
            (resource("example.com", "v1/x", "X"), "resource.version"),
            (resource("example.com", "v1", ""), "resource.kind is empty"),
            (json!({"resource": null}), "resource.version"),
            (json!({"remoteNamespace": "a/b"}), "crd.remoteNamespace"),
            (json!({"serviceAccountRef": {"name": "sa"}}), "impersonation"),
            (json!({"auth": null}), "crd names no credentials"),
            (json!({"auth": null, "server": {"url": "https://x"}}), "crd names no credentials"),
            (json!({"whitelist": {"rules": [{}]}}), "names nothing"),
            (json!({"resource": 7}), "check the types"),
        ] {
            let error = config(more.clone()).err().unwrap_or_else(|| panic!("{more} was taken"));
            assert!(error.kind() == ErrorKind::Invalid && error.message().contains(words), "{more}: {error}");
        }
    }

    #[test]
    fn a_service_account_alone_is_for_our_own_cluster() {
        let account = |kind, namespace: Option<&str>, account: Value| {
            let more = json!({"auth": null, "serviceAccountRef": account});
            config_of(kind, namespace, more).map(|_| ()).map_err(|error| error.kind())
        };
        assert_eq!(account("SecretStore", Some("team"), json!({"name": "sa"})), Ok(()));
        assert_eq!(account("ClusterSecretStore", None, json!({"name": "sa", "namespace": "x"})), Ok(()));
        assert_eq!(account("ClusterSecretStore", Some("team"), json!({"name": "sa"})), Ok(()));
        assert_eq!(account("ClusterSecretStore", None, json!({"name": "sa"})), Err(ErrorKind::Referent));
    }
}

//! Delinea Secret Server: secrets of several fields, by number, by path or by name.
//!
//! Reading was tried with the vendor's client for Python against our double; pushing is built from the vendor's library for
//! Go and unproven.
//!
//! Modules, in reading order: `secret` what a secret is and how it is shown, `login` who we are, `write` what is pushed.

mod secret;
mod login;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, Blame, BuildContext, BuildFuture, CaRef, Capabilities, Dialect, Error, ErrorKind, Fetched, Key, Metadata,
    Page, PropertyLookup, Provider, Push, Query, Reach, Registration, Remote, json, one_by_one,
};
use keyferry_provider_http::{Ca, Fields, secure_url, server_url};
use serde::Deserialize;

use self::login::{Login, Who};
use self::secret::{Item, Secret};
use crate::client::{Call, Client, Response, Said, Vendor};
use crate::config::{self, Given, needed, needed_text};
use crate::login::Access;
use crate::object;

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "secretserver", capabilities: |_| CAPABILITIES, maintained: true, build };

const CAPABILITIES: Capabilities =
    Capabilities { metadata: Metadata::PassedOver, push: true, delete: true, ..Capabilities::READ_ONLY };

const VENDOR: Vendor = Vendor {
    name: "Delinea Secret Server",
    metric: "Delinea/SecretServer",
    fields: Fields {
        server: "spec.provider.secretserver.serverURL",
        ca: "spec.provider.secretserver.caBundle or caProvider",
        identity: "spec.provider.secretserver",
    },
    login: "spec.provider.secretserver.username and password, or token",
    says,
};

/// How many secrets of one name are looked through.
const SAME_NAME: usize = 100;

/// Under this end of a name Delinea Platform is found; one of another name says so itself.
const PLATFORM: &str = "delinea.app";

/// What is said of a secret that is not shown: nobody tells whether it is there.
const NOT_SHOWN: &str =
    "it is not there, or not for the user who logs in: check how it is called, and what the user may view";

/// A name that no secret has.
const NOBODYS: &str = "keyferry asks whether the token is good";

/// How many files of one secret are fetched.
const FILES: usize = 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "serverURL")]
    server_url: Option<String>,
    username: Option<Given>,
    password: Option<Given>,
    domain: Option<String>,
    token: Option<Given>,
    site_id: Option<u32>,
    #[serde(rename = "disableSiteIDValidation", default)]
    disable_site_id_validation: bool,
    ca_bundle: Option<String>,
    ca_provider: Option<CaRef>,
}

/// The secrets that one user sees.
struct SecretServer {
    access: Access,
    /// The site of secrets that are made.
    site: u32,
    /// Whether it is a token that was made before which logs in.
    is_of_token: bool,
}

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move {
        let spec: Spec = config::read(spec, "secretserver")?;
        let url = needed_text(spec.server_url, VENDOR.fields.server)?;
        let server = server_url(&url, VENDOR.fields.server, "https://example.secretservercloud.com")?;
        let host = server.host_str().unwrap_or_default().trim_end_matches('.');
        let is_platform = host.strip_suffix(PLATFORM).is_some_and(|before| before.is_empty() || before.ends_with('.'));
        let who = match spec.token {
            Some(token) => Who::Token(token),
            None => Who::User {
                name: needed(spec.username, "spec.provider.secretserver.username")?,
                password: needed(spec.password, "spec.provider.secretserver.password")?,
                domain: spec.domain,
            },
        };
        let ca = Ca::new(spec.ca_bundle, spec.ca_provider, "spec.provider.secretserver")?;
        let client = Arc::new(Client::new(&VENDOR, server, &ca, &ctx).await?);
        let is_of_token = matches!(who, Who::Token(_));
        let login = Login::new(client.clone(), ctx.credentials.clone(), who, is_platform);
        let mut access = Access::new(client, login.clone()).await?;
        if login.is_at_platform() {
            access = behind(&access, login, &ca, &ctx).await?;
        }
        let site = spec.site_id.unwrap_or(if spec.disable_site_id_validation { 0 } else { 1 });
        let store: Arc<dyn Provider> = Arc::new(SecretServer { access, site, is_of_token });
        Ok(store)
    })
}

/// The vault behind Delinea Platform: the one that is its default.
async fn behind(platform: &Access, login: Login, ca: &Ca, ctx: &BuildContext) -> Result<Access, Error> {
    let call = Call::get("GetVaults", "vaultbroker/api/vaults");
    let answer = platform.ask(&call, "the list of Delinea Platform's vaults").await?;
    let vaults = object::at(answer.body.expose(), &["vaults"]).and_then(|all| json::array(all.get().as_bytes()));
    let vaults = vaults.ok_or_else(|| platform.client().malformed(&answer))?;
    let address = |vault: &serde_json::value::RawValue| {
        let is_set = |name: &str| object::at(vault.get().as_bytes(), &[name]).is_some_and(|flag| flag.get() == "true");
        let url = object::at(vault.get().as_bytes(), &["connection", "url"]).map(json::to_bytes)?;
        (is_set("isDefault") && is_set("isActive")).then_some(url)
    };
    let url = vaults.into_iter().find_map(address).ok_or_else(|| {
        Error::invalid(format!(
            "{} is the address of Delinea Platform, which has no active vault for its default: name a vault's own",
            VENDOR.fields.server
        ))
    })?;
    let field = "the address that Delinea Platform has of its vault";
    let server = secure_url(url.expose_str().unwrap_or_default(), field, "https://example.secretservercloud.com")?;
    Access::new(Arc::new(Client::new(&VENDOR, server, ca, ctx).await?), login).await
}

/// `{"message": "...", "errorCode": "..."}`. A number that is nobody's is denied there as one that is not for us.
fn says(answer: &Response) -> Option<Said> {
    match (answer.status, answer.word(&["errorCode"]).as_deref()) {
        (400 | 403 | 404, Some("API_AccessDenied")) => Some(Said::Other(ErrorKind::Denied, NOT_SHOWN)),
        (404, _) => answer.word(&["message"]).map(|_| Said::NoSecret),
        _ => None,
    }
}

/// What a key names.
#[derive(Debug, PartialEq, Eq)]
enum Named<'a> {
    Path(&'a str),
    Id(u64),
    /// A name, in this folder where the key says which.
    Name(&'a str, Option<u64>),
}

impl<'a> Named<'a> {
    fn of(key: &'a str) -> Result<Self, Error> {
        match (key, key.parse()) {
            ("", _) => Err(Error::invalid("the key is empty").with_blame(Blame::Request)),
            (_, Ok(id)) => Ok(Self::Id(id)),
            (path, Err(_)) if path.starts_with('/') => Ok(Self::Path(path)),
            (key, Err(_)) => Ok(in_folder(key).unwrap_or(Self::Name(key, None))),
        }
    }
}

/// Reads `folderId:NUMBER/NAME`; what is not of this form is a name.
fn in_folder(key: &str) -> Option<Named<'_>> {
    let (folder, name) = key.strip_prefix("folderId:")?.split_once('/')?;
    let folder = folder.parse().ok().filter(|id| *id > 0)?;
    (!name.is_empty()).then_some(Named::Name(name, Some(folder)))
}

/// Which secret is meant where several bear one name.
#[derive(Clone, Copy)]
enum Which {
    /// The first, to be read.
    First,
    /// The only one, in this folder or in any: what is changed must be no other's.
    Only(Option<u64>),
}

impl SecretServer {
    /// The secret that a key names. `NotFound` is for who writes: to who reads it is denied, since a search passes over what
    /// is not for us, and nothing must be deleted for a right that was lost.
    async fn secret(&self, key: &str, which: Which) -> Result<Secret, Error> {
        let what = format!("secret {key:?}");
        let call = match Named::of(key)? {
            Named::Path(path) => Call::get("GetSecret", "api/v1/secrets/0").with([("secretPath", path.to_owned())]),
            Named::Id(id) => Call::get("GetSecret", format!("api/v1/secrets/{id}")),
            Named::Name(name, folder) => {
                let missing = || match which {
                    Which::First => Error::new(ErrorKind::Denied, format!("{what}: {NOT_SHOWN}")),
                    Which::Only(_) => {
                        let message = format!("there is no {what} that the user who logs in may view");
                        Error::new(ErrorKind::NotFound, message)
                    }
                };
                let id = self.id_of(name, folder, which).await?.ok_or_else(missing)?;
                Call::get("GetSecret", format!("api/v1/secrets/{id}"))
            }
        };
        let answer = self.access.ask(&call, &what).await?;
        Secret::read(&answer.body).ok_or_else(|| self.access.client().malformed(&answer))
    }

    /// The number of the secret of a name, where there is one. The folder that the key names is before that of the metadata.
    async fn id_of(&self, name: &str, folder: Option<u64>, which: Which) -> Result<Option<u64>, Error> {
        let query = [
            ("paging.filter.searchText", name.to_owned()),
            ("paging.filter.searchField", "Name".to_owned()),
            ("paging.filter.isExactMatch", "true".to_owned()),
            ("paging.filter.doNotCalculateTotal", "true".to_owned()),
            ("paging.take", SAME_NAME.to_string()),
            ("paging.skip", "0".to_owned()),
        ];
        let answer = self.access.ask(&Call::get("SearchSecrets", "api/v1/secrets").with(query), "the search").await?;
        let records = records(&answer).ok_or_else(|| self.access.client().malformed(&answer))?;
        let folder = match which {
            Which::First => folder,
            Which::Only(of_metadata) => folder.or(of_metadata),
        };
        let is_there = |record: &&Record| folder.is_none_or(|folder| record.folder == Some(folder));
        let same = records.iter().filter(|record| record.name.eq_ignore_ascii_case(name)).filter(is_there);
        let mut found: Vec<&Record> = same.collect();
        // Exactly so before what differs in small and capital letters, which the server takes for the same.
        if found.iter().any(|record| record.name == name) {
            found.retain(|record| record.name == name);
        }
        let are_all = records.len() < SAME_NAME;
        match (which, &found[..]) {
            (Which::First, [first, ..]) => Ok(Some(first.id)),
            (Which::Only(_), [only]) if are_all => Ok(Some(only.id)),
            (_, []) if are_all => Ok(None),
            _ => {
                let message = format!("there are several secrets that are called {name:?}: name it by number or path");
                Err(Error::invalid(message).with_blame(Blame::Request))
            }
        }
    }

    async fn read(&self, key: &Key) -> Answer {
        let mut secret = self.secret(&key.name, Which::First).await?;
        let files = secret.items.iter().filter(|item| item.has_file).count();
        if files > FILES {
            let message = format!("secret {:?} has {files} files, and at most {FILES} are read", key.name);
            return Err(Error::invalid(message).with_blame(Blame::Request));
        }
        for item in secret.items.iter_mut().filter(|item| item.has_file) {
            let slug = crate::client::segment(&item.slug)?;
            let path = format!("api/v1/secrets/{}/fields/{slug}", secret.id);
            let call = Call { accept: "*/*", ..Call::get("GetField", path) };
            item.value = self.access.ask(&call, &format!("the files of secret {:?}", key.name)).await?.body;
        }
        Ok(Fetched::from(secret.whole()))
    }
}

/// What a search tells of a secret.
struct Record {
    id: u64,
    name: String,
    folder: Option<u64>,
}

/// Reads `{"records": [{"id": 1, "name": "...", "folderId": 2}]}`.
fn records(answer: &Response) -> Option<Vec<Record>> {
    let records = json::array(object::at(answer.body.expose(), &["records"])?.get().as_bytes())?;
    let read = |raw: &serde_json::value::RawValue| {
        let fields = json::object(raw.get().as_bytes())?;
        Some(Record {
            id: fields.get("id")?.get().parse().ok()?,
            name: json::to_bytes(fields.get("name")?).expose_str()?.to_owned(),
            folder: fields.get("folderId").and_then(|folder| folder.get().parse().ok()),
        })
    };
    records.into_iter().map(read).collect()
}

#[async_trait]
impl Provider for SecretServer {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        Dialect { property: PropertyLookup::Items, ..Dialect::default() }
    }

    fn joins(&self, _: &[Key], _: &Key) -> bool {
        true
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        one_by_one(keys, |key| self.read(key)).await
    }

    async fn find(&self, _: &Query, _: &[String]) -> Result<Page, Error> {
        Err(Error::cannot("searched"))
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        self.write(push).await
    }

    async fn delete(&self, remote: &Remote, _: Reach) -> Result<(), Error> {
        match self.remove(remote).await {
            // Nothing was there, or somebody was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        match self.to_change(remote).await {
            Ok(secret) => Ok(secret.named(remote.property.as_deref()).is_some_and(Item::holds)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a user logs in the login tells, and whether a token that was made before is good only a call does: a search for
    /// what nobody has. Which secrets a user sees, nobody need know.
    async fn validate(&self) -> Result<(), Error> {
        self.access.log_in().await?;
        if !self.is_of_token {
            return Ok(());
        }
        match self.id_of(NOBODYS, None, Which::First).await {
            Err(error) if error.kind() != ErrorKind::Denied => Err(error.no_reason_to_delete()),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn identity_note(&self) -> Option<String> {
        Some("pushing to this provider is built from the vendor's library and unproven: it was never tried against the vendor's own server".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_number_a_path_or_a_name_with_or_without_its_folder() {
        for (key, expected) in [
            ("52", Named::Id(52)),
            ("/a/b c", Named::Path("/a/b c")),
            ("a/b", Named::Name("a/b", None)),
            ("-1", Named::Name("-1", None)),
            ("folderId:73/db", Named::Name("db", Some(73))),
            ("folderId:0/db", Named::Name("folderId:0/db", None)),
            ("folderId:x/db", Named::Name("folderId:x/db", None)),
            ("folderId:73/", Named::Name("folderId:73/", None)),
            ("folderId:73", Named::Name("folderId:73", None)),
        ] {
            assert_eq!(Named::of(key).unwrap(), expected);
        }
        assert_eq!(Named::of("").unwrap_err().blame(), Blame::Request);
    }
}

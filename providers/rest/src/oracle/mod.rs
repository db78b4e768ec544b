//! Oracle Cloud Infrastructure Vault: secrets of one vault, by name, with versions and stages.
//!
//! Oracle answers alike for what is not there and for what one may not see, so that nothing is gone there. Built from the
//! vendor's documents, and unproven: no client of theirs has spoken to our double. `machine` is how a machine logs in.

mod machine;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use keyferry_provider_core::names::is_label;
use keyferry_provider_core::{
    Answer, Blame, BuildContext, BuildFuture, Capabilities, Credentials, Error, ErrorKind, Fetched, Key, Metadata,
    Page, Query, Registration, SecretBytes, SecretRef, filled, json, one_by_one,
};
use keyferry_provider_http::{Ca, Fields, server_url};
use keyferry_provider_identity::oracle::Signer;
use keyferry_provider_session::{Grant, Life, Source};
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::{Call, Client, Response, Said, Vendor, segment};
use crate::config::{self, needed, needed_text};
use crate::login::{Access, Pass};
use crate::object::{self, Object, base64};
use crate::store::{Found, Rest, Store, UNPROVEN, note_of_login};

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "oracle", capabilities: |_| CAPABILITIES, maintained: true, build };

const CAPABILITIES: Capabilities = Capabilities {
    versions: true,
    metadata: Metadata::PassedOver,
    find_by_name: true,
    find_by_tags: true,
    push: true,
    delete: true,
    ..Capabilities::READ_ONLY
};

const VENDOR: Vendor = Vendor {
    name: "Oracle Cloud Infrastructure",
    metric: "Oracle/Vault",
    fields: Fields {
        server: "spec.provider.oracle.region",
        ca: "the certificates of the system",
        identity: "spec.provider.oracle",
    },
    login: "spec.provider.oracle.auth",
    says,
};

/// Where the operator's environment leads all calls, in place of the region's own hosts.
const ENDPOINT: &str = "OCI_VAULT_ENDPOINT";

/// What is said of a secret that is not shown.
const NOT_SHOWN: &str = "it is not there, or not for the user who logs in, which Oracle does not tell apart: check its name, \
                         the vault, and the policies of the user's groups";

/// The code of that.
const NOT_SHOWN_CODE: &str = "NotAuthorizedOrNotFound";

/// How many secrets are on a page.
const PAGE: usize = 100;

/// A name that nobody gives: to find out whether the login holds, without reading a secret.
const NOBODYS: &str = "keyferry-asks-whether-the-login-holds";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    region: Option<String>,
    vault: Option<String>,
    compartment: Option<String>,
    encryption_key: Option<String>,
    principal_type: Option<String>,
    auth: Option<Auth>,
    deletion_grace_period: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Auth {
    tenancy: Option<String>,
    user: Option<String>,
    secret_ref: Option<Secrets>,
}

#[derive(Deserialize)]
struct Secrets {
    #[serde(rename = "privatekey")]
    key: Option<SecretRef>,
    fingerprint: Option<SecretRef>,
}

/// The secrets of one vault.
struct Oracle {
    /// Where secrets are read.
    bundles: Access,
    /// Where they are listed and written.
    vaults: Access,
    vault: String,
    compartment: Option<String>,
    encryption_key: Option<String>,
    /// How long a secret waits for its deletion, where it is not Oracle's own choice.
    grace: Option<Duration>,
    /// Whether it logs in as the operator itself.
    is_own: bool,
}

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move {
        let spec: Spec = config::read(spec, "oracle")?;
        let region = needed_text(spec.region, VENDOR.fields.server)?;
        if !is_label(&region) {
            let field = VENDOR.fields.server;
            return Err(Error::invalid(format!("{field} is not the name of a region, such as eu-frankfurt-1")));
        }
        let vault = needed_text(spec.vault, "spec.provider.oracle.vault")?;
        let grace = spec.deletion_grace_period.as_deref().map(grace).transpose()?;
        let who = Who::of(spec.principal_type.as_deref(), spec.auth, &ctx).await?;
        let access = async |service: &str| {
            let own = format!("https://{service}.{region}.oci.{}", domain(&region));
            let url = filled((ctx.environment)(ENDPOINT)).unwrap_or_else(|| own.clone());
            let client = Client::new(&VENDOR, server_url(&url, ENDPOINT, &own)?, &Ca::System, &ctx).await?;
            match &who {
                Who::User(login) => Access::new(Arc::new(client), login.clone()).await,
                Who::Machine(login) => Access::new(Arc::new(client), login.clone()).await,
            }
        };
        let (bundles, vaults) = (access("secrets.vaults").await?, access("vaults").await?);
        let (compartment, encryption_key) = (filled(spec.compartment), filled(spec.encryption_key));
        let is_own = matches!(who, Who::Machine(_));
        Ok(Rest::provider(Oracle { bundles, vaults, vault, compartment, encryption_key, grace, is_own }))
    })
}

/// Where the services of a region are: the realms that Oracle names in its documents.
fn domain(region: &str) -> &'static str {
    match region {
        "us-langley-1" | "us-luke-1" | "us-gov-ashburn-1" | "us-gov-chicago-1" | "us-gov-phoenix-1" => {
            "oraclegovcloud.com"
        }
        "uk-gov-london-1" | "uk-gov-cardiff-1" => "oraclegovcloud.uk",
        "eu-frankfurt-2" | "eu-madrid-2" => "oraclecloud.eu",
        _ => "oraclecloud.com",
    }
}

/// A length of time as Go writes it, between a day and thirty.
fn grace(text: &str) -> Result<Duration, Error> {
    const DAY: u64 = 24 * 60 * 60;
    let nanoseconds = keyferry_go::duration::parse(text.as_bytes()).and_then(|length| u64::try_from(length).ok());
    let length = nanoseconds.map(Duration::from_nanos);
    length.filter(|length| (DAY..=30 * DAY).contains(&length.as_secs())).ok_or_else(|| {
        Error::invalid("spec.provider.oracle.deletionGracePeriod must be a length of time between 24h and 720h")
    })
}

/// `{"code": "...", "message": "..."}`.
fn says(answer: &Response) -> Option<Said> {
    match (answer.status, answer.word(&["code"])?.as_str()) {
        (404, NOT_SHOWN_CODE) => Some(Said::Other(ErrorKind::Denied, NOT_SHOWN)),
        (409, "IncorrectState") => Some(Said::Other(ErrorKind::Unavailable, "it is being changed at this moment")),
        (409, _) => Some(Said::Other(
            ErrorKind::Denied,
            "a secret of this name is there and not for us, or waits for its deletion, until when its name is taken",
        )),
        _ => None,
    }
}

fn is_not_shown(answer: &Response) -> bool {
    answer.status == 404 && answer.word(&["code"]).as_deref() == Some(NOT_SHOWN_CODE)
}

/// Who logs in.
enum Who {
    User(Login),
    Machine(machine::Login),
}

impl Who {
    /// As in External Secrets Operator it is the machine where nothing is said.
    async fn of(principal: Option<&str>, auth: Option<Auth>, ctx: &BuildContext) -> Result<Self, Error> {
        match (principal.unwrap_or_default(), auth) {
            ("" | "UserPrincipal", Some(auth)) => Login::of(auth, ctx).map(Self::User),
            ("UserPrincipal", None) => Err(Error::invalid(format!("{} is missing", VENDOR.login))),
            ("" | "InstancePrincipal", _) => machine::Login::new(ctx).await.map(Self::Machine),
            _ => {
                let message = "spec.provider.oracle logs in as a workload of Oracle's cloud, which is not supported";
                let hint = "use principalType InstancePrincipal, or UserPrincipal and auth";
                Err(Error::new(ErrorKind::Unsupported, message).with_hint(hint))
            }
        }
    }
}

/// A user who signs.
#[derive(Clone)]
struct Login {
    credentials: Arc<dyn Credentials>,
    tenancy: String,
    user: String,
    key: SecretRef,
    fingerprint: SecretRef,
}

impl Login {
    fn of(auth: Auth, ctx: &BuildContext) -> Result<Self, Error> {
        let field = |name: &str| format!("{}.{name}", VENDOR.login);
        let id = |text: Option<String>, name: &str| {
            let id = needed_text(text, &field(name))?;
            // It becomes part of a header, between quotes.
            let is_id = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
            if is_id { Ok(id) } else { Err(Error::invalid(format!("{} is no OCID", field(name)))) }
        };
        let secrets = needed(auth.secret_ref, &field("secretRef"))?;
        Ok(Self {
            credentials: ctx.credentials.clone(),
            tenancy: id(auth.tenancy, "tenancy")?,
            user: id(auth.user, "user")?,
            key: needed(secrets.key, &field("secretRef.privatekey"))?,
            fingerprint: needed(secrets.fingerprint, &field("secretRef.fingerprint"))?,
        })
    }
}

#[async_trait]
impl Source<Pass> for Login {
    async fn get(&self) -> Result<Grant<Pass>, Error> {
        let field = |name: &str| format!("{}.secretRef.{name}", VENDOR.login);
        let key = config::secret(&*self.credentials, &self.key, None, &field("privatekey")).await?;
        let print = config::secret(&*self.credentials, &self.fingerprint, None, &field("fingerprint")).await?;
        let print = print.expose_str().unwrap_or_default();
        if !print.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':') {
            return Err(Error::invalid(format!("{} holds no fingerprint of a key", field("fingerprint"))));
        }
        let signer = Signer::new([&self.tenancy, &self.user, print], &key, None, &field("privatekey"))?;
        Ok(Grant { value: Pass::Signed(signer), life: Life::ENDLESS })
    }
}

/// A secret as it is read.
struct Bundle {
    id: String,
    value: SecretBytes,
    version: Option<String>,
}

/// Reads `{"secretId": "...", "versionNumber": 1, "secretBundleContent": {"contentType": "BASE64", "content": "..."}}`.
fn bundle(body: &SecretBytes) -> Option<Bundle> {
    let id = object::text_at(body, &["secretId"])?;
    let content = object::at(body.expose(), &["secretBundleContent", "content"])?;
    let value = STANDARD.decode(json::to_bytes(content).expose()).ok().map(SecretBytes::new)?;
    let version = object::at(body.expose(), &["versionNumber"]).map(|number| number.get().to_owned());
    Some(Bundle { id, value, version })
}

impl Oracle {
    /// The question for a secret: in a version, which has a number or a stage, or in its current one.
    fn question(&self, name: &str, version: Option<&str>) -> Call {
        let path = "20190301/secretbundles/actions/getByName";
        let of = [("secretName", name.to_owned()), ("vaultId", self.vault.clone())];
        let version = version.map(|version| match version.parse::<u64>() {
            Ok(_) => ("versionNumber", version.to_owned()),
            Err(_) => ("stage", version.to_owned()),
        });
        Call::send("GetSecretBundleByName", Method::POST, path, SecretBytes::default()).with(of).with(version)
    }

    async fn read(&self, key: &Key) -> Answer {
        if key.name.is_empty() {
            return Err(Error::invalid("the key is empty").with_blame(Blame::Request));
        }
        let what = format!("secret {:?}", key.name);
        let version = key.version.as_deref().filter(|version| !version.is_empty());
        let answer = self.bundles.send(&self.question(&key.name, version)).await?;
        if answer.is_good() {
            let Bundle { value, version, .. } = self.bundle(&answer)?;
            return Ok(Fetched::from(value).of_version(version));
        }
        if version.is_some() && (answer.status == 400 || is_not_shown(&answer)) {
            // What is not there, the secret or the version, is told by the secret alone.
            self.bundles.ask(&self.question(&key.name, None), &what).await?;
            let message =
                format!("there is no such version of {what}: versions are numbers, or stages such as PREVIOUS");
            return Err(Error::new(ErrorKind::NoVersion, message));
        }
        Err(self.bundles.client().refusal(&answer, &what))
    }

    fn bundle(&self, answer: &Response) -> Result<Bundle, Error> {
        bundle(&answer.body).ok_or_else(|| self.bundles.client().malformed(answer))
    }

    /// A secret as we see it, where we see one.
    async fn seen(&self, name: &str) -> Result<Option<Bundle>, Error> {
        let answer = self.bundles.send(&self.question(name, None)).await?;
        match &answer {
            answer if answer.is_good() => self.bundle(answer).map(Some),
            answer if is_not_shown(answer) => Ok(None),
            answer => Err(self.bundles.client().refusal(answer, &format!("secret {name:?}"))),
        }
    }

    fn compartment(&self, what: &str) -> Result<&str, Error> {
        let message = format!("spec.provider.oracle.compartment is missing, which {what} needs");
        self.compartment.as_deref().ok_or_else(|| Error::invalid(message))
    }
}

/// Whether a secret of a list is one that a search finds, and its name.
fn listed(raw: &RawValue, query: &Query) -> Option<Option<String>> {
    let fields = json::object(raw.get().as_bytes())?;
    let text = |name: &str| json::to_bytes(fields.get(name)?).expose_str().map(str::to_owned);
    let name = text("secretName")?;
    let goes = fields.get("timeOfDeletion").is_some_and(|time| time.get() != "null")
        || text("lifecycleState").is_some_and(|state| state.contains("DELET"));
    let tags = fields.get("freeformTags").and_then(|tags| json::object(tags.get().as_bytes())).unwrap_or_default();
    let bears = |(tag, value): (&String, &String)| {
        tags.get(tag).is_some_and(|held| json::to_bytes(held).expose_str() == Some(value))
    };
    let fits = !goes && query.matches(&name) && query.tags.iter().all(bears);
    Some(fits.then_some(name))
}

#[async_trait]
impl Store for Oracle {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        one_by_one(keys, |key| self.read(key)).await
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        let call = Call::get("ListSecrets", "20180608/secrets").with([
            ("compartmentId", self.compartment("a search")?.to_owned()),
            ("vaultId", self.vault.clone()),
            ("limit", PAGE.to_string()),
        ]);
        let call = call.with(at.first().map(|page| ("page", page.clone())));
        let answer = self.vaults.ask(&call, "the list of secrets").await?;
        let malformed = || self.vaults.client().malformed(&answer);
        let all = json::array(answer.body.expose()).ok_or_else(malformed)?;
        let found: Option<Vec<_>> = all.into_iter().map(|raw| listed(raw, query)).collect();
        let next = answer.header("opc-next-page").filter(|page| !page.is_empty()).map(str::to_owned);
        Ok(Page::of_names(found.ok_or_else(malformed)?.into_iter().flatten(), next))
    }

    async fn look(&self, name: &str) -> Result<Option<Found>, Error> {
        Ok(self.seen(name).await?.map(|bundle| Found::unmarked(bundle.value)))
    }

    /// Only a list, which has the names of those that we may not read either, tells what is not there from what is not for us:
    /// what is taken for gone is forgotten, and would stay for ever.
    async fn is_absent(&self, name: &str) -> Result<(), Error> {
        let compartment = self.compartment.as_deref().ok_or_else(|| {
            let message = format!("Oracle does not say whether secret {name:?} is gone, or there and not for us");
            Error::invalid(message).with_hint("set spec.provider.oracle.compartment, whose list tells")
        })?;
        let call = Call::get("ListSecrets", "20180608/secrets").with([
            ("compartmentId", compartment.to_owned()),
            ("vaultId", self.vault.clone()),
            ("name", name.to_owned()),
        ]);
        let answer = self.vaults.ask(&call, "the list of secrets").await?;
        let malformed = || self.vaults.client().malformed(&answer);
        let all = json::array(answer.body.expose()).ok_or_else(malformed)?;
        let found: Option<Vec<_>> = all.into_iter().map(|raw| listed(raw, &Query::default())).collect();
        let is_there = found.ok_or_else(malformed)?.into_iter().flatten().any(|found| found == name);
        match (is_there, answer.header("opc-next-page").is_some_and(|page| !page.is_empty())) {
            (false, false) => Ok(()),
            (true, _) => {
                let message = format!("secret {name:?} is there, and we may not read it: allow the user to read it");
                Err(Error::new(ErrorKind::Denied, message))
            }
            (false, true) => Err(malformed()),
        }
    }

    async fn write(&self, name: &str, value: &SecretBytes, _: Option<&Found>) -> Result<(), Error> {
        let encoded = base64(value);
        let content = Object::new().text("contentType", "BASE64").text("content", object::text(&encoded)?).done();
        let change = Object::new().nested("secretContent", &content);
        let call = match self.seen(name).await? {
            Some(there) => {
                let path = format!("20180608/secrets/{}", segment(&there.id)?);
                Call::send("UpdateSecret", Method::PUT, path, change.done())
            }
            None => {
                let missing = || Error::invalid("spec.provider.oracle.encryptionKey is missing, which a push needs");
                let change = change
                    .text("compartmentId", self.compartment("a push")?)
                    .text("keyId", self.encryption_key.as_deref().ok_or_else(missing)?)
                    .text("secretName", name)
                    .text("vaultId", &self.vault);
                Call::send("CreateSecret", Method::POST, "20180608/secrets", change.done())
            }
        };
        self.vaults.ask(&call, &format!("secret {name:?}")).await.map(drop)
    }

    async fn remove(&self, name: &str) -> Result<(), Error> {
        let Some(there) = self.seen(name).await? else { return Ok(()) };
        let when = self.grace.and_then(|grace| Timestamp::try_from(SystemTime::now() + grace).ok());
        let when = when.map(|when| when.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        let body = Object::new().maybe("timeOfDeletion", when.as_deref()).done();
        let path = format!("20180608/secrets/{}/actions/scheduleDeletion", segment(&there.id)?);
        let call = Call::send("ScheduleSecretDeletion", Method::POST, path, body);
        self.vaults.ask(&call, &format!("secret {name:?}")).await.map(drop)
    }

    /// Only an answer shows whether the signature is good; what else a user may do, nobody need know.
    async fn validate(&self) -> Result<(), Error> {
        self.seen(NOBODYS).await.map(drop)
    }

    fn note(&self) -> Option<String> {
        let own = note_of_login(self.is_own, true).map(|own| format!("{own}; "));
        Some(format!("{}{UNPROVEN}", own.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_holds_any_bytes() {
        let body =
            r#"{"secretId":"i","versionNumber":3,"secretBundleContent":{"contentType":"BASE64","content":"/wA="}}"#;
        let Bundle { id, value, version } = bundle(&body.into()).unwrap();
        assert_eq!((id.as_str(), value.expose(), version.as_deref()), ("i", &b"\xff\0"[..], Some("3")));
        for body in ["", "{}", r#"{"secretId":"i","secretBundleContent":{"content":"?"}}"#] {
            assert!(bundle(&body.into()).is_none(), "{body}");
        }
    }

    #[test]
    fn what_goes_is_not_found() {
        let query = Query { tags: [("team".to_owned(), "a".to_owned())].into(), ..Query::default() };
        for (secret, expected) in [
            (
                r#"{"secretName":"n","freeformTags":{"team":"a"},"lifecycleState":"ACTIVE","timeOfDeletion":null}"#,
                Some("n"),
            ),
            (r#"{"secretName":"n","freeformTags":{"team":"b"}}"#, None),
            (r#"{"secretName":"n","freeformTags":{"team":"a"},"lifecycleState":"PENDING_DELETION"}"#, None),
            (r#"{"secretName":"n","freeformTags":{"team":"a"},"timeOfDeletion":"2026-01-01T00:00:00Z"}"#, None),
        ] {
            let raw: Box<RawValue> = serde_json::from_str(secret).unwrap();
            assert_eq!(listed(&raw, &query).unwrap().as_deref(), expected, "{secret}");
        }
    }

    #[test]
    fn a_grace_is_between_a_day_and_thirty() {
        assert_eq!(grace("36h").unwrap(), Duration::from_secs(36 * 3600));
        for wrong in ["", "23h59m", "721h", "-24h", "a day"] {
            assert!(grace(wrong).is_err(), "{wrong}");
        }
    }
}

//! IBM Cloud Secrets Manager: secrets of every type that holds something, by id, or by group, type and name.
//!
//! Built from the vendor's documents, and unproven: no client of theirs has spoken to our double.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, Blame, BuildContext, BuildFuture, Capabilities, Credentials, Dialect, Error, ErrorKind, Fetched, Key,
    Metadata, PropertyLookup, Registration, SecretBytes, SecretRef, filled, json, one_by_one,
};
use keyferry_provider_http::{Ca, Fields, form, server_url};
use keyferry_provider_identity::cloud::Shown;
use keyferry_provider_session::{Grant, Life, Source};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::{Call, Client, Response, Said, Vendor, segment};
use crate::cloud::may_be_operator;
use crate::config::{self, needed, needed_text};
use crate::login::{Access, Pass};
use crate::object::{self, Object};
use crate::store::{Rest, Store, UNPROVEN, note_of_login};

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "ibm", capabilities: |_| CAPABILITIES, maintained: true, build };

const CAPABILITIES: Capabilities = Capabilities { metadata: Metadata::PassedOver, ..Capabilities::READ_ONLY };

const VENDOR: Vendor = Vendor {
    name: "IBM Cloud Secrets Manager",
    metric: "IBM/SecretsManager",
    fields: Fields {
        server: "spec.provider.ibm.serviceUrl",
        ca: "the certificates of the system",
        identity: "spec.provider.ibm",
    },
    login: "spec.provider.ibm.auth",
    says,
};

/// Who gives tokens.
const IAM: Vendor = Vendor {
    name: "IBM Cloud IAM",
    metric: "IBM/IAM",
    fields: Fields { server: "the iamEndpoint of spec.provider.ibm.auth", ..VENDOR.fields },
    says: |_| None::<Said>,
    ..VENDOR
};

const IAM_URL: &str = "https://iam.cloud.ibm.com";

/// Where the token of a trusted profile is, unless the spec says: where IBM's own libraries look first.
const TOKEN_FILE: &str = "/var/run/secrets/tokens/vault-token";

/// The largest token that is read.
const LARGEST_TOKEN: u64 = 64 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    service_url: Option<String>,
    auth: Option<Auth>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Auth {
    secret_ref: Option<ByKey>,
    container_auth: Option<ByProfile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ByKey {
    secret_api_key_secret_ref: Option<SecretRef>,
    iam_endpoint: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ByProfile {
    profile: Option<String>,
    token_location: Option<String>,
    iam_endpoint: Option<String>,
}

/// The secrets of one instance.
struct Ibm {
    access: Access,
    /// Whether it logs in as the operator itself.
    is_own: bool,
}

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move {
        let spec: Spec = config::read(spec, "ibm")?;
        let url = needed_text(spec.service_url, VENDOR.fields.server)?;
        let server = server_url(&url, VENDOR.fields.server, "https://ID.eu-de.secrets-manager.appdomain.cloud")?;
        let auth = needed(spec.auth, "spec.provider.ibm.auth")?;
        let (endpoint, who) = match (auth.secret_ref, auth.container_auth) {
            (Some(by_key), None) => {
                (by_key.iam_endpoint, Who::Key(needed(by_key.secret_api_key_secret_ref, KEY_FIELD)?))
            }
            (None, Some(of)) => {
                // A file of the operator's machine, and a server that is shown it: neither is for a namespace to choose.
                may_be_operator(&Shown { field: PROFILE_FIELD, ctx: &ctx, is_to_named_server: true })?;
                let profile = needed_text(of.profile, &format!("{PROFILE_FIELD}.profile"))?;
                let file = filled(of.token_location).unwrap_or_else(|| TOKEN_FILE.to_owned());
                (of.iam_endpoint, Who::Profile { profile, file })
            }
            _ => return Err(Error::invalid("spec.provider.ibm.auth needs exactly one of secretRef and containerAuth")),
        };
        let iam = filled(endpoint).unwrap_or_else(|| IAM_URL.to_owned());
        let iam = Client::new(&IAM, server_url(&iam, IAM.fields.server, IAM_URL)?, &Ca::System, &ctx).await?;
        let client = Arc::new(Client::new(&VENDOR, server, &Ca::System, &ctx).await?);
        let is_own = matches!(who, Who::Profile { .. });
        let login = Login { iam, credentials: ctx.credentials.clone(), who };
        Ok(Rest::provider(Ibm { access: Access::new(client, login).await?, is_own }))
    })
}

/// `{"errors": [{"code": "not_found", "message": "..."}], "status_code": 404, "trace": "..."}`.
fn says(answer: &Response) -> Option<Said> {
    let errors = json::array(object::at(answer.body.expose(), &["errors"])?.get().as_bytes())?;
    let code = json::object(errors.first()?.get().as_bytes())?.get("code").map(|code| json::to_bytes(code))?;
    (answer.status == 404 && code.expose_str()?.contains("not_found")).then_some(Said::NoSecret)
}

/// Where the spec names an API key, and where a trusted profile.
const KEY_FIELD: &str = "spec.provider.ibm.auth.secretRef.secretApiKeySecretRef";
const PROFILE_FIELD: &str = "spec.provider.ibm.auth.containerAuth";

/// Who logs in.
enum Who {
    /// Whoever has this API key.
    Key(SecretRef),
    /// This trusted profile, by a token that the operator's cluster keeps current in a file.
    Profile { profile: String, file: String },
}

/// Where tokens come from.
struct Login {
    iam: Client,
    credentials: Arc<dyn Credentials>,
    who: Who,
}

impl Login {
    /// The question for a token, and what the answer is told by.
    async fn question(&self) -> Result<(SecretBytes, &'static str), Error> {
        let kind = ("response_type", &b"cloud_iam"[..]);
        Ok(match &self.who {
            Who::Key(reference) => {
                let key = config::secret(&*self.credentials, reference, None, KEY_FIELD).await?;
                let grant = b"urn:ibm:params:oauth:grant-type:apikey";
                (form(&[("grant_type", grant), ("apikey", key.expose()), kind]), KEY_FIELD)
            }
            Who::Profile { profile, file } => {
                let token = token(file).await?;
                let grant = b"urn:ibm:params:oauth:grant-type:cr-token";
                let profile = ("profile_name", profile.as_bytes());
                (form(&[("grant_type", grant), ("cr_token", token.expose()), profile, kind]), PROFILE_FIELD)
            }
        })
    }
}

/// The token that the cluster keeps current in a file.
async fn token(file: &str) -> Result<SecretBytes, Error> {
    let wrong = |problem: &str| Error::invalid(format!("{PROFILE_FIELD}.tokenLocation: {problem}"));
    let metadata = tokio::fs::metadata(file).await.map_err(|_| {
        wrong("there is no such file in the operator's Pod").with_hint("mount a token of its ServiceAccount there")
    })?;
    if !metadata.is_file() || metadata.len() > LARGEST_TOKEN {
        return Err(wrong("the file is none that holds a token"));
    }
    let bytes = tokio::fs::read(file).await.map(SecretBytes::new).map_err(|_| wrong("the file can't be read"))?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let text = bytes.expose_str().map(str::trim).filter(|text| !text.is_empty() && text.chars().all(is_part));
    text.map(SecretBytes::from).ok_or_else(|| wrong("the file is none that holds a token"))
}

#[async_trait]
impl Source<Pass> for Login {
    async fn get(&self) -> Result<Grant<Pass>, Error> {
        let (body, field) = self.question().await?;
        let form = (CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let call = Call::send("Login", Method::POST, "identity/token", body);
        let answer = self.iam.send(&call, &HeaderMap::from_iter([form])).await?;
        if !answer.is_good() {
            return Err(self.iam.login_refusal(&answer));
        }
        let malformed = || self.iam.malformed(&answer);
        let token = object::at(answer.body.expose(), &["access_token"]).map(json::to_bytes).ok_or_else(malformed)?;
        let seconds = answer.word(&["expires_in"]).and_then(|seconds| seconds.parse().ok()).ok_or_else(malformed)?;
        let value = Pass::header(AUTHORIZATION, "Bearer ", &token, field)?;
        Ok(Grant { value, life: Life::of(Duration::from_secs(seconds)) })
    }
}

/// A type of secret, and what of its answer is read.
struct Type {
    name: &'static str,
    /// The member that is the value as a whole.
    value: Option<&'static str>,
    /// What `extract` takes, by the members that hold it.
    fields: &'static [(&'static str, &'static str)],
    /// Those of them that may be left out, and are empty then.
    optional: &'static [&'static str],
}

/// Whose value is an object, and extracted as that.
const OBJECTS: [&str; 2] = ["data", "credentials_content"];

const TYPES: [Type; 9] = [
    Type { name: "arbitrary", value: Some("payload"), fields: &[("arbitrary", "payload")], optional: &[] },
    Type {
        name: "username_password",
        value: None,
        fields: &[("username", "username"), ("password", "password")],
        optional: &[],
    },
    Type { name: "iam_credentials", value: Some("api_key"), fields: &[("apikey", "api_key")], optional: &[] },
    Type {
        name: "service_credentials",
        value: Some("credentials"),
        fields: &[("credentials", "credentials")],
        optional: &[],
    },
    Type {
        name: "imported_cert",
        value: None,
        fields: &[("certificate", "certificate"), ("intermediate", "intermediate"), ("private_key", "private_key")],
        optional: &["intermediate", "private_key"],
    },
    Type {
        name: "public_cert",
        value: None,
        fields: &[("certificate", "certificate"), ("intermediate", "intermediate"), ("private_key", "private_key")],
        optional: &[],
    },
    Type {
        name: "private_cert",
        value: None,
        fields: &[("certificate", "certificate"), ("private_key", "private_key")],
        optional: &[],
    },
    Type { name: "kv", value: Some("data"), fields: &[], optional: &[] },
    Type { name: "custom_credentials", value: Some("credentials_content"), fields: &[], optional: &[] },
];

/// What a key names.
#[derive(Debug, PartialEq, Eq)]
struct Named<'a> {
    group: Option<&'a str>,
    /// The type where the key says it.
    kind: Option<&'a str>,
    /// A name or an id.
    name: &'a str,
}

impl<'a> Named<'a> {
    /// `ID`, `TYPE/ID`, or `GROUP/TYPE/NAME`.
    fn of(key: &'a str) -> Result<Self, Error> {
        let refused = |message: String| Err(Error::invalid(message).with_blame(Blame::Request));
        let parts: Vec<&str> = key.split('/').collect();
        let named = match parts[..] {
            [name] => Self { group: None, kind: None, name },
            [kind, name] => Self { group: None, kind: Some(kind), name },
            [group, kind, name] => Self { group: Some(group), kind: Some(kind), name },
            _ => return refused(format!("the key {key:?} has too many slashes: it is ID, TYPE/ID or GROUP/TYPE/NAME")),
        };
        if let Some(kind) = named.kind.filter(|kind| TYPES.iter().all(|known| known.name != *kind)) {
            let known: Vec<&str> = TYPES.iter().map(|known| known.name).collect();
            return refused(format!("{kind:?} is no type of secret that is read; what is: {}", known.join(", ")));
        }
        if named.group.is_none() && !is_id(named.name) {
            return refused(format!(
                "the key {key:?} names a secret without its group: write GROUP/TYPE/NAME, or its id"
            ));
        }
        Ok(named)
    }

    fn path(&self) -> Result<String, Error> {
        match self {
            Self { group: Some(group), kind: Some(kind), name } if !is_id(name) => {
                let (group, name) = (segment(group)?, segment(name)?);
                Ok(format!("api/v2/secret_groups/{group}/secret_types/{kind}/secrets/{name}"))
            }
            Self { name, .. } => Ok(format!("api/v2/secrets/{}", segment(name)?)),
        }
    }
}

fn is_id(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// What an answer shows: `value` is what is read without a property, `fields` is what is extracted, `others` are texts that
/// have a name besides. `Ok(None)` where the type says that something must be there which is not.
fn shown(body: &SecretBytes, kind: &Type) -> Option<Option<SecretBytes>> {
    let members: BTreeMap<String, &RawValue> = json::object(body.expose())?;
    let is_there = |name: &str| members.get(name).filter(|raw| raw.get() != "null").copied();
    let mut out = Object::new();
    let fields = match kind.value.filter(|value| OBJECTS.contains(value)) {
        Some(value) => {
            let Some(whole) = is_there(value) else { return Some(None) };
            json::object(whole.get().as_bytes())?;
            json::canonical(whole)?
        }
        None => {
            let mut fields = Object::new();
            for (name, member) in kind.fields {
                fields = match is_there(member) {
                    Some(raw) if raw.get().starts_with('"') => fields.text(name, json::to_bytes(raw).expose_str()?),
                    Some(raw) => fields.nested(name, &json::canonical(raw)?),
                    None if kind.optional.contains(member) => fields.text(name, ""),
                    None => return Some(None),
                };
            }
            fields.done()
        }
    };
    out = out.nested("fields", &fields);
    if kind.value.is_none() {
        let mut others = Object::new();
        for (name, raw) in members.iter().filter(|(_, raw)| raw.get().starts_with('"')) {
            others = others.text(name, json::to_bytes(raw).expose_str()?);
        }
        out = out.nested("others", &others.done());
    }
    if let Some(value) = kind.value {
        let Some(raw) = is_there(value) else { return Some(None) };
        let text = if raw.get().starts_with('"') { json::to_bytes(raw) } else { json::canonical(raw)? };
        out = out.text("value", text.expose_str()?);
    }
    Some(Some(out.done()))
}

impl Ibm {
    async fn read(&self, key: &Key) -> Answer {
        let named = Named::of(&key.name)?;
        let what = format!("secret {:?}", key.name);
        let call = if named.path()?.starts_with("api/v2/secrets/") { "GetSecret" } else { "GetSecretByNameType" };
        let answer = self.access.ask(&Call::get(call, named.path()?), &what).await?;
        let malformed = || self.access.client().malformed(&answer);
        let is = answer.word(&["secret_type"]).ok_or_else(malformed)?;
        if named.kind.is_some_and(|kind| kind != is) {
            let message = format!("{what} is of another type than its key says: correct the type in the key");
            return Err(Error::invalid(message).with_blame(Blame::Request));
        }
        let Some(kind) = TYPES.iter().find(|kind| kind.name == is) else {
            let message = format!("{what} is of a type that holds nothing to read");
            return Err(Error::invalid(message).with_blame(Blame::Request));
        };
        let value = shown(&answer.body, kind).ok_or_else(malformed)?;
        value.map(Fetched::from).ok_or_else(|| {
            let message = format!("{what} holds nothing now: it is destroyed, has expired, or is not made yet");
            Error::new(ErrorKind::NoVersion, message)
        })
    }
}

#[async_trait]
impl Store for Ibm {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        Dialect { property: PropertyLookup::ValueAndFields, ..Dialect::default() }
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        one_by_one(keys, |key| self.read(key)).await
    }

    /// The login was made when the store was built; which secrets a key sees, nobody need know.
    async fn validate(&self) -> Result<(), Error> {
        self.access.log_in().await
    }

    fn note(&self) -> Option<String> {
        let own = note_of_login(self.is_own, true).map(|own| format!("{own}; "));
        Some(format!("{}{UNPROVEN}", own.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "24ec2c34-38ee-4038-9f1d-9a629423158d";

    #[test]
    fn a_key_is_an_id_or_a_name_in_a_group() {
        let of = |group, kind, name| Named { group, kind, name };
        assert_eq!(Named::of(ID).unwrap(), of(None, None, ID));
        let with_type = format!("kv/{ID}");
        assert_eq!(Named::of(&with_type).unwrap(), of(None, Some("kv"), ID));
        let named = Named::of("default/kv/db").unwrap();
        assert_eq!(named, of(Some("default"), Some("kv"), "db"));
        assert_eq!(named.path().unwrap(), "api/v2/secret_groups/default/secret_types/kv/secrets/db");
        for wrong in ["", "db", "kv/db", "key/x", "a/other/b", "a/kv/b/c"] {
            assert_eq!(Named::of(wrong).unwrap_err().blame(), Blame::Request, "{wrong}");
        }
    }

    #[test]
    fn each_type_shows_what_it_holds() {
        let show = |kind: &str, body: &str| {
            let kind = TYPES.iter().find(|known| known.name == kind).unwrap();
            shown(&body.into(), kind).map(|shown| shown.map(|shown| shown.expose_str().unwrap().to_owned()))
        };
        for (kind, body, expected) in [
            ("arbitrary", r#"{"payload":"p","id":"i"}"#, r#"{"fields":{"arbitrary":"p"},"value":"p"}"#),
            ("iam_credentials", r#"{"api_key":"k"}"#, r#"{"fields":{"apikey":"k"},"value":"k"}"#),
            (
                "service_credentials",
                r#"{"credentials":{"b":1,"a":"x"}}"#,
                r#"{"fields":{"credentials":{"a":"x","b":1}},"value":"{\"a\":\"x\",\"b\":1}"}"#,
            ),
            ("kv", r#"{"data":{"a":1.50}}"#, r#"{"fields":{"a":1.50},"value":"{\"a\":1.50}"}"#),
            (
                "username_password",
                r#"{"username":"u","password":"p","id":"i","n":1}"#,
                r#"{"fields":{"username":"u","password":"p"},"others":{"id":"i","password":"p","username":"u"}}"#,
            ),
            (
                "imported_cert",
                r#"{"certificate":"c","intermediate":null}"#,
                r#"{"fields":{"certificate":"c","intermediate":"","private_key":""},"others":{"certificate":"c"}}"#,
            ),
        ] {
            assert_eq!(show(kind, body).unwrap().as_deref(), Some(expected), "{kind}");
        }
        assert_eq!(show("arbitrary", r#"{"id":"i"}"#), Some(None));
        assert_eq!(show("public_cert", r#"{"certificate":"c"}"#), Some(None));
        assert_eq!((show("kv", r#"{"data":"x"}"#), show("kv", "<html>")), (None, None));
    }
}

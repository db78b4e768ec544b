//! Grafana: a token of a service account, which is found by its name, or made. The token's own name is chosen beforehand and
//! written down, so that it is found whatever happens in between.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use keyferry_provider_core::{
    BuildContext, Built, Error, Generator, GeneratorRegistration, Keep, Made, SecretBytes, SecretRef, State, Term,
    filled, json,
};
use keyferry_provider_http::{Ca, Fields, secure_url};
use rand::Rng as _;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde::Deserialize;

use super::proof::{basic, header, number_at, read, secret_at, values};
use crate::client::{Call, Client, Response, Vendor};
use crate::config::{needed, needed_text, secret};
use crate::object::{Object, at, text_at};

/// How the registry knows it.
pub const REGISTRATION: GeneratorRegistration =
    GeneratorRegistration { kind: "Grafana", field: "grafanaSpec", has_state: true, build };

fn build(spec: &serde_json::Value, ctx: BuildContext) -> Built {
    Ok(Arc::new(Grafana { spec: read(spec, "Grafana")?, ctx }))
}

const GRAFANA: Vendor = Vendor {
    name: "Grafana",
    metric: "Grafana",
    fields: Fields { server: "spec.url", ca: "the certificates of the system", identity: "spec.url" },
    login: "spec.auth",
    says: |_| None,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    url: Option<String>,
    auth: Option<AuthSpec>,
    service_account: Option<AccountSpec>,
}

#[derive(Deserialize)]
struct AuthSpec {
    token: Option<SecretRef>,
    basic: Option<BasicSpec>,
}

#[derive(Deserialize)]
struct BasicSpec {
    username: Option<String>,
    password: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccountSpec {
    name: Option<String>,
    role: Option<String>,
    seconds_to_live: Option<i64>,
}

struct Grafana {
    spec: Spec,
    ctx: BuildContext,
}

/// A client with what its requests carry.
struct Access {
    client: Client,
    headers: HeaderMap,
}

impl Access {
    async fn ask(&self, call: &Call, what: &'static str) -> Result<Response, Error> {
        let answer = self.client.send(call, &self.headers).await?;
        if answer.is_good() { Ok(answer) } else { Err(self.client.refusal(&answer, &what)) }
    }
}

impl Grafana {
    async fn access(&self) -> Result<Access, Error> {
        let auth = needed(self.spec.auth.as_ref(), "spec.auth")?;
        let port = &*self.ctx.credentials;
        let headers = match (&auth.token, &auth.basic) {
            (Some(token), _) => {
                let field = "spec.auth.token";
                header(AUTHORIZATION, "Bearer ", &secret(port, token, None, field).await?, field)?
            }
            (None, Some(of_user)) => {
                let field = "spec.auth.basic.password";
                let password = secret(port, needed(of_user.password.as_ref(), field)?, None, field).await?;
                let user = needed_text(of_user.username.clone(), "spec.auth.basic.username")?;
                basic(&user, &password, field)?
            }
            (None, None) => return Err(Error::invalid("spec.auth needs token or basic")),
        };
        let url = needed_text(self.spec.url.clone(), "spec.url")?;
        let url = secure_url(&url, "spec.url", "https://grafana.example.com")?;
        Ok(Access { client: Client::new(&GRAFANA, url, &Ca::System, &self.ctx).await?, headers })
    }

    /// The id and login of the service account.
    async fn account(&self, access: &Access) -> Result<(i64, String), Error> {
        let account = needed(self.spec.service_account.as_ref(), "spec.serviceAccount")?;
        let name = needed_text(account.name.clone(), "spec.serviceAccount.name")?;
        let query = [("query", name.clone())];
        let call = Call::get("SearchServiceAccounts", "api/serviceaccounts/search").with(query);
        let found = access.ask(&call, "service accounts").await?;
        let all = at(found.body.expose(), &["serviceAccounts"]).and_then(|all| json::array(all.get().as_bytes()));
        let read = |account: &str| {
            let body = SecretBytes::from(account);
            Some((number_at(body.expose(), "id")?, text_at(&body, &["login"])?, text_at(&body, &["name"])?))
        };
        let mut known = all.into_iter().flatten().filter_map(|account| read(account.get()));
        if let Some((id, login, _)) = known.find(|(_, _, called)| *called == name) {
            return Ok((id, login));
        }
        let body = Object::new().text("name", &name).maybe("role", filled(account.role.clone()).as_deref()).done();
        let call = Call::send("CreateServiceAccount", Method::POST, "api/serviceaccounts", body);
        let made = access.ask(&call, "service accounts").await?;
        let (id, login) = (number_at(made.body.expose(), "id"), made.word(&["login"]));
        id.zip(login).ok_or_else(|| access.client.malformed(&made))
    }

    /// The id of a token that was written down by its name alone; `None` where it was never made.
    async fn by_name(&self, access: &Access, account: i64, name: &str) -> Result<Option<i64>, Error> {
        let call = Call::get("ListTokens", format!("api/serviceaccounts/{account}/tokens"));
        let answer = access.client.send(&call, &access.headers).await?;
        match answer.status {
            _ if answer.says_gone() => Ok(None),
            _ if !answer.is_good() => Err(access.client.refusal(&answer, &"tokens")),
            _ => {
                let all = json::array(answer.body.expose()).ok_or_else(|| access.client.malformed(&answer))?;
                let is_it = |token: &&serde_json::value::RawValue| {
                    text_at(&token.get().into(), &["name"]).as_deref() == Some(name)
                };
                Ok(all.into_iter().find(is_it).and_then(|token| number_at(token.get().as_bytes(), "id")))
            }
        }
    }
}

fn state(account: i64, login: &str, name: &str, token: Option<i64>) -> State {
    serde_json::json!({"serviceAccount": {"id": account, "login": login, "tokenID": token}, "tokenName": name})
}

#[async_trait]
impl Generator for Grafana {
    async fn make(&self, keep: &dyn Keep) -> Result<Made, Error> {
        let access = self.access().await?;
        let (account, login) = self.account(&access).await?;
        let name = format!("keyferry-{:032x}", rand::rng().random::<u128>());
        let lives = self.spec.service_account.as_ref().and_then(|account| account.seconds_to_live);
        let lives = lives.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
        let mut body = Object::new().text("name", &name);
        if let Some(seconds) = lives {
            body = body.json("secondsToLive", &seconds.to_string());
        }
        let end = lives.and_then(|seconds| SystemTime::now().checked_add(Duration::from_secs(seconds)));
        let term = end.map(|end| Term { end, renews: false });
        keep.keep(&state(account, &login, &name, None), term).await?;
        let path = format!("api/serviceaccounts/{account}/tokens");
        let answer = access.ask(&Call::send("CreateToken", Method::POST, path, body.done()), "tokens").await?;
        let read = || Some((number_at(answer.body.expose(), "id")?, secret_at(&answer.body, "key")?));
        let (id, token) = read().ok_or_else(|| access.client.malformed(&answer))?;
        let state = state(account, &login, &name, Some(id));
        Ok(Made { values: values([("login", login.as_str().into()), ("token", token)]), state: Some(state), term })
    }

    async fn revoke(&self, state: &State) -> Result<(), Error> {
        let account = &state["serviceAccount"];
        let Some(id) = account["id"].as_i64() else { return Ok(()) };
        let access = self.access().await?;
        let token = match (account["tokenID"].as_i64(), state["tokenName"].as_str()) {
            (Some(token), _) => Some(token),
            (None, Some(name)) => self.by_name(&access, id, name).await?,
            (None, None) => None,
        };
        let Some(token) = token else { return Ok(()) };
        let path = format!("api/serviceaccounts/{id}/tokens/{token}");
        let call = Call { method: Method::DELETE, ..Call::get("DeleteToken", path) };
        let answer = access.client.send(&call, &access.headers).await?;
        if answer.is_good() || answer.says_gone() { Ok(()) } else { Err(access.client.refusal(&answer, &"the token")) }
    }

    async fn renew(&self, _: &State) -> Result<Option<(State, Term)>, Error> {
        Ok(None)
    }
}

//! What Vault answers: to logins, and to who has logged in.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{State, World, lock, reply};
use crate::jwt;
use crate::signature::Signed;

pub(super) fn routes() -> Router<World> {
    Router::new()
        .route("/v1/auth/{mount}/login/{user}", post(by_password))
        .route("/v1/auth/aws/login", post(by_aws))
        .route("/v1/auth/gcp/login", post(by_google))
        .route("/v1/auth/token/lookup-self", get(look_up))
        .route("/v1/auth/token/renew-self", post(renew).put(renew))
        .route("/v1/auth/token/revoke-self", post(revoke).put(revoke))
        .route("/v1/secret/data/{*path}", get(read))
        .route("/v1/sys/internal/ui/mounts/{*path}", get(mount))
}

fn refuse(status: StatusCode, error: &str) -> Response {
    reply(status, &json!({"errors": [error]}))
}

fn bad(error: &str) -> Response {
    refuse(StatusCode::BAD_REQUEST, error)
}

async fn by_password(
    Extract(world): Extract<World>,
    Path((mount, user)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut state = lock(&world);
    match state.users.get(&(mount.clone(), user)) {
        Some(password) if body["password"] == json!(password) => reply(StatusCode::OK, &state.grant()),
        _ if mount == "ldap" => bad("ldap operation failed: failed to bind as user canary-of-the-server"),
        _ => bad("invalid username or password"),
    }
}

/// The call that is to be made is made by nobody here: STS would look at its signature, and so do we.
async fn by_aws(Extract(world): Extract<World>, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut state = lock(&world);
    match caller(&state, &body) {
        Err(error) => bad(&error),
        Ok(arn) if body["role"].as_str().and_then(|role| state.bound.get(role)) == Some(&arn) => {
            reply(StatusCode::OK, &state.grant())
        }
        Ok(arn) => bad(&format!("IAM Principal {arn:?} does not belong to the role")),
    }
}

fn caller(state: &State, login: &Value) -> Result<String, String> {
    let field = |name: &str| {
        let bytes = STANDARD.decode(login[name].as_str().unwrap_or_default()).unwrap_or_default();
        String::from_utf8(bytes).map_err(|_| format!("{name} is no text"))
    };
    if login["iam_http_request_method"] != "POST" {
        return Err("invalid iam_http_request_method".to_owned());
    }
    let (url, asked) = (field("iam_request_url")?, field("iam_request_body")?);
    if !asked.starts_with("Action=GetCallerIdentity&Version=2011-06-15") {
        return Err("request body must be GetCallerIdentity".to_owned());
    }
    let Some((host, path)) = url.strip_prefix("https://sts.").and_then(|rest| rest.split_once('/')) else {
        return Err("iam_request_url is not one of STS".to_owned());
    };
    let (host, path) = (format!("sts.{host}"), format!("/{path}"));
    let headers: BTreeMap<String, Value> =
        serde_json::from_str(&field("iam_request_headers")?).map_err(|_| "headers are no object".to_owned())?;
    let header = |name: &str| {
        let (_, value) = headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name))?;
        // One, or a list of them.
        value.as_str().or_else(|| value.as_array()?.first()?.as_str()).map(str::to_owned)
    };
    let signed = Signed { path: &path, host: &host, header: &header, body: asked.as_bytes() };
    if let Some(id) = &state.server_id {
        let is_signed = signed.names().iter().any(|name| name == "x-vault-aws-iam-server-id");
        if header("x-vault-aws-iam-server-id").as_ref() != Some(id) || !is_signed {
            return Err("error validating X-Vault-AWS-IAM-Server-ID header".to_owned());
        }
    }
    let key = signed.key_id().and_then(|id| state.keys.get(&id));
    let key = key.filter(|key| signed.is_by(&key.secret) && key.token == header("x-amz-security-token"));
    let refused = "received error code 403 from STS: canary-of-the-server";
    key.map(|key| key.arn.clone()).ok_or_else(|| refused.to_owned())
}

async fn by_google(Extract(world): Extract<World>, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (role, token) = (body["role"].as_str().unwrap_or_default(), body["jwt"].as_str().unwrap_or_default());
    let mut state = lock(&world);
    let Some(email) = jwt::subject(token) else { return bad("unable to parse signed JWT") };
    let claims = state.accounts.get(&email).and_then(|account| account.read(token));
    let Some(claims) = claims else { return bad("role is not authorized: canary-of-the-server") };
    let audience = claims["aud"].as_str().unwrap_or_default();
    if !audience.ends_with(&format!("vault/{role}")) {
        return bad("invalid audience");
    }
    match state.bound.get(role) {
        Some(bound) if *bound == email => reply(StatusCode::OK, &state.grant()),
        _ => bad("service account is not authorized for role"),
    }
}

fn known(state: &State, headers: &HeaderMap) -> Option<String> {
    let token = headers.get("x-vault-token")?.to_str().ok()?.to_owned();
    state.tokens.get(&token).filter(|end| Instant::now() < **end)?;
    Some(token)
}

fn denied() -> Response {
    refuse(StatusCode::FORBIDDEN, "permission denied")
}

async fn look_up(Extract(world): Extract<World>, headers: HeaderMap) -> Response {
    match known(&lock(&world), &headers) {
        Some(token) => reply(StatusCode::OK, &json!({"data": {"id": token}})),
        None => denied(),
    }
}

async fn renew(Extract(world): Extract<World>, headers: HeaderMap) -> Response {
    let mut state = lock(&world);
    let Some(token) = known(&state, &headers) else { return denied() };
    let lease = state.lease;
    state.tokens.insert(token.clone(), Instant::now() + lease);
    reply(
        StatusCode::OK,
        &json!({"auth": {"client_token": token, "lease_duration": lease.as_secs(), "renewable": true}}),
    )
}

async fn revoke(Extract(world): Extract<World>, headers: HeaderMap) -> Response {
    let mut state = lock(&world);
    let Some(token) = known(&state, &headers) else { return denied() };
    state.tokens.remove(&token);
    state.revoked.push(token);
    StatusCode::NO_CONTENT.into_response()
}

async fn read(Extract(world): Extract<World>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    let state = lock(&world);
    if known(&state, &headers).is_none() {
        return denied();
    }
    match state.secrets.get(&path) {
        Some(value) => {
            let metadata = json!({"version": 1, "destroyed": false, "deletion_time": "", "custom_metadata": null,
                "created_time": "2026-01-01T00:00:00Z"});
            reply(StatusCode::OK, &json!({"data": {"data": value, "metadata": metadata}}))
        }
        None => reply(StatusCode::NOT_FOUND, &json!({"errors": []})),
    }
}

async fn mount(Extract(world): Extract<World>, headers: HeaderMap) -> Response {
    match known(&lock(&world), &headers) {
        Some(_) => {
            reply(StatusCode::OK, &json!({"data": {"type": "kv", "path": "secret/", "options": {"version": "2"}}}))
        }
        None => denied(),
    }
}

//! What clouds answer to who wants to log in: AWS's STS below `/sts`, the agent of EKS Pod Identity at `/pod-identity`,
//! Google's token exchange below `/google-sts`, its IAM below `/google-iam`, and its metadata server.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::{AwsKey, State, Trust, World, lock, reply};
use crate::signature::Signed;

/// The token with which a pod asks the agent who it is, and whom it is told to be.
const POD_TOKEN: &str = "canary-of-the-pod";
const POD_ARN: &str = "arn:aws:sts::123456789012:assumed-role/pod/x";

/// The service account of the machine that the metadata server speaks of.
const MACHINE: &str = "machine@p.iam.gserviceaccount.com";

pub(super) fn routes() -> Router<World> {
    Router::new()
        .route("/sts/", post(sts))
        .route("/pod-identity", get(pod_identity))
        .route("/google-sts/v1/token", post(exchange))
        .route("/google-iam/v1/projects/-/serviceAccounts/{call}", post(iam))
        .route("/computeMetadata/v1/{*path}", get(metadata))
        // By which clients find out whether there is a metadata server.
        .route("/", get(async || ([("metadata-flavor", "Google")], "")))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

async fn sts(Extract(world): Extract<World>, headers: HeaderMap, body: Bytes) -> Response {
    let fields = form(&body);
    let field = |name: &str| fields.get(name).map(String::as_str);
    let mut state = lock(&world);
    let role = field("RoleArn").unwrap_or_default();
    let may = match (field("Action"), state.roles.get(role)) {
        (Some("AssumeRoleWithWebIdentity"), Some(Trust::Token(token))) => field("WebIdentityToken") == Some(token),
        (Some("AssumeRole"), Some(Trust::Identity { arn, external_id })) => {
            caller(&state, &headers, &body).as_ref() == Some(arn) && field("ExternalId") == external_id.as_deref()
        }
        _ => false,
    };
    if !may {
        let error = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>canary-of-the-server</Message>\
                     </Error></ErrorResponse>";
        return (StatusCode::FORBIDDEN, error).into_response();
    }
    let action = field("Action").unwrap_or_default();
    let (id, secret, token) = temporary(&mut state, role);
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>\
         <Expiration>2036-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser><Arn>{role}</Arn>\
         <AssumedRoleId>AROA:x</AssumedRoleId></AssumedRoleUser></{action}Result></{action}Response>"
    )
    .into_response()
}

fn caller(state: &State, headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let host = header(headers, "host")?;
    let value = |name: &str| header(headers, name).map(str::to_owned);
    let signed = Signed { path: "/sts/", host, header: &value, body };
    // Clients of AWS sign the path that they send; ours, whose server stands at the root, signs that.
    let at_root = Signed { path: "/", ..signed };
    let key = state.keys.get(&at_root.key_id()?)?;
    let good = at_root.is_by(&key.secret) || Signed { path: "/sts/", ..at_root }.is_by(&key.secret);
    (good && key.token.as_deref() == header(headers, "x-amz-security-token")).then(|| key.arn.clone())
}

fn temporary(state: &mut State, arn: &str) -> (String, String, String) {
    let id = state.fresh("ASIACANARY");
    let (secret, token) = (format!("canary-of-a-key/{id}"), format!("canary-of-a-session+{id}=="));
    let key = AwsKey { secret: secret.clone(), token: Some(token.clone()), arn: arn.to_owned() };
    state.keys.insert(id.clone(), key);
    (id, secret, token)
}

async fn pod_identity(Extract(world): Extract<World>, headers: HeaderMap) -> Response {
    if header(&headers, "authorization") != Some(POD_TOKEN) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let (id, secret, token) = temporary(&mut lock(&world), POD_ARN);
    let answer = json!({"AccessKeyId": id, "SecretAccessKey": secret, "Token": token, "AccountId": "123456789012",
        "Expiration": "2036-01-01T00:00:00Z"});
    reply(StatusCode::OK, &answer)
}

fn google_error(status: StatusCode) -> Response {
    let error =
        json!({"error": {"code": status.as_u16(), "message": "canary-of-the-server", "status": "PERMISSION_DENIED"}});
    reply(status, &error)
}

async fn exchange(Extract(world): Extract<World>, body: Bytes) -> Response {
    let fields = form(&body);
    let is = |name: &str, text: &str| fields.get(name).is_some_and(|found| found == text);
    let mut state = lock(&world);
    let cluster = "https://container.googleapis.com/v1/projects/p/locations/l/clusters/c";
    let good = is("subject_token", &state.kubernetes_token)
        && is("audience", &format!("identitynamespace:p.svc.id.goog:{cluster}"))
        && is("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
        && is("subject_token_type", "urn:ietf:params:oauth:token-type:jwt")
        && is("requested_token_type", "urn:ietf:params:oauth:token-type:access_token");
    if !good {
        return reply(StatusCode::BAD_REQUEST, &json!({"error": "invalid_grant"}));
    }
    let token = state.fresh("canary-of-a-federated-token-");
    state.google_tokens.insert(token.clone(), "federated".to_owned());
    reply(
        StatusCode::OK,
        &json!({"access_token": token, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 3600}),
    )
}

/// `EMAIL:generateAccessToken` for who was federated, `EMAIL:signJwt` for the account itself.
async fn iam(Extract(world): Extract<World>, Path(call): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut state = lock(&world);
    let Some((email, verb)) = call.rsplit_once(':') else { return google_error(StatusCode::NOT_FOUND) };
    let token = header(&headers, "authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let who = state.google_tokens.get(token).cloned().unwrap_or_default();
    let Some(account) = state.accounts.get(email).cloned() else { return google_error(StatusCode::NOT_FOUND) };
    match verb {
        "generateAccessToken" if who == "federated" && body["scope"].is_array() => {
            let token = state.fresh("canary-of-an-access-token-");
            state.google_tokens.insert(token.clone(), email.to_owned());
            reply(StatusCode::OK, &json!({"accessToken": token, "expireTime": "2036-01-01T00:00:00Z"}))
        }
        "signJwt" if who == email => {
            let jwt = account.sign(body["payload"].as_str().unwrap_or_default());
            reply(StatusCode::OK, &json!({"keyId": "key-1", "signedJwt": jwt}))
        }
        _ => google_error(StatusCode::FORBIDDEN),
    }
}

async fn metadata(
    Extract(world): Extract<World>,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = form(query.unwrap_or_default().as_bytes());
    if header(&headers, "metadata-flavor") != Some("Google") {
        return StatusCode::FORBIDDEN.into_response();
    }
    let text = match path.as_str() {
        "project/project-id" => "p".to_owned(),
        "instance/attributes/cluster-location" => "l\n".to_owned(),
        "instance/attributes/cluster-name" => "c".to_owned(),
        "instance/service-accounts/default/" => {
            let mut answer = reply(StatusCode::OK, &json!({"aliases": ["default"], "email": MACHINE, "scopes": []}));
            answer.headers_mut().insert("metadata-flavor", axum::http::HeaderValue::from_static("Google"));
            return answer;
        }
        "instance/service-accounts/default/identity" if query.contains_key("audience") => {
            let state = lock(&world);
            let Some(account) = state.accounts.get(MACHINE) else { return StatusCode::NOT_FOUND.into_response() };
            let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() + 600;
            let compute = json!({"instance_name": "m", "project_id": "p", "zone": "z"});
            let claims = json!({"aud": query["audience"], "email": MACHINE, "exp": end, "sub": "1",
                "google": {"compute_engine": compute}});
            account.sign(&claims.to_string())
        }
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    ([("metadata-flavor", "Google")], text).into_response()
}

/// The fields of a form.
fn form(body: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(body);
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let (mut out, mut bytes) = (Vec::new(), text.bytes());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                u8::from_str_radix(&String::from_utf8_lossy(&digits), 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}

//! Vault's protocol: reads of KV version 2 at any mount, and a token's question about itself.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::Question;
use super::http::{Reply, Request};
use super::rule::Refusal;
use super::values::Values;

const LOOKUP_SELF: &str = "lookup-self";
const READ: &str = "read";

pub(super) fn question(request: &Request) -> Question {
    let path = path(request);
    let (action, keys) = match (request.method.as_str(), path, path.split_once("/data/")) {
        (_, "auth/token/lookup-self", _) => (LOOKUP_SELF.to_owned(), vec![]),
        ("GET", _, Some((_, key))) => (READ.to_owned(), vec![key.to_owned()]),
        (method, path, _) => (format!("{method} {path}"), vec![]),
    };
    let identity = request.header("x-vault-token").unwrap_or_default().to_owned();
    Question { action, identity, keys }
}

pub(super) fn answer(
    request: &Request,
    question: &Question,
    values: &Values,
    refused: &HashMap<String, Refusal>,
) -> Reply {
    match (question.action.as_str(), question.keys.as_slice()) {
        (LOOKUP_SELF, _) => json_reply(
            200,
            &json!({"data": {"type": "service", "ttl": 0, "expire_time": null, "policies": ["double"]}}),
        ),
        (READ, [key]) => match (refused.get(key), values.get(&question.identity, key)) {
            (Some(refusal), _) => refuse(*refusal),
            (None, None) => refuse(Refusal::NotFound),
            (None, Some(versions)) => {
                // Version 0 is the current one.
                let wanted = version(request).filter(|wanted| *wanted > 0).unwrap_or(versions.len());
                match versions.get(wanted - 1) {
                    None => refuse(Refusal::NotFound),
                    Some(found) => {
                        let data = match serde_json::from_str::<Value>(&found.text) {
                            Ok(object @ Value::Object(_)) => object,
                            _ => json!({ "value": &*found.text }),
                        };
                        let metadata = json!({"version": wanted, "destroyed": false, "deletion_time": ""});
                        json_reply(200, &json!({"data": {"data": data, "metadata": metadata}}))
                    }
                }
            }
        },
        _ => refuse(Refusal::NotFound),
    }
}

pub(super) fn refuse(refusal: Refusal) -> Reply {
    let (status, words) = match refusal {
        Refusal::Denied => (403, "permission denied"),
        Refusal::UnknownCaller => (403, "invalid token"),
        Refusal::NotFound => return json_reply(404, &json!({"errors": []})),
        Refusal::Undecryptable => (500, "decryption failed"),
        Refusal::Throttled => (429, "request path \"x\": rate limit quota exceeded"),
        Refusal::Invalid => (400, "invalid request"),
        Refusal::Internal => (500, "internal error"),
    };
    json_reply(status, &json!({ "errors": [words] }))
}

fn json_reply(status: u16, body: &Value) -> Reply {
    Reply::text(status, "application/json", body.to_string())
}

/// Below `/v1/`, without the query.
fn path(request: &Request) -> &str {
    let path = request.path.split('?').next().unwrap_or_default();
    path.strip_prefix("/v1/").unwrap_or(path)
}

fn version(request: &Request) -> Option<usize> {
    let (_, query) = request.path.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix("version="))?.parse().ok()
}

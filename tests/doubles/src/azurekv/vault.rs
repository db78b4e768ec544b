//! The API of the vault.

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::kept::{Kind, Object, Version};
use super::login::Logins;
use super::{Asked, RESOURCE, State, TENANT, answer};

/// The most that is listed at once.
const PAGE: usize = 25;

/// The versions of the API that clients of today and of some years ago ask for.
const VERSIONS: [&str; 6] = ["7.4", "7.5", "7.6", "2025-06-01-preview", "2025-07-01", "2026-04-01"];

pub(crate) fn answer_of(state: &mut State, asked: &Asked) -> Response {
    if let Some(refusal) = refuse(state, asked) {
        return refusal;
    }
    let segments: Vec<&str> = asked.segments.iter().map(String::as_str).collect();
    let Some((collection, rest)) = segments.split_first() else { return bad("no path") };
    if let Some(kind) = collection.strip_prefix("deleted").and_then(Kind::of) {
        return deleted(state, asked, kind, rest);
    }
    let Some(kind) = Kind::of(collection) else { return bad("an unknown collection") };
    if let [name, ..] = rest {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.len() > 127 || !name.bytes().all(is_name) {
            return bad("The request URI contains an invalid name: canary");
        }
    }
    if let (Kind::Key, "POST", [name, version, verb @ ("encrypt" | "decrypt")]) = (kind, asked.method.as_str(), rest) {
        return state.keys.answer(asked, name, version, verb).unwrap_or_else(|| missing(kind));
    }
    match (asked.method.as_str(), rest) {
        ("GET", []) => list(state, asked, kind),
        ("GET", [name]) => get(state, asked, kind, name, None),
        ("GET", [name, "versions"]) => versions(state, asked, kind, name),
        ("GET", [name, version]) => get(state, asked, kind, name, Some(version)),
        ("PUT", [name]) if kind != Kind::Certificate => set(state, asked, kind, name, asked.json()),
        ("POST", [name, "import"]) if kind == Kind::Certificate => import(state, asked, name),
        ("PATCH", [name, version]) => update(state, asked, kind, name, version),
        ("DELETE", [name]) => delete(state, asked, kind, name),
        _ => bad("Method canary does not allow the operation"),
    }
}

/// Who is not let in at all.
fn refuse(state: &State, asked: &Asked) -> Option<Response> {
    if !is_let_in(&state.logins, asked) {
        let challenge = format!("Bearer authorization=\"{}/{TENANT}\", resource=\"{RESOURCE}\"", asked.base);
        let body = json!({"error": {"code": "Unauthorized", "message": "AKV10000: canary of the vault"}});
        let mut refusal = answer(401, &body);
        refusal.headers_mut().insert("www-authenticate", challenge.parse().expect("a header"));
        return Some(refusal);
    }
    if state.is_walled {
        return Some(error(403, "Forbidden", Some("ForbiddenByFirewall")));
    }
    if !VERSIONS.contains(&asked.query("api-version")) {
        return Some(bad("an unknown version of the API"));
    }
    let collection = asked.segments.first().map_or("", String::as_str);
    let is_list = asked.segments.len() == 1 || asked.segments.last().is_some_and(|last| last == "versions");
    let right = match asked.method.as_str() {
        "GET" if is_list => "list",
        "GET" => "get",
        "DELETE" => "delete",
        "POST" => match asked.segments.last().map(String::as_str) {
            Some(verb @ ("recover" | "encrypt" | "decrypt")) => verb,
            _ => "set",
        },
        _ => "set",
    };
    let right = format!("{collection}/{right}");
    let of_one = format!("{right}/{}", asked.segments.get(1).map_or("", String::as_str));
    let is_denied = [right, of_one].iter().any(|right| state.denied.contains(right));
    is_denied.then(|| error(403, "Forbidden", Some("ForbiddenByRbac")))
}

fn is_let_in(logins: &Logins, asked: &Asked) -> bool {
    logins.lets_in(asked.header("authorization"), asked.at)
}

/// An error as the vault says it; the message is a canary.
fn error(status: u16, code: &str, inner: Option<&str>) -> Response {
    let mut body = json!({"error": {"code": code, "message": "canary of the vault"}});
    if let Some(inner) = inner {
        body["error"]["innererror"] = json!({"code": inner});
    }
    answer(status, &body)
}

pub(super) fn bad(message: &str) -> Response {
    answer(400, &json!({"error": {"code": "BadParameter", "message": message}}))
}

fn missing(kind: Kind) -> Response {
    error(404, &format!("{}NotFound", kind.word()), None)
}

/// A version as the API shows it.
fn shown(asked: &Asked, kind: Kind, object: &Object, version: &Version) -> Value {
    let mut body = version.body.clone();
    let id = format!("{}/{}/{}/{}", asked.base, kind.collection(), object.name, version.id);
    match kind {
        Kind::Key => body["key"]["kid"] = json!(id),
        Kind::Secret | Kind::Certificate => body["id"] = json!(id),
    }
    body
}

/// The same without what it holds, and under a name without version where it stands for all.
fn listed(asked: &Asked, kind: Kind, object: &Object, version: &Version, with_version: bool) -> Value {
    let mut id = format!("{}/{}/{}", asked.base, kind.collection(), object.name);
    if with_version {
        id = format!("{id}/{}", version.id);
    }
    let name = if kind == Kind::Key { "kid" } else { "id" };
    let mut body = json!({name: id, "attributes": version.body["attributes"]});
    for field in ["tags", "contentType"] {
        if !version.body[field].is_null() {
            body[field] = version.body[field].clone();
        }
    }
    body
}

fn page(asked: &Asked, path: &str, all: &[Value]) -> Response {
    let from: usize = asked.query("$skiptoken").parse().unwrap_or(0);
    let most = asked.query("maxresults").parse().unwrap_or(PAGE);
    if !(1..=PAGE).contains(&most) {
        return bad("maxresults");
    }
    let until = all.len().min(from + most);
    let next = (until < all.len()).then(|| {
        let version = asked.query("api-version");
        format!("{}/{path}?api-version={version}&$skiptoken={until}&maxresults={most}", asked.base)
    });
    answer(200, &json!({"value": all[from.min(until)..until], "nextLink": next}))
}

fn list(state: &State, asked: &Asked, kind: Kind) -> Response {
    let all = state.kept.all(kind).into_iter();
    let all: Vec<Value> =
        all.filter_map(|object| Some(listed(asked, kind, object, object.versions.last()?, false))).collect();
    page(asked, kind.collection(), &all)
}

fn versions(state: &mut State, asked: &Asked, kind: Kind, name: &str) -> Response {
    let all: Vec<Value> = state.kept.get(kind, name).map_or_else(Vec::new, |object| {
        object.versions.iter().map(|version| listed(asked, kind, object, version, true)).collect()
    });
    page(asked, &format!("{}/{name}/versions", kind.collection()), &all)
}

fn get(state: &mut State, asked: &Asked, kind: Kind, name: &str, version: Option<&str>) -> Response {
    let Some(object) = state.kept.get(kind, name) else { return missing(kind) };
    let found = match version {
        None => object.versions.last(),
        Some(version) if version.len() != 32 => return bad("The request URI contains an invalid version: canary"),
        Some(version) => object.versions.iter().find(|one| one.id == version),
    };
    match found {
        None => missing(kind),
        Some(found) if kind == Kind::Secret && found.body["attributes"]["enabled"] == false => {
            error(403, "Forbidden", Some("SecretDisabled"))
        }
        Some(found) => answer(200, &shown(asked, kind, object, found)),
    }
}

fn set(state: &mut State, asked: &Asked, kind: Kind, name: &str, mut body: Value) -> Response {
    if let Some(inner) = state.kept.taken(kind, name) {
        return error(409, "Conflict", Some(inner));
    }
    match kind {
        Kind::Secret => match body["value"].as_str() {
            Some(value) if value.len() <= 25_600 => {}
            _ => return bad("value"),
        },
        Kind::Key => {
            if !matches!(body["key"]["kty"].as_str(), Some("RSA" | "EC")) || !body["key"]["d"].is_string() {
                return bad("key");
            }
            // The private half is never shown again.
            for private in ["d", "p", "q", "dp", "dq", "qi"] {
                body["key"].as_object_mut().expect("it is one").remove(private);
            }
            body.as_object_mut().expect("it is one").remove("Hsm");
            body["key"]["key_ops"] = json!(["sign", "verify"]);
        }
        Kind::Certificate => {}
    }
    state.kept.put(kind, name, body);
    get(state, asked, kind, name, None)
}

/// What is in a PKCS #12 file a double can't tell: it keeps the file for the certificate.
fn import(state: &mut State, asked: &Asked, name: &str) -> Response {
    let body = asked.json();
    let Some(file) = body["value"].as_str().and_then(|value| STANDARD.decode(value).ok()) else { return bad("value") };
    let form = body["policy"]["secret_props"]["contentType"].as_str().unwrap_or("application/x-pkcs12");
    let text = String::from_utf8(file.clone()).unwrap_or_default();
    let (cer, value) = match (form, text.split_once("-----BEGIN CERTIFICATE-----")) {
        ("application/x-pem-file", Some((_, rest))) if text.contains("PRIVATE KEY-----") => {
            (rest.split("-----END").next().unwrap_or_default().split_whitespace().collect(), text.clone())
        }
        ("application/x-pkcs12", None) => (STANDARD.encode(&file), STANDARD.encode(&file)),
        _ => return bad("value"),
    };
    let secret = json!({"value": value, "contentType": form, "managed": true});
    let kept = json!({
        "cer": cer,
        "tags": body["tags"],
        "policy": {"id": format!("{}/certificates/{name}/policy", asked.base), "secret_props": {"contentType": form}},
    });
    let answer = set(state, asked, Kind::Certificate, name, kept);
    if answer.status() == 200 {
        state.kept.put(Kind::Secret, name, secret);
    }
    answer
}

fn update(state: &mut State, asked: &Asked, kind: Kind, name: &str, version: &str) -> Response {
    let Some(object) = state.kept.get(kind, name) else { return missing(kind) };
    let Some(at) = object.versions.iter().position(|one| one.id == version) else { return missing(kind) };
    let body = asked.json();
    let there = &mut object.versions[at].body;
    for (field, value) in body["attributes"].as_object().into_iter().flatten() {
        there["attributes"][field] = value.clone();
    }
    for field in ["tags", "contentType"] {
        if !body[field].is_null() {
            there[field] = body[field].clone();
        }
    }
    let mut shown = shown(asked, kind, object, &object.versions[at]);
    shown.as_object_mut().expect("it is one").remove("value");
    answer(200, &shown)
}

/// How something that was deleted is shown.
fn gone(asked: &Asked, kind: Kind, object: &Object) -> Value {
    let version = object.versions.last().expect("it has one");
    let mut body = shown(asked, kind, object, version);
    body.as_object_mut().expect("it is one").remove("value");
    body["recoveryId"] = json!(format!("{}/deleted{}/{}", asked.base, kind.collection(), object.name));
    body["deletedDate"] = json!(1_700_000_000);
    body["scheduledPurgeDate"] = json!(1_707_776_000);
    body
}

fn delete(state: &mut State, asked: &Asked, kind: Kind, name: &str) -> Response {
    state.kept.get(kind, name);
    match state.kept.delete(kind, name) {
        Some(object) => answer(200, &gone(asked, kind, &object)),
        None => missing(kind),
    }
}

fn deleted(state: &mut State, asked: &Asked, kind: Kind, rest: &[&str]) -> Response {
    match (asked.method.as_str(), rest) {
        ("GET", [name]) => match state.kept.get_deleted(kind, name) {
            Some(object) => answer(200, &gone(asked, kind, object)),
            None => missing(kind),
        },
        ("POST", [name, "recover"]) => {
            let recovery = state.recovery;
            match state.kept.recover(kind, name, recovery) {
                Some(object) => {
                    let version = object.versions.last().expect("it has one");
                    answer(200, &shown(asked, kind, &object, version))
                }
                None => missing(kind),
            }
        }
        ("DELETE", [name]) => match state.kept.purge(kind, name) {
            Some(_) => answer(204, &Value::Null),
            None => missing(kind),
        },
        _ => bad("Method canary does not allow the operation"),
    }
}

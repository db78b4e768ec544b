//! The API of secrets and their versions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::kept::{Kept, Secret, Version, VersionState, parent};
use super::{Asked, NUMBER, PROJECT, Said, error, filter};

/// The largest value that is kept.
const LARGEST: usize = 64 << 10;

/// What a call is about.
struct Place {
    location: Option<String>,
    /// The segments behind `secrets`.
    rest: Vec<String>,
    verb: Option<String>,
}

impl Kept {
    /// Answers a call of somebody who is known.
    pub fn answer(&mut self, asked: &Asked) -> Said {
        let Some((project, place)) = place(&asked.path) else {
            return error(404, "NOT_FOUND", "The requested URL was not found on this server.");
        };
        if self.is_off {
            let (status, mut body) = error(403, "PERMISSION_DENIED", "Secret Manager API has not been used.");
            body["error"]["details"] =
                json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"}]);
            return (status, body);
        }
        let segments: Vec<&str> = place.rest.iter().map(String::as_str).collect();
        let location = place.location.as_deref();
        let (permission, act): (&str, Act<'_>) = match (asked.method.as_str(), &segments[..], place.verb.as_deref()) {
            ("GET", [], None) => ("secrets.list", Box::new(|kept| kept.list(asked, location))),
            ("POST", [], None) => ("secrets.create", Box::new(|kept| kept.create(asked, location))),
            ("GET", [id], None) => ("secrets.get", Box::new(|kept| kept.get(location, id))),
            ("PATCH", [id], None) => ("secrets.update", Box::new(|kept| kept.update(asked, location, id))),
            ("DELETE", [id], None) => ("secrets.delete", Box::new(|kept| kept.delete(asked, location, id))),
            ("POST", [id], Some("addVersion")) => ("versions.add", Box::new(|kept| kept.add(asked, location, id))),
            ("GET", [id, "versions"], None) => {
                ("versions.list", Box::new(|kept| kept.list_versions(asked, location, id)))
            }
            ("GET", [id, "versions", version], verb) => {
                let permission = if verb == Some("access") { "versions.access" } else { "versions.get" };
                (permission, Box::new(move |kept| kept.version(location, id, version, verb)))
            }
            ("POST", [id, "versions", version], Some(verb)) => {
                ("versions.enable", Box::new(move |kept| kept.turn(asked, location, id, version, verb)))
            }
            _ => return error(404, "NOT_FOUND", "The requested URL was not found on this server."),
        };
        let full = format!("secretmanager.{permission}");
        let of_one = format!("{full} {}", segments.first().unwrap_or(&""));
        let is_denied = self.denied.contains(&full) || self.denied.contains(&of_one);
        if ![PROJECT, NUMBER].contains(&project.as_str()) || is_denied {
            let message = format!("Permission '{full}' denied for resource (or it may not exist).");
            return error(403, "PERMISSION_DENIED", &message);
        }
        act(self)
    }

    fn list(&mut self, asked: &Asked, location: Option<&str>) -> Said {
        let ids = self.ids(location);
        let all: Vec<Value> = ids.iter().filter_map(|id| self.shown(location, id)).collect();
        self.page(asked, all, "secrets")
    }

    fn list_versions(&mut self, asked: &Asked, location: Option<&str>, id: &str) -> Said {
        let Some(secret) = self.secret(location, id) else { return no_secret(location, id) };
        let count = secret.versions.len() as u64;
        let all = (1..=count).rev().filter_map(|number| self.shown_version(location, id, number)).collect();
        self.page(asked, all, "versions")
    }

    /// A page of what answers the filter, which is whole pages of what there is: some may be empty.
    fn page(&self, asked: &Asked, all: Vec<Value>, name: &str) -> Said {
        let size = asked.parameter("pageSize").and_then(|size| size.parse().ok()).unwrap_or(25_000).min(self.page);
        let from = match asked.parameter("pageToken") {
            None | Some("") => 0,
            Some(token) => match token.strip_prefix("from-").and_then(|from| from.parse().ok()) {
                Some(from) => from,
                None => return error(400, "INVALID_ARGUMENT", "The page token is invalid."),
            },
        };
        let filter = asked.parameter("filter").unwrap_or_default();
        let mut found = Vec::new();
        for shown in all.iter().skip(from).take(size.max(1)) {
            match filter::holds(filter, shown) {
                Some(true) => found.push(shown.clone()),
                Some(false) => {}
                None => return error(400, "INVALID_ARGUMENT", "The filter is invalid."),
            }
        }
        let next = from + size.max(1);
        let mut page = Map::new();
        if !found.is_empty() {
            page.insert(name.to_owned(), Value::Array(found));
        }
        if next < all.len() {
            page.insert("nextPageToken".to_owned(), json!(format!("from-{next}")));
        }
        (200, Value::Object(page))
    }

    fn create(&mut self, asked: &Asked, location: Option<&str>) -> Said {
        let Some(id) = asked.parameter("secretId").filter(|id| is_id(id)).map(str::to_owned) else {
            return error(400, "INVALID_ARGUMENT", "The provided Secret ID does not match the expected format.");
        };
        if self.secret(location, &id).is_some() {
            let message = format!("Secret [{}/secrets/{id}] already exists.", parent(location));
            return error(409, "ALREADY_EXISTS", &message);
        }
        let body = asked.json();
        if body["replication"].is_object() != location.is_none() {
            return error(400, "INVALID_ARGUMENT", "Replication is for secrets that are kept everywhere.");
        }
        let mut secret = Secret {
            etag: self.etag(),
            replication: body["replication"].clone(),
            encryption: body["customerManagedEncryption"].clone(),
            ..Secret::default()
        };
        if let Err(said) = change(&mut secret, &body, &["labels", "annotations", "topics"]) {
            return said;
        }
        self.insert(location, &id, secret);
        (200, self.shown(location, &id).unwrap_or_default())
    }

    fn get(&mut self, location: Option<&str>, id: &str) -> Said {
        let shown = self.shown(location, id);
        let etag = self.etag();
        if self.is_restless {
            self.secret(location, id).into_iter().for_each(|secret| secret.etag.clone_from(&etag));
        }
        shown.map_or_else(|| no_secret(location, id), |shown| (200, shown))
    }

    fn update(&mut self, asked: &Asked, location: Option<&str>, id: &str) -> Said {
        let etag = self.etag();
        let Some(secret) = self.secret(location, id) else { return no_secret(location, id) };
        let body = asked.json();
        if body["etag"].as_str().is_some_and(|etag| !etag.is_empty() && etag != secret.etag) {
            return over();
        }
        let mask: Vec<&str> = asked.parameter("updateMask").unwrap_or_default().split(',').collect();
        if let Err(said) = change(secret, &body, &mask) {
            return said;
        }
        secret.etag = etag;
        (200, self.shown(location, id).unwrap_or_default())
    }

    fn delete(&mut self, asked: &Asked, location: Option<&str>, id: &str) -> Said {
        let Some(secret) = self.secret(location, id) else { return no_secret(location, id) };
        if asked.parameter("etag").is_some_and(|etag| !etag.is_empty() && etag != secret.etag) {
            return over();
        }
        self.remove(location, id);
        (200, json!({}))
    }

    fn add(&mut self, asked: &Asked, location: Option<&str>, id: &str) -> Said {
        let etag = self.etag();
        let Some(secret) = self.secret(location, id) else { return no_secret(location, id) };
        let payload = &asked.json()["payload"];
        let data = payload["data"].as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
        if data.is_empty() || data.len() > LARGEST {
            return error(400, "INVALID_ARGUMENT", "The payload is empty, or larger than 65536 bytes.");
        }
        let sum = payload["dataCrc32c"]
            .as_str()
            .map(str::to_owned)
            .or_else(|| Some(payload["dataCrc32c"].as_i64()?.to_string()));
        if sum.is_some_and(|sum| sum != crc32c(&data).to_string()) {
            return error(400, "INVALID_ARGUMENT", "The checksum does not match the payload.");
        }
        secret.versions.push(Version { data, state: VersionState::Enabled, etag });
        let number = secret.versions.len() as u64;
        (200, self.shown_version(location, id, number).unwrap_or_default())
    }

    fn version(&mut self, location: Option<&str>, id: &str, version: &str, verb: Option<&str>) -> Said {
        let damages = self.damages;
        let Some(number) = self.secret(location, id).and_then(|secret| secret.number(version)) else {
            return no_version(location, id, version);
        };
        let Some(found) = self.secret(location, id).and_then(|secret| secret.version(number)) else {
            return no_version(location, id, version);
        };
        match (verb, found.state) {
            (Some("access"), VersionState::Enabled) => {
                let sum = crc32c(&found.data).to_string();
                let mut data = found.data.clone();
                if damages {
                    data[0] ^= 1;
                }
                let name = format!("{}/secrets/{id}/versions/{number}", parent(location));
                (200, json!({"name": name, "payload": {"data": STANDARD.encode(data), "dataCrc32c": sum}}))
            }
            (Some("access"), state) => {
                let name = format!("{}/secrets/{id}/versions/{number}", parent(location));
                let message = format!("Secret Version [{name}] is in {} state.", state.as_str());
                error(400, "FAILED_PRECONDITION", &message)
            }
            _ => (200, self.shown_version(location, id, number).unwrap_or_default()),
        }
    }

    fn turn(&mut self, asked: &Asked, location: Option<&str>, id: &str, version: &str, verb: &str) -> Said {
        let etag = self.etag();
        let Some(number) = self.secret(location, id).and_then(|secret| secret.number(version)) else {
            return no_version(location, id, version);
        };
        let Some(found) = self.secret(location, id).and_then(|secret| secret.version(number)) else {
            return no_version(location, id, version);
        };
        if asked.json()["etag"].as_str().is_some_and(|etag| !etag.is_empty() && etag != found.etag) {
            return over();
        }
        found.state = match (verb, found.state) {
            (_, VersionState::Destroyed) => return error(400, "FAILED_PRECONDITION", "It is in DESTROYED state."),
            ("enable", _) => VersionState::Enabled,
            ("disable", _) => VersionState::Disabled,
            ("destroy", _) => VersionState::Destroyed,
            _ => return error(404, "NOT_FOUND", "The requested URL was not found on this server."),
        };
        found.etag = etag;
        (200, self.shown_version(location, id, number).unwrap_or_default())
    }
}

type Act<'a> = Box<dyn FnOnce(&mut Kept) -> Said + 'a>;

/// `/v1/projects/P[/locations/L]/secrets[/ID[/versions[/V]]][:verb]`
fn place(path: &str) -> Option<(String, Place)> {
    let mut segments: Vec<String> = path.strip_prefix("/v1/projects/")?.split('/').map(str::to_owned).collect();
    let project = segments.remove(0);
    let location = if segments.first().is_some_and(|first| first == "locations") && segments.len() > 1 {
        segments.drain(..2).nth(1)
    } else {
        None
    };
    if segments.is_empty() || !segments.remove(0).starts_with("secrets") {
        return None;
    }
    let last = segments.pop();
    let (last, verb) = match last.as_deref().and_then(|last| last.split_once(':')) {
        Some((last, verb)) => (Some(last.to_owned()), Some(verb.to_owned())),
        None => (last, None),
    };
    segments.extend(last);
    Some((project, Place { location, rest: segments, verb }))
}

/// Takes the fields of `mask` over.
fn change(secret: &mut Secret, body: &Value, mask: &[&str]) -> Result<(), Said> {
    let texts = |field: &str| {
        let all = body[field].as_object().cloned().unwrap_or_default();
        all.into_iter().map(|(name, value)| (name, value.as_str().unwrap_or_default().to_owned())).collect()
    };
    for field in mask {
        match *field {
            "labels" => secret.labels = texts("labels"),
            "annotations" => secret.annotations = texts("annotations"),
            "topics" => secret.topics = body["topics"].clone(),
            _ => return Err(error(400, "INVALID_ARGUMENT", "The update mask is invalid.")),
        }
    }
    let is_label = |text: &str| {
        let fits = |c: char| c.is_lowercase() || c.is_numeric() || matches!(c, '-' | '_');
        text.chars().count() <= 63 && text.chars().all(fits)
    };
    if secret.labels.iter().all(|(name, value)| !name.is_empty() && is_label(name) && is_label(value)) {
        Ok(())
    } else {
        Err(error(400, "INVALID_ARGUMENT", "A label is invalid."))
    }
}

fn is_id(id: &str) -> bool {
    (1..=255).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn no_secret(location: Option<&str>, id: &str) -> Said {
    error(404, "NOT_FOUND", &format!("Secret [{}/secrets/{id}] not found.", parent(location)))
}

/// The same of a secret that is not there.
fn no_version(location: Option<&str>, id: &str, version: &str) -> Said {
    let name = format!("{}/secrets/{id}", parent(location));
    match version {
        "latest" => error(404, "NOT_FOUND", &format!("Secret [{name}] not found or has no versions.")),
        _ => error(404, "NOT_FOUND", &format!("Secret Version [{name}/versions/{version}] not found.")),
    }
}

/// An etag that is over.
fn over() -> Said {
    error(400, "FAILED_PRECONDITION", "The etag provided in the request does not match the current one.")
}

/// The checksum of a payload, bit by bit.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    let mut rest = u32::MAX;
    for byte in bytes {
        rest ^= u32::from(*byte);
        for _ in 0..8 {
            rest = if rest & 1 == 1 { rest >> 1 ^ 0x82f6_3b78 } else { rest >> 1 };
        }
    }
    !rest
}

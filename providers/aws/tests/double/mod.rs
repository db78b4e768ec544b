//! A double of AWS that is as strict as AWS where moto is not, and answers what it is told to.

// Each test file is a program of its own and uses its part of this.
#![allow(dead_code, reason = "shared by several test programs")]

use std::sync::{Arc, Mutex};

use keyferry_provider_aws::REGISTRATION;
use keyferry_provider_core::{BuildContext, Environment, Error, Fetched, Key, Provider, Room};
use keyferry_provider_testkit::MapCredentials;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Part of every value and of every text that the double answers, and of the credentials.
pub const CANARY: &str = "canary-a40d19";

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// The operation, such as `GetSecretValue`.
    pub operation: String,
    /// Whose signature it bears.
    pub access_key: String,
    /// The header that has it, as it came.
    pub authorization: String,
    /// The body: JSON, or the form of the query protocol as an object of strings.
    pub body: Value,
}

impl Request {
    /// The ids or names that a batch asks for.
    pub fn list(&self, field: &str) -> Vec<String> {
        self.body[field].as_array().into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect()
    }

    /// A field of text.
    pub fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_default()
    }
}

/// What is answered.
pub enum Reply {
    /// A status and a body.
    Body(u16, String),
    /// The same with a header.
    With(u16, &'static str, String),
    /// Nothing, ever.
    Hang,
    /// The connection is cut.
    Cut,
}

impl Reply {
    pub fn ok(body: Value) -> Self {
        Self::Body(200, body.to_string())
    }

    /// An error of the JSON protocol; its text holds what must not be passed on.
    pub fn error(code: &str, message: &str) -> Self {
        Self::Body(400, json!({"__type": code, "message": format!("{message} {CANARY}")}).to_string())
    }
}

type Answer = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server on a port of its own.
pub struct Double {
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Double {
    pub async fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, log): (Arc<Answer>, _) = (Arc::new(answer), requests.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer.clone(), log.clone()));
            }
        });
        Self { url, requests }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The operations since the last time.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap()).into_iter().map(|request| request.operation).collect()
    }

    /// A store with static keys in a process with these settings.
    pub async fn store_in(&self, service: &str, environment: Environment) -> Result<Arc<dyn Provider>, Error> {
        let ctx = BuildContext { environment, ..self.context(self.credentials("AKIAONE")) };
        (REGISTRATION.build)(&spec(service), ctx).await
    }

    /// A store with static keys that asks there for room.
    pub async fn store_with_room(&self, service: &str, room: Arc<dyn Room>) -> Arc<dyn Provider> {
        let ctx = BuildContext { room, ..self.context(self.credentials("AKIAONE")) };
        (REGISTRATION.build)(&spec(service), ctx).await.unwrap()
    }

    fn credentials(&self, id: &str) -> MapCredentials {
        MapCredentials::new().with("aws/id", id).with("aws/secret", format!("{CANARY}-secret"))
    }

    pub fn context(&self, credentials: MapCredentials) -> BuildContext {
        let url = self.url.clone();
        let environment = move |name: &str| (name == "AWS_ENDPOINT_URL").then(|| url.clone());
        BuildContext {
            environment: Arc::new(environment),
            ..BuildContext::new(Arc::new(credentials), Arc::new(())).trusted()
        }
    }

    /// A store with static keys.
    pub async fn store(&self, service: &str) -> Arc<dyn Provider> {
        self.store_with(service, "AKIAONE", json!({})).await.unwrap()
    }

    pub async fn store_with(&self, service: &str, id: &str, more: Value) -> Result<Arc<dyn Provider>, Error> {
        let mut spec = spec(service);
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        (REGISTRATION.build)(&spec, self.context(self.credentials(id))).await.inspect_err(clean)
    }
}

fn spec(service: &str) -> Value {
    json!({
        "service": service, "region": "eu-west-1",
        "auth": {"secretRef": {
            "accessKeyIDSecretRef": {"name": "aws", "key": "id"},
            "secretAccessKeySecretRef": {"name": "aws", "key": "secret"},
        }},
    })
}

async fn serve(stream: TcpStream, answer: Arc<Answer>, log: Arc<Mutex<Vec<Request>>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        log.lock().unwrap().push(request.clone());
        let (status, header, body) = match answer(&request) {
            Reply::Body(status, body) => (status, "", body),
            Reply::With(status, header, body) => (status, header, body),
            Reply::Hang => return std::future::pending().await,
            Reply::Cut => return,
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n{header}\r\n");
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let (mut operation, mut access_key, mut length) = (String::new(), String::new(), 0);
    let mut authorization = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let (name, value) = match line.trim_end().split_once(": ") {
            _ if line == "\r\n" => break,
            Some((name, value)) => (name.to_lowercase(), value.to_owned()),
            None => continue,
        };
        match name.as_str() {
            "x-amz-target" => operation = value.rsplit('.').next().unwrap_or_default().to_owned(),
            "content-length" => length = value.parse().unwrap(),
            "authorization" => {
                let credential = value.split("Credential=").nth(1).unwrap_or_default();
                access_key = credential.split('/').next().unwrap_or_default().to_owned();
                authorization = value;
            }
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let body = serde_json::from_slice(&body).unwrap_or_else(|_| form(&String::from_utf8_lossy(&body)));
    if operation.is_empty() {
        operation = body["Action"].as_str().unwrap_or_default().to_owned();
    }
    Some(Request { operation, access_key, authorization, body })
}

/// The form of the query protocol. No value of these tests needs more decoding.
fn form(text: &str) -> Value {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), json!(value.replace("%3A", ":").replace("%2F", "/"))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

pub fn key(name: &str) -> Key {
    Key { name: name.into(), version: None, metadata: false }
}

pub fn keys(names: &[&str]) -> Vec<Key> {
    names.iter().map(|name| key(name)).collect()
}

/// No message holds a value, a credential, or a text of the server.
pub fn clean(error: &Error) {
    assert!(!error.message().contains(CANARY), "{error}");
    assert!(!error.message().chars().any(char::is_control), "{error:?}");
}

/// Fetches, and looks at every message.
pub async fn fetch(store: &dyn Provider, keys: &[Key]) -> Result<Vec<Result<String, Error>>, Error> {
    let results = store.fetch(keys).await.inspect_err(clean)?;
    assert_eq!(results.len(), keys.len());
    let text = |fetched: Fetched| String::from_utf8(fetched.value.expose().to_vec()).unwrap();
    Ok(results.into_iter().map(|result| result.map(text).inspect_err(clean)).collect())
}

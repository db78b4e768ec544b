//! A request as doubles of JSON APIs look at it, and answers as they give them.

use std::collections::BTreeMap;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::Value;

/// A request, whole.
pub(crate) struct Asked {
    pub method: String,
    /// The segments of the path, each decoded.
    pub path: Vec<String>,
    /// The query, decoded; of a repeated name the last counts.
    pub query: BTreeMap<String, String>,
    pub headers: HeaderMap,
    /// The body, where it is JSON.
    pub body: Value,
}

impl Asked {
    pub async fn of(request: Request) -> Self {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, 16 << 20).await.unwrap_or_default();
        let path = parts.uri.path().trim_matches('/').split('/').map(|segment| decode(segment, false)).collect();
        let query = parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let query = query.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self {
            method: parts.method.to_string(),
            path,
            query: query.map(|(name, value)| (decode(name, true), decode(value, true))).collect(),
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        }
    }

    /// The method and the path, to be matched.
    pub fn what(&self) -> (&str, Vec<&str>) {
        (&self.method, self.path.iter().map(String::as_str).collect())
    }

    /// A value of the query; nothing where there is none.
    pub fn query(&self, name: &str) -> &str {
        self.query.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A header; nothing where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// A text of the body; nothing where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.body[name].as_str().unwrap_or_default()
    }
}

fn decode(text: &str, is_query: bool) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let code = (byte == b'%').then(|| tail.get(..2)).flatten();
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        match (byte, code) {
            (_, Some(code)) => {
                out.push(code);
                rest = &tail[2..];
            }
            (b'+', None) if is_query => out.push(b' '),
            (byte, None) => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// An answer of JSON.
pub(crate) fn json(status: u16, body: &Value) -> Response {
    with(status, "application/json", body.to_string(), &[])
}

/// An answer of any form, with more headers.
pub(crate) fn with(status: u16, form: &str, body: String, headers: &[(&str, String)]) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    let answer = Response::builder().status(status).header("content-type", form);
    let answer = headers.iter().fold(answer, |answer, (name, value)| answer.header(*name, value));
    answer.body(Body::from(body)).expect("an answer")
}

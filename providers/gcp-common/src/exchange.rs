//! One token for another: what Google gives for assertions, for others' tokens, and for the right to act as somebody.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use keyferry_provider_core::{Error, ErrorKind, SecretBytes, json};
use keyferry_provider_http::form;
use keyferry_provider_session::{Grant, Life};
use reqwest::Method;
use reqwest::header::HeaderValue;

use crate::host::{Call, Host, Response, Word};
use crate::text;

/// What a token is good for: all of Google Cloud, as far as whom it is for may.
pub const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";

/// How long we act as somebody, where nothing says otherwise.
const LIFETIME: u64 = 3600;

/// What calls are made with.
pub struct Access {
    /// The access token.
    pub token: SecretBytes,
    /// The same as a header.
    pub header: HeaderValue,
    /// When it ends.
    pub until: SystemTime,
}

impl Access {
    /// A token that is good for so long from now.
    fn grant(token: SecretBytes, length: Duration) -> Option<Grant<Self>> {
        let until = SystemTime::now().checked_add(length)?;
        Some(Grant { value: Self { header: text::bearer(&token)?, token, until }, life: Life::of(length) })
    }
}

/// What a login by OAuth at `host` gave. `hint` says what to look at where it is refused.
///
/// # Errors
/// `Unauthenticated` where it is; else those of the host.
pub fn granted(host: &Host, answer: &Response, hint: &str) -> Result<Grant<Access>, Error> {
    match answer.status {
        200 => of_grant(&answer.body).ok_or_else(|| host.malformed(answer)),
        _ => Err(refused(host, answer, hint)),
    }
}

/// A token as OAuth gives it.
pub fn of_grant(body: &SecretBytes) -> Option<Grant<Access>> {
    text::granted(body).and_then(|(token, length)| Access::grant(token, length))
}

fn refused(host: &Host, answer: &Response, hint: &str) -> Error {
    match (answer.status, answer.word()) {
        (403, Some(Word::ServiceDisabled)) => {
            host.refusal(answer, &"a login", "").context(format!("the login at {}", host.name()))
        }
        (400 | 401 | 403 | 404, Some(_)) => {
            Error::new(ErrorKind::Unauthenticated, format!("{} refuses the login: {}", host.name(), hint))
        }
        _ => host.problem(answer),
    }
}

/// Buys a token with a form at `host`, whose URL is the whole place.
///
/// # Errors
/// As [`granted`].
pub async fn buy(host: &Host, name: &'static str, form: SecretBytes, hint: &str) -> Result<Grant<Access>, Error> {
    let call = Call { method: Method::POST, body: Some((form, Call::FORM)), ..Call::get(name, "") };
    let answer = host.send(&call, None).await?;
    granted(host, &answer, hint)
}

/// A token of somebody else's, which Google's token service is to take.
pub struct Shown<'a> {
    /// The token.
    pub token: &'a SecretBytes,
    /// What kind it is of.
    pub kind: &'a str,
    /// Who is to know it.
    pub audience: &'a str,
}

/// Exchanges it.
///
/// # Errors
/// As [`granted`].
pub async fn exchange(host: &Host, shown: &Shown<'_>, hint: &str) -> Result<Grant<Access>, Error> {
    let form = form(&[
        ("grant_type", b"urn:ietf:params:oauth:grant-type:token-exchange"),
        ("audience", shown.audience.as_bytes()),
        ("scope", SCOPE.as_bytes()),
        ("requested_token_type", ACCESS.as_bytes()),
        ("subject_token_type", shown.kind.as_bytes()),
        ("subject_token", shown.token.expose()),
    ]);
    let body = Some((form, Call::FORM));
    let call = Call { method: Method::POST, body, ..Call::get("GenerateIDBindToken", "v1/token") };
    let answer = host.send(&call, None).await?;
    granted(host, &answer, hint)
}

/// A token of the service account `email`, for whoever holds `access`.
///
/// # Errors
/// `Unauthenticated` where they may not act as it.
pub async fn act_as(host: &Host, access: &Access, email: &str, lifetime: Option<u64>) -> Result<Grant<Access>, Error> {
    let body = format!("{{\"scope\":[\"{SCOPE}\"],\"lifetime\":\"{}s\"}}", lifetime.unwrap_or(LIFETIME));
    let path = format!("v1/projects/-/serviceAccounts/{email}:generateAccessToken");
    let call = Call::with_json("GenerateAccessToken", Method::POST, path, body.as_str().into());
    let answer = host.send(&call, Some(&access.header)).await?;
    match answer.status {
        200 => acting(&answer).ok_or_else(|| host.malformed(&answer)),
        _ => {
            let hint = format!(
                "there is no service account {email}, or it may not be acted as: grant roles/iam.workloadIdentityUser on it"
            );
            Err(refused(host, &answer, &hint))
        }
    }
}

fn acting(answer: &Response) -> Option<Grant<Access>> {
    let fields = json::object(answer.body.expose())?;
    let end: Timestamp = text::field(&answer.body, "expireTime")?.parse().ok()?;
    let length = SystemTime::from(end).duration_since(SystemTime::now()).unwrap_or_default();
    Access::grant(json::to_bytes(fields.get("accessToken")?), length)
}

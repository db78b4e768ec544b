//! HTTP to a vendor's server, and what its answers mean where they are no success.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyferry_provider_core::{Blame, BuildContext, Calls, Error, ErrorKind, Room, SecretBytes, json};
use keyferry_provider_http::path::{self, clean};
use keyferry_provider_http::{Ca, Fields, Way, retry_after, shared};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::{Identity, Method, Url};

/// What is to be known of a vendor to speak with it.
pub struct Vendor {
    /// Its name, for people.
    pub name: &'static str,
    /// The provider's name in metrics: External Secrets Operator's, where it has one.
    pub metric: &'static str,
    /// What messages call the fields that lead to the server.
    pub fields: Fields,
    /// What messages call the field that says what logs in.
    pub login: &'static str,
    /// What an answer that is no success says in the vendor's own words; nothing where only the status tells.
    pub says: fn(&Response) -> Option<Said>,
}

/// What a vendor says is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// There is no such secret.
    NoSecret,
    /// What this field of the spec names is not there, or not for us.
    Nowhere(&'static str),
    /// Something else, which is said by its kind and in our words.
    Other(ErrorKind, &'static str),
}

/// A request.
pub struct Call {
    /// What metrics call it: the name that External Secrets Operator uses, where it has one.
    pub name: &'static str,
    /// The method.
    pub method: Method,
    /// The path below the server's URL, encoded: see [`segment`].
    pub path: String,
    /// The query, not encoded.
    pub query: Vec<(&'static str, String)>,
    /// The body, which may hold values: JSON, unless a header says otherwise.
    pub body: Option<SecretBytes>,
    /// What form of answer is asked for.
    pub accept: &'static str,
}

impl Call {
    /// A question.
    pub fn get(name: &'static str, path: impl Into<String>) -> Self {
        let (path, query) = (path.into(), Vec::new());
        Self { name, method: Method::GET, path, query, body: None, accept: "application/json" }
    }

    /// A request with a body.
    pub fn send(name: &'static str, method: Method, path: impl Into<String>, body: SecretBytes) -> Self {
        Self { method, body: Some(body), ..Self::get(name, path) }
    }

    /// The same with a query.
    pub fn with(mut self, query: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.query.extend(query);
        self
    }
}

/// What a user wrote, as one segment of a path, its slashes included. What would climb out of it is refused.
///
/// # Errors
/// `Invalid`, to be blamed on the request.
pub fn segment(text: &str) -> Result<String, Error> {
    if clean(text)?.is_empty() {
        return Err(Error::invalid("the key is empty").with_blame(Blame::Request));
    }
    Ok(path::segment(text))
}

/// What the server answered.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: SecretBytes,
    headers: HeaderMap,
    retry_after: Option<Duration>,
}

impl Response {
    /// Whether it is a success.
    pub fn is_good(&self) -> bool {
        matches!(self.status, 200..300)
    }

    /// Whether the service itself says that it is not there: the 404 of a gateway on the way has another form.
    pub fn says_gone(&self) -> bool {
        self.status == 404 && json::object(self.body.expose()).is_some()
    }

    /// A header of it, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A text of its body, by its names from the outermost, where it is JSON. It goes nowhere but into comparisons.
    pub fn word(&self, path: &[&str]) -> Option<String> {
        crate::object::text_at(&self.body, path)
    }
}

/// The way to one server of a vendor.
pub struct Client {
    /// Whose server it is.
    pub vendor: &'static Vendor,
    http: reqwest::Client,
    way: Way,
    calls: Arc<dyn Calls>,
    room: Arc<dyn Room>,
}

impl Client {
    /// Prepares all that a call needs. Connects nowhere yet.
    ///
    /// # Errors
    /// `Invalid` where the server or its certificates can't be used, and those of the port.
    pub async fn new(vendor: &'static Vendor, server: Url, ca: &Ca, ctx: &BuildContext) -> Result<Self, Error> {
        Self::showing(vendor, server, ca, None, ctx).await
    }

    /// The same that shows this certificate to the server, where there is one.
    ///
    /// # Errors
    /// As [`new`](Self::new), and `Invalid` where the certificate and its key do not belong together.
    pub async fn showing(
        vendor: &'static Vendor,
        server: Url,
        ca: &Ca,
        identity: Option<Identity>,
        ctx: &BuildContext,
    ) -> Result<Self, Error> {
        let way = Way::new(server, vendor.fields);
        let builder = way.client_builder(&ctx.addresses)?;
        let ca = ca.certificates(&*ctx.credentials).await?;
        let http = way.client(builder, ca, identity)?;
        Ok(Self { vendor, http, way, calls: ctx.calls.clone(), room: ctx.room.clone() })
    }

    /// Makes one call. Every status is an answer; an error is about the way to the server.
    ///
    /// # Errors
    /// Those of [`Way::error`].
    pub async fn send(&self, call: &Call, headers: &HeaderMap) -> Result<Response, Error> {
        let start = Instant::now();
        let answer = self.exchange(call, headers).await;
        // "Not there" is an answer like any other.
        let ok = answer.as_ref().is_ok_and(|answer| answer.is_good() || answer.status == 404);
        self.calls.record(self.vendor.metric, call.name, ok, start.elapsed());
        answer
    }

    /// Whether the server is one of these hosts, which are the vendor's own.
    pub fn is_at(&self, hosts: &[&str]) -> bool {
        let server = &self.way.server;
        let host = server.host_str().map(|host| host.trim_end_matches('.'));
        server.scheme() == "https" && host.is_some_and(|host| hosts.contains(&host))
    }

    /// Where a call goes.
    pub fn url(&self, call: &Call) -> Url {
        let mut url = self.way.server.clone();
        url.set_path(&format!("{}/{}", url.path().trim_end_matches('/'), call.path));
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        url
    }

    async fn exchange(&self, call: &Call, headers: &HeaderMap) -> Result<Response, Error> {
        let mut request =
            self.http.request(call.method.clone(), self.url(call)).headers(headers.clone()).header(ACCEPT, call.accept);
        if let Some(body) = &call.body {
            if !headers.contains_key(CONTENT_TYPE) {
                request = request.header(CONTENT_TYPE, "application/json");
            }
            request = request.body(shared(body));
        }
        let response = request.send().await.map_err(|error| self.way.error(&error))?;
        Ok(Response {
            status: response.status().as_u16(),
            retry_after: retry_after(&response),
            headers: response.headers().clone(),
            body: self.way.read_body(response, &*self.room).await?,
        })
    }

    /// The error for an answer that is no success, to a request about `what`. Only the vendor's own word makes it "not
    /// found": deletionPolicy acts on that, and a gateway's 404 says nothing of the secret.
    pub fn refusal(&self, answer: &Response, what: &dyn fmt::Display) -> Error {
        let (host, login) = (self.way.host(), self.vendor.login);
        let new = Error::new;
        let error = match (answer.status, (self.vendor.says)(answer)) {
            (401, None) => new(ErrorKind::Unauthenticated, format!("{host} does not accept our login: check {login}")),
            (429, _) => new(ErrorKind::Throttled, format!("{host} asks for fewer requests")),
            (408 | 504, _) => new(ErrorKind::Timeout, format!("no answer from {host} in time")),
            (status @ 500..600, _) => new(ErrorKind::Unavailable, format!("{host} has a problem (status {status})")),
            (_, Some(said)) => self.of_word(said, what),
            (403, None) => new(
                ErrorKind::Denied,
                format!("{host} does not let us use {what}: allow it to whom {login} stands for"),
            ),
            (400 | 422, None) if json::object(answer.body.expose()).is_some() => {
                new(ErrorKind::Invalid, format!("{host} takes {what} for nothing that could be there"))
                    .with_blame(Blame::Request)
            }
            // Somebody wrote in between: whoever tries again sees what is there now.
            (409, None) => new(ErrorKind::Unavailable, format!("{what} was changed by somebody else meanwhile")),
            (status, None) => self.malformed_with(status),
        };
        error.with_retry_after(answer.retry_after)
    }

    /// The error for a login that is refused. Vendors differ in the status for what is wrong with it.
    pub fn login_refusal(&self, answer: &Response) -> Error {
        let (host, login) = (self.way.host(), self.vendor.login);
        match answer.status {
            400 | 401 | 403 | 404 | 422 if json::object(answer.body.expose()).is_some() => {
                Error::new(ErrorKind::Unauthenticated, format!("{host} does not accept our login: check {login}"))
            }
            _ => self.refusal(answer, &"a login"),
        }
    }

    fn of_word(&self, said: Said, what: &dyn fmt::Display) -> Error {
        match said {
            Said::NoSecret => Error::new(ErrorKind::NotFound, format!("there is no {what}")),
            Said::Nowhere(field) => Error::invalid(format!(
                "{} knows nothing by the name that {field} gives, or shows it not to us: check it, and what {} may see",
                self.way.host(),
                self.vendor.login
            )),
            Said::Other(kind, words) => Error::new(kind, format!("{what}: {words}")),
        }
    }

    /// The error for an answer that can't be read.
    pub fn malformed(&self, answer: &Response) -> Error {
        self.malformed_with(answer.status)
    }

    fn malformed_with(&self, status: u16) -> Error {
        let (host, vendor, server) = (self.way.host(), self.vendor.name, self.way.fields.server);
        Error::new(
            ErrorKind::Malformed,
            format!("{host} does not answer as {vendor} does (status {status}): check {server}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn which_servers_are_the_vendors_own() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        const FIELDS: Fields = Fields { server: "server", ca: "ca", identity: "identity" };
        static VENDOR: Vendor =
            Vendor { name: "a vendor", metric: "vendor", fields: FIELDS, login: "auth", says: |_| None };
        let is_at = async |server: &str| {
            let ctx = BuildContext::new(Arc::new(keyferry_provider_testkit::MapCredentials::new()), Arc::new(()));
            let client = Client::new(&VENDOR, Url::parse(server).unwrap(), &Ca::System, &ctx).await.unwrap();
            client.is_at(&["app.example.com"])
        };
        for own in ["https://app.example.com/api", "https://APP.example.com.", "https://app.example.com:443"] {
            assert!(is_at(own).await, "{own}");
        }
        for other in ["http://app.example.com", "https://app.example.com.evil.com", "https://app.example.com@evil.com"]
        {
            assert!(!is_at(other).await, "{other}");
        }
    }

    #[test]
    fn who_may_show_the_operator_to_a_server_that_the_spec_names() {
        use keyferry_provider_core::address::Addresses;
        use keyferry_provider_identity::cloud::Shown;
        let may = |store_kind: &'static str, addresses: Addresses, is_to_named_server: bool| {
            let mut ctx = BuildContext::new(Arc::new(keyferry_provider_testkit::MapCredentials::new()), Arc::new(()));
            (ctx.caller.store_kind, ctx.addresses) = (store_kind, addresses);
            Shown { field: "f", ctx: &ctx, is_to_named_server }.check_server().is_ok()
        };
        assert!(!may("SecretStore", Addresses::default(), true));
        assert!(may("SecretStore", Addresses::default(), false), "the vendor's own");
        assert!(may("ClusterSecretStore", Addresses::default(), true));
        assert!(may("SecretStore", Addresses::anywhere(), true), "by hand, over manifests of one's own");
        assert!(!may("VaultDynamicSecret", Addresses::default(), true), "nor in a ClusterGenerator");
    }

    #[test]
    fn a_segment_is_one_whatever_is_in_it() {
        assert_eq!(segment("a/b c?d").unwrap(), "a%2Fb%20c%3Fd");
        for bad in ["", "/", ".", "..", "a/../b", "a\nb"] {
            assert_eq!(segment(bad).unwrap_err().blame(), Blame::Request, "{bad:?}");
        }
    }
}

//! Who is let in. On loopback everybody of this machine can knock, and so can every page in every browser here: whoever has not the link
//! that was printed, and whatever a browser sends of its own, is turned away.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};

/// The cookie of whoever came by the link.
const COOKIE: &str = "keyferry-ui";

/// What the page may do: run its own script and ask its own server. Markup can't be made of text at all.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// What every answer says.
const HEADERS: [(HeaderName, &str); 8] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // A connection lasts a minute at most: what is told for long begins on one of its own.
    (header::CONNECTION, "close"),
];

/// The page that the link opens. It leads on by itself, so that it is our own page that asks for the next: a browser would not
/// send the cookie, which is strict, where another page led here.
const THRESHOLD: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>keyferry</title><link rel=\"icon\" href=\"icon.svg\">\
                         <meta http-equiv=\"refresh\" content=\"0; url=./\"><p><a href=\"./\">keyferry</a>\n";

/// Where the page is, and what opens it.
pub struct Door {
    /// As a browser names this server.
    hosts: [String; 2],
    /// The folder that the page is in: a cookie goes to every port of this machine, but to no folder that nobody knows.
    place: String,
    /// What the link opens the page with; once.
    ticket: Mutex<Option<String>>,
    /// What the cookie says from then on.
    session: String,
}

/// Why somebody is turned away.
type Refusal = (StatusCode, &'static str);

/// How somebody may come in.
enum Entry {
    /// They are known.
    Known,
    /// They came by the link.
    ByLink,
}

impl Door {
    /// The door of a server on this port, which no other opens.
    pub fn new(port: u16) -> Self {
        let ticket = Mutex::new(Some(random()));
        let hosts = ["127.0.0.1", "localhost"].map(|name| format!("{name}:{port}"));
        Self { hosts, place: random(), ticket, session: random() }
    }

    /// The link that opens the page.
    pub fn link(&self) -> String {
        let ticket = self.ticket.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
        format!("http://{}{}?ticket={ticket}", self.hosts[0], self.path(""))
    }

    /// Where a file of the page is.
    pub fn path(&self, name: &str) -> String {
        format!("/{}/{name}", self.place)
    }

    /// Whether a request may be answered, and how.
    fn judge(&self, request: &Request) -> Result<Entry, Refusal> {
        let headers = request.headers();
        let named = headers.get_all(header::HOST).iter().map(HeaderValue::to_str).collect::<Result<Vec<_>, _>>();
        let is_ours = |name: &str| self.hosts.iter().any(|host| host == name);
        // A page elsewhere may have its own name lead here (DNS rebinding): it would be asked for by that.
        let is_named = matches!(named.as_deref(), Ok([host]) if is_ours(host));
        if !is_named || request.uri().authority().is_some_and(|name| !is_ours(name.as_str())) {
            return Err((
                StatusCode::MISDIRECTED_REQUEST,
                "this page has no such name: use the link as it was printed\n",
            ));
        }
        if request.method() != Method::GET {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "this page is read-only\n"));
        }
        let is_known = self.knows(headers);
        let ticket = request.uri().query().and_then(|query| query.strip_prefix("ticket="));
        match ticket.filter(|_| request.uri().path() == self.path("")) {
            Some(ticket) if self.takes(ticket) || is_known => return Ok(Entry::ByLink),
            Some(_) => {
                let why = "this link was used already, or is of another keyferry ui: end it, and start it anew\n";
                return Err((StatusCode::FORBIDDEN, why));
            }
            None => {}
        }
        // Another port of this machine counts as the same site, for cookies too: a page there is not this one all the same.
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
            return Err((StatusCode::FORBIDDEN, "another page asks for this one\n"));
        }
        if is_known {
            Ok(Entry::Known)
        } else {
            Err((StatusCode::FORBIDDEN, "open the link that `keyferry ui` printed\n"))
        }
    }

    /// Whether this is the ticket; it is good once.
    fn takes(&self, ticket: &str) -> bool {
        let mut left = self.ticket.lock().unwrap_or_else(PoisonError::into_inner);
        left.take_if(|wanted| is_same(wanted, ticket)).is_some()
    }

    /// Whether they have the cookie.
    fn knows(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut all = cookies.flat_map(|text| text.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
        all.any(|(name, value)| name == COOKIE && is_same(value, &self.session))
    }
}

/// Letters that nobody guesses.
fn random() -> String {
    let bytes: [u8; 16] = rand::random();
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn is_same(one: &str, other: &str) -> bool {
    verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

/// What a router answers, for those who are let in.
pub fn guarded(router: Router, door: Arc<Door>) -> Router {
    let admit = async |State(door): State<Arc<Door>>, request: Request, next: Next| -> Response {
        let entry = door.judge(&request);
        let mut response = match entry {
            Ok(Entry::Known) => next.run(request).await,
            Ok(Entry::ByLink) => {
                let cookie = format!("{COOKIE}={}; Path={}; HttpOnly; SameSite=Strict", door.session, door.path(""));
                let html = "text/html; charset=utf-8".to_owned();
                ([(header::SET_COOKIE, cookie), (header::CONTENT_TYPE, html)], THRESHOLD).into_response()
            }
            Err(refusal) => refusal.into_response(),
        };
        let headers = HEADERS.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value)));
        headers.for_each(|(name, value)| _ = response.headers_mut().insert(name, value));
        response
    };
    router.layer(middleware::from_fn_with_state(door, admit))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use tower_service::Service as _;

    use super::*;

    const PORT: u16 = 4321;

    /// A request: a header that is not named has the value that a browser would send.
    async fn ask(door: &Arc<Door>, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, String) {
        let mut router = guarded(Router::new().route(&door.path(""), get(async || "the page")), door.clone());
        let mut request = axum::http::Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", format!("127.0.0.1:{PORT}"));
        }
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = router.call(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        let text = String::from_utf8(to_bytes(body, 1 << 16).await.unwrap().to_vec()).unwrap();
        (parts.status.as_u16(), parts.headers, text)
    }

    /// A door, and the cookie of whoever came by its link.
    async fn opened() -> (Arc<Door>, String) {
        let door = Arc::new(Door::new(PORT));
        let link = door.link();
        let path = link.strip_prefix("http://127.0.0.1:4321").unwrap();
        let (code, headers, text) = ask(&door, "GET", path, &[("sec-fetch-site", "cross-site")]).await;
        assert!(code == 200 && text.contains("url=./"), "{code} {text}");
        let cookie = headers["set-cookie"].to_str().unwrap().to_owned();
        assert!(cookie.ends_with(&format!("; Path={}; HttpOnly; SameSite=Strict", door.path(""))), "{cookie}");
        (door, cookie.split(';').next().unwrap().to_owned())
    }

    #[tokio::test]
    async fn the_link_opens_the_page_once_and_the_cookie_after_that() {
        let door = Arc::new(Door::new(PORT));
        let page = door.path("");
        let link = door.link();
        let path = link.strip_prefix("http://127.0.0.1:4321").unwrap();
        assert_eq!(ask(&door, "GET", &page, &[]).await.0, 403);
        assert_eq!(ask(&door, "GET", &format!("{page}?ticket="), &[]).await.0, 403);
        let (code, headers, _) = ask(&door, "GET", path, &[]).await;
        assert_eq!(code, 200);
        let cookie = headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let (code, _, text) = ask(&door, "GET", path, &[]).await;
        assert!(code == 403 && text.contains("used already"), "{text}");
        let (code, _, text) = ask(&door, "GET", &page, &[("cookie", &format!("a=b; {cookie}"))]).await;
        assert_eq!((code, text.as_str()), (200, "the page"));
        // Who has the cookie may follow the link again.
        assert_eq!(ask(&door, "GET", path, &[("cookie", &cookie)]).await.0, 200);
        let other = Arc::new(Door::new(PORT));
        assert_eq!(ask(&other, "GET", &other.path(""), &[("cookie", &cookie)]).await.0, 403);
    }

    #[tokio::test]
    async fn whoever_has_the_cookie_is_turned_away_all_the_same_where_another_page_asks() {
        let (door, cookie) = opened().await;
        let page = door.path("");
        for (method, header, value, expected) in [
            ("GET", "accept", "*/*", 200),
            ("GET", "host", "localhost:4321", 200),
            ("GET", "host", "127.0.0.1:4322", 421),
            ("GET", "host", "127.0.0.1", 421),
            ("GET", "host", "evil.example:4321", 421),
            ("GET", "host", "127.0.0.1:4321.evil.example", 421),
            ("GET", "sec-fetch-site", "same-origin", 200),
            ("GET", "sec-fetch-site", "none", 200),
            ("GET", "sec-fetch-site", "same-site", 403),
            ("GET", "sec-fetch-site", "cross-site", 403),
            ("POST", "accept", "*/*", 405),
            ("HEAD", "accept", "*/*", 405),
            ("OPTIONS", "origin", "http://evil.example", 405),
        ] {
            let (code, headers, _) = ask(&door, method, &page, &[("cookie", &cookie), (header, value)]).await;
            assert_eq!(code, expected, "{method} {header}: {value}");
            assert!(!headers.keys().any(|name| name.as_str().starts_with("access-control")), "{headers:?}");
            for (name, value) in HEADERS {
                assert_eq!(headers[name], value);
            }
        }
        let elsewhere = format!("http://evil.example{page}");
        assert_eq!(ask(&door, "GET", &elsewhere, &[("cookie", &cookie)]).await.0, 421);
        let two = [("cookie", cookie.as_str()), ("host", "127.0.0.1:4321"), ("host", "evil.example")];
        assert_eq!(ask(&door, "GET", &page, &two).await.0, 421);
        assert_eq!(ask(&door, "GET", "/", &[("cookie", &cookie)]).await.0, 404);
    }
}

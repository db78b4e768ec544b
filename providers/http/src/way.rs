//! The way to one server: a client with bounds, and bodies no larger than what we are ready to hold.

use std::time::Duration;

use bytes::Bytes;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::body::Body;
use keyferry_provider_core::{Error, ErrorKind, Room, SecretBytes};
use reqwest::header::RETRY_AFTER;
use reqwest::{Certificate, Client, ClientBuilder, Identity, Response, Url, redirect, retry};
use tokio::net::TcpStream;

use crate::address::{self, Resolver};
use crate::proxy::CANT_BE_REACHED;
use crate::single::{Once, PATIENCE};
use crate::{error, proxy, roots};

/// Versions of HTTP, as TLS has servers choose among them.
const VERSIONS: [&str; 2] = ["h2", "http/1.1"];

/// How long a connection, and a request as a whole, may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What messages call the fields of a store's spec that lead to its server. Each is put into a sentence: "check
/// spec.provider.vault.server".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// The URL of the server.
    pub server: &'static str,
    /// The CA certificates to believe.
    pub ca: &'static str,
    /// The certificate and key that we show to the server.
    pub identity: &'static str,
}

/// The way to one server.
#[derive(Clone, Debug)]
pub struct Way {
    /// The server.
    pub server: Url,
    /// Where the spec says how to get there.
    pub fields: Fields,
    /// How long a request may take, its answer included.
    pub(crate) timeout: Duration,
}

impl Way {
    /// The way to this server, on which a request may take 30 s.
    pub fn new(server: Url, fields: Fields) -> Self {
        Self { server, fields, timeout: REQUEST_TIMEOUT }
    }

    /// The same, on which a request may take so long, its answer included.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The settings that every client has: bounds in time, no retries (the guard around all stores does that, and
    /// counts it), no redirects, no way to an address that is not among `addresses`, and through a proxy where they name
    /// one for the server.
    ///
    /// Where a provider sets a redirect policy of its own: it must not lead to an address that is not the server's,
    /// since nobody checks that one.
    ///
    /// # Errors
    /// `Invalid` where the server's URL holds an address that is not among them.
    pub fn client_builder(&self, addresses: &Addresses) -> Result<ClientBuilder, Error> {
        address::check(&self.server, addresses, &self.fields)?;
        let resolver = Resolver {
            addresses: addresses.clone(),
            fields: self.fields,
            proxy: proxy::of_server(&self.server, addresses).cloned(),
        };
        let builder = Client::builder()
            .user_agent(concat!("keyferry/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(self.timeout)
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(retry::never())
            .no_proxy() // the library's reading of the environment is not ours
            .dns_resolver(resolver);
        Ok(proxy::through(builder, &self.server, addresses, self.fields))
    }

    /// The client of `builder`, which believes `ca` only, or whom the system trusts where there is none, and shows
    /// `identity` to the server. Connects nowhere yet.
    ///
    /// # Errors
    /// `Invalid` where these, or the system's certificates, can't be used.
    pub fn client(
        &self,
        builder: ClientBuilder,
        ca: Option<Vec<Certificate>>,
        identity: Option<Identity>,
    ) -> Result<Client, Error> {
        self.built(builder, ca, identity, &VERSIONS)
    }

    /// The client of `builder` for a login that holds for a connection and not for a request: by HTTP/1.1, and by one
    /// connection in its life, so that each request goes out on that one or not at all. Answers that came by TLS, and
    /// through no proxy, bear the server's certificate ([`reqwest::tls::TlsInfo`]). Connects nowhere yet.
    ///
    /// # Errors
    /// Those of [`Way::client`], and `Invalid` where a proxy on the way has connections of its own to the server.
    pub fn single_connection(
        &self,
        builder: ClientBuilder,
        addresses: &Addresses,
        ca: Option<Vec<Certificate>>,
    ) -> Result<Client, Error> {
        if self.server.scheme() == "http" && proxy::of_server(&self.server, addresses).is_some() {
            return Err(Error::invalid(format!(
                "{} must begin with https://: by plain HTTP the proxy on the way shares connections among all whom it \
                 serves, and this login would be theirs, too",
                self.fields.server
            )));
        }
        let builder = builder.http1_only().tls_info(true).connector_layer(Once::to(self.host(), PATIENCE));
        self.built(builder, ca, None, &VERSIONS[1..])
    }

    fn built(
        &self,
        mut builder: ClientBuilder,
        ca: Option<Vec<Certificate>>,
        identity: Option<Identity>,
        versions: &[&str],
    ) -> Result<Client, Error> {
        // What is left to go wrong are certificates: those given, the client's own, or the system's that can't be
        // read. The error's text is the parser's.
        let Fields { ca: of_ca, identity: of_identity, .. } = self.fields;
        let problem = match (&ca, &identity) {
            (Some(_), Some(_)) => format!("{of_identity} or {of_ca} holds a certificate or key that can't be used"),
            (Some(_), None) => format!("{of_ca} holds a certificate that can't be used"),
            (None, Some(_)) => format!(
                "{of_identity} holds a certificate or key that can't be used, or there are no system certificates: \
                 for those, set {of_ca}"
            ),
            (None, None) => format!("there are no system certificates: set {of_ca}"),
        };
        builder = match ca {
            Some(ca) => builder.tls_certs_only(ca),
            None if identity.is_none() => {
                let tls = roots::config(versions).ok_or_else(|| Error::invalid(problem.clone()))?;
                builder.tls_backend_preconfigured(tls)
            }
            None => builder,
        };
        if let Some(identity) = identity {
            builder = builder.identity(identity);
        }
        builder.build().map_err(|_| Error::invalid(problem))
    }

    /// Connects to the server within this time, and says nothing: for a service of which nobody knows a request that does
    /// nothing. Where a proxy is on the way it is the proxy that is connected to: what is behind it only a request tells.
    ///
    /// # Errors
    /// Those of [`Way::client_builder`] and [`Way::error`].
    pub async fn knock(&self, addresses: &Addresses, patience: Duration) -> Result<(), Error> {
        address::check(&self.server, addresses, &self.fields)?;
        let host = self.server.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = self.server.port_or_known_default().unwrap_or(0);
        let resolver = Resolver { addresses: addresses.clone(), fields: self.fields, proxy: None };
        let through = proxy::of_server(&self.server, addresses);
        let connecting = async {
            if let Some(proxy) = through {
                if !addresses.are_anywhere() {
                    resolver.judge(host).await?;
                }
                return proxy::knock(proxy).await;
            }
            let found = resolver.resolve_to(host, port).await?;
            let connected = TcpStream::connect(found.as_slice()).await;
            connected.map(drop).map_err(|problem| error::of_connecting(&problem, &self.host()))
        };
        tokio::time::timeout(patience, connecting).await.unwrap_or_else(|_| {
            Err(match through {
                Some(proxy) => proxy.unreachable(CANT_BE_REACHED),
                None => Error::new(ErrorKind::Timeout, format!("no connection to {} within {patience:?}", self.host())),
            })
        })
    }

    /// The error for a request that brought no answer, or only part of one: `Tls`, `Timeout`, `Unavailable`, or the
    /// provider's own where its redirect policy refused something. In our own words, for causes that are known by
    /// their type: the text of foreign errors goes nowhere.
    pub fn error(&self, error: &reqwest::Error) -> Error {
        error::of_request(error, self)
    }

    /// The server as `host:port`, for messages.
    pub fn host(&self) -> String {
        let port = self.server.port_or_known_default().unwrap_or(0);
        format!("{}:{port}", self.server.host_str().unwrap_or_default())
    }

    /// The body of an answer, which may hold values. The buffer is zeroed when the last holder drops it. One that is not
    /// small waits for `room`, with what it has so far; the server waits meanwhile, and the client's bound in time holds.
    ///
    /// # Errors
    /// `Malformed` where it is larger than 16 MiB, however it is sent; `Timeout` where it did not end in time; else those
    /// of [`Way::error`].
    pub async fn read_body(&self, mut response: Response, room: &dyn Room) -> Result<SecretBytes, Error> {
        let mut body = Body::begin(response.content_length(), room).await;
        while let Some(chunk) = response.chunk().await.map_err(|error| error::of_body(&error, self))? {
            body.push(&chunk).await?;
        }
        Ok(body.whole())
    }
}

/// Lends a secret to the HTTP client without a copy; the bytes are zeroed when both are done with them.
pub fn shared(secret: &SecretBytes) -> Bytes {
    struct Owner(SecretBytes);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.expose()
        }
    }
    Bytes::from_owner(Owner(secret.clone()))
}

/// How long the server asks us to wait, where it says so in seconds: a date would be a matter of whose clock.
pub fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::body::{MAX_BODY, SMALL_BODY};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::FIELDS;

    #[test]
    fn hosts_for_messages_name_the_port() {
        for (server, expected) in [
            ("https://vault.example.com", "vault.example.com:443"),
            ("http://10.0.0.1/base", "10.0.0.1:80"),
            ("https://[::1]:8200", "[::1]:8200"),
        ] {
            let way = Way::new(Url::parse(server).unwrap(), FIELDS);
            assert_eq!(way.host(), expected);
        }
    }

    #[test]
    fn a_server_that_only_the_machine_may_reach_is_refused_unless_allowed() {
        let way = Way::new(Url::parse("http://169.254.169.254").unwrap(), FIELDS);
        let error = way.client_builder(&Addresses::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().starts_with("the.server leads to 169.254.169.254, a link-local address"), "{error}");
        assert!(way.client_builder(&Addresses::anywhere()).is_ok());
    }

    #[test]
    fn a_login_of_a_connection_goes_through_no_proxy_that_shares_it() {
        use keyferry_provider_core::proxy::Proxies;
        _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let proxied = Addresses::anywhere().through(Proxies::of(&|_| Some("http://proxy:1".to_owned())).unwrap());
        let single = |server: &str, addresses: &Addresses| {
            let way = Way::new(Url::parse(server).unwrap(), FIELDS);
            let builder = way.client_builder(addresses).unwrap();
            way.single_connection(builder, addresses, None).map(drop)
        };
        let error = single("http://server", &proxied).unwrap_err();
        assert!(error.message().starts_with("the.server must begin with https://"), "{error}");
        assert_eq!(single("https://server", &proxied), Ok(()));
        assert_eq!(single("http://server", &Addresses::anywhere()), Ok(()));
    }

    /// A server that answers every request with `head` and nothing more, and a client for it.
    async fn answered(head: &'static str) -> (Way, Client) {
        answered_and(head, false).await
    }

    /// The same, which may leave the connection open.
    async fn answered_and(head: &'static str, stays: bool) -> (Way, Client) {
        _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096]; // all that a GET of ours comes to, in one piece
                _ = stream.read(&mut request).await;
                _ = stream.write_all(head.as_bytes()).await;
                open.extend(stays.then_some(stream));
            }
        });
        let way = Way::new(server, FIELDS);
        let client = way.client(way.client_builder(&Addresses::anywhere()).unwrap(), None, None).unwrap();
        (way, client)
    }

    #[tokio::test]
    async fn redirects_are_answers_unless_a_provider_follows_them() {
        let (way, client) = answered(
            "HTTP/1.1 307 x\r\nlocation: http://no-such-host.invalid/\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
        )
        .await;
        let response = client.get(way.server.clone()).send().await.unwrap();
        assert_eq!((response.status().as_u16(), retry_after(&response)), (307, Some(Duration::from_secs(7))));
        assert!(way.read_body(response, &()).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_late_is_told_by_what_came_of_it_and_by_the_time_it_had() {
        for (head, told) in [
            ("", "no answer from HOST within 100ms"),
            ("HTTP/1.1 200 x\r\ncontent-length: 7\r\n\r\nhalf", "the answer of HOST did not end within 100ms"),
        ] {
            let (way, _) = answered_and(head, true).await;
            let way = way.within(Duration::from_millis(100));
            let client = way.client(way.client_builder(&Addresses::anywhere()).unwrap(), None, None).unwrap();
            let error = match client.get(way.server.clone()).send().await {
                Ok(response) => way.read_body(response, &()).await.unwrap_err(),
                Err(error) => way.error(&error),
            };
            assert_eq!(error.kind(), ErrorKind::Timeout);
            assert_eq!(error.message(), told.replace("HOST", &way.host()));
        }
    }

    #[tokio::test]
    async fn a_body_that_ends_early_is_an_error_of_the_way() {
        let (way, client) = answered("HTTP/1.1 200 x\r\ncontent-length: 1000000000000\r\n\r\ncanary").await;
        let response = client.get(way.server.clone()).send().await.unwrap();
        assert_eq!(retry_after(&response), None);
        let error = way.read_body(response, &()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().ends_with("does not speak HTTP: check the.server"), "{error}");
    }

    /// Notes how much is asked for.
    #[derive(Default)]
    struct Asked(std::sync::Mutex<Vec<usize>>);

    #[async_trait::async_trait]
    impl Room for Asked {
        async fn take(&self, bytes: usize) -> Box<dyn Send + Sync> {
            self.0.lock().unwrap().push(bytes);
            Box::new(())
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_not_small_asks_for_room_before_it_is_read() {
        let chunked = |size: usize| format!("HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n{size:x}\r\n");
        let whole = |size| chunked(size) + &"v".repeat(size) + "\r\n0\r\n\r\n";
        for (head, asked) in [
            (whole(SMALL_BODY), &[][..]),
            (whole(SMALL_BODY + 1), &[1 << 20]),
            (whole(3 << 20), &[1 << 20, MAX_BODY]),
            // What is announced is asked for before it is there.
            ("HTTP/1.1 200 x\r\ncontent-length: 70000\r\n\r\n".to_owned() + &"v".repeat(70_000), &[1 << 17]),
            ("HTTP/1.1 200 x\r\ncontent-length: 1000000000000\r\n\r\n".to_owned(), &[MAX_BODY]),
        ] {
            let (way, client) = answered(head.leak()).await;
            let response = client.get(way.server.clone()).send().await.unwrap();
            let room = Asked::default();
            let _ = way.read_body(response, &room).await;
            assert_eq!(*room.0.lock().unwrap(), asked);
        }
    }

    #[test]
    fn a_lent_secret_is_the_same_bytes() {
        let secret = SecretBytes::from("value");
        assert_eq!(shared(&secret).as_ptr(), secret.expose().as_ptr());
    }
}

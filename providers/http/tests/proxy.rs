//! What goes through a proxy, what does not, and what is said of one that does not let us through.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use keyferry_doubles::{Passage, Proxy, Server};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::proxy::Proxies;
use keyferry_provider_core::{Blame, Error, ErrorKind};
use keyferry_provider_http::{Fields, Way, certificates, server_url};
use reqwest::Client;

const FIELDS: Fields = Fields { server: "the.server", ca: "the.ca", identity: "the.identity" };
const PASSWORD: &str = "canary-of-a-proxy";

fn router() -> Router {
    Router::new().route("/secret", get(async || "value"))
}

/// What the environment says, in pairs.
fn proxies(variables: &[(&str, &str)]) -> Proxies {
    let variables: Vec<_> = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    Proxies::of(&|name| variables.iter().find(|(variable, _)| variable == name).map(|(_, text)| text.clone())).unwrap()
}

/// The same for both schemes.
fn both(proxy: &str, direct: &str) -> Proxies {
    proxies(&[("http_proxy", proxy), ("https_proxy", proxy), ("no_proxy", direct)])
}

struct Store {
    way: Way,
    client: Client,
}

impl Store {
    fn new(url: &str, addresses: &Addresses, ca: Option<&str>) -> Result<Self, Error> {
        // An error means that a TLS library is installed already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let way = Way::new(server_url(url, FIELDS.server, "https://example.com")?, FIELDS);
        let ca = ca.map(|pem| certificates(pem.as_bytes(), FIELDS.ca)).transpose()?;
        let client = way.client(way.client_builder(addresses)?, ca, None)?;
        Ok(Self { way, client })
    }

    async fn get(&self, url: &str) -> Result<u16, Error> {
        let answer = self.client.get(url).timeout(Duration::from_secs(20)).send().await;
        let answer = answer.map_err(|error| self.way.error(&error))?;
        Ok(answer.status().as_u16())
    }

    async fn read(&self) -> Result<u16, Error> {
        self.get(self.way.server.join("/secret").unwrap().as_str()).await
    }
}

fn passage(method: &str, target: &str) -> Passage {
    Passage { method: method.to_owned(), target: target.to_owned(), passed: true }
}

#[tokio::test]
async fn the_proxy_resolves_names_and_everything_passes_it() {
    let (proxy, plain, tls) = (Proxy::start(), Server::start(router()), Server::start_tls(router()));
    proxy.leads("plain.stores.test:8200", &plain.url());
    proxy.leads("tls.stores.test:443", &tls.url());
    let anywhere = Addresses::anywhere().through(both(&proxy.url(), ""));
    let store = Store::new("http://plain.stores.test:8200", &anywhere, None).unwrap();
    assert_eq!((store.read().await, store.read().await), (Ok(200), Ok(200)));
    let seen = passage("GET", "http://plain.stores.test:8200/secret");
    assert_eq!(proxy.take(), [seen.clone(), seen]);
    let store = Store::new("https://tls.stores.test", &anywhere, Some(&tls.authority().pem())).unwrap();
    assert_eq!(store.read().await, Ok(200));
    assert_eq!(proxy.take(), [passage("CONNECT", "tls.stores.test:443")]);
    // Behind the proxy it is the server's certificate that counts.
    let stranger = Store::new("https://tls.stores.test", &anywhere, None).unwrap().read().await.unwrap_err();
    assert_eq!(stranger.kind(), ErrorKind::Tls, "{stranger}");
}

#[tokio::test]
async fn what_needs_no_proxy_takes_none() {
    let (proxy, server) = (Proxy::start(), Server::start(router()));
    for addresses in [
        Addresses::anywhere().through(both(&proxy.url(), "")), // loopback
        Addresses::anywhere().through(proxies(&[("HTTPS_PROXY", &proxy.url())])),
        Addresses::anywhere(),
    ] {
        let store = Store::new(&server.url(), &addresses, None).unwrap();
        assert_eq!((store.read().await, proxy.take()), (Ok(200), Vec::new()));
    }
    let named = Addresses::anywhere().through(both(&proxy.url(), ".stores.test"));
    let error = Store::new("http://plain.stores.test", &named, None).unwrap().read().await.unwrap_err();
    assert!(error.message().contains("the name plain.stores.test can't be resolved: check the.server"), "{error}");
    assert!(proxy.take().is_empty());
}

#[tokio::test]
async fn a_proxy_with_a_login() {
    let (proxy, plain, tls) = (Proxy::start(), Server::start(router()), Server::start_tls(router()));
    proxy.wants("me", PASSWORD);
    proxy.leads("plain.stores.test:80", &plain.url());
    proxy.leads("tls.stores.test:443", &tls.url());
    let url = |login: &str| proxy.url().replace("://", &format!("://{login}"));
    let with = async |server: &str, proxy: &str| {
        let addresses = Addresses::anywhere().through(both(proxy, ""));
        Store::new(server, &addresses, Some(&tls.authority().pem())).unwrap().read().await
    };
    let right = url(&format!("me:{PASSWORD}@"));
    assert_eq!(with("http://plain.stores.test", &right).await, Ok(200));
    assert_eq!(with("https://tls.stores.test", &right).await, Ok(200));
    for wrong in [url(""), url(&format!("you:{PASSWORD}@"))] {
        let error = with("https://tls.stores.test", &wrong).await.unwrap_err();
        assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Way));
        let text = error.to_string();
        assert!(text.contains("wants a login: put user and password into https_proxy"), "{text}");
        assert!(!text.contains(PASSWORD) && !text.contains("you"), "{text}");
        assert_eq!(
            with("http://plain.stores.test", &wrong).await,
            Ok(407),
            "an answer, which the store makes sense of"
        );
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_proxy_is_said_of_it_and_not_of_the_server() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let proxy = Proxy::start();
    for (url, server, words) in [
        (gone.as_str(), "https://vault.stores.test", "refuses connections: check https_proxy of the operator"),
        (&gone, "http://vault.stores.test", "refuses connections: check http_proxy of the operator"),
        ("http://no-such-proxy.invalid:1", "https://vault.stores.test", "has a name that can't be resolved"),
        (&proxy.url(), "https://vault.stores.test", "makes no connection to vault.stores.test: allow it there"),
    ] {
        let addresses = Addresses::anywhere().through(both(url, ""));
        let error = Store::new(server, &addresses, None).unwrap().read().await.unwrap_err();
        assert_eq!((error.kind(), error.blame()), (ErrorKind::Unavailable, Blame::Way), "{error}");
        assert!(error.to_string().contains(words) && error.message().starts_with("the proxy "), "{error}");
    }
}

#[tokio::test]
async fn a_store_of_a_namespace_goes_through_a_proxy_only_where_its_own_server_may_be_reached() {
    let (proxy, server) = (Proxy::start(), Server::start(router()));
    proxy.leads("10.255.255.1:8200", &server.url());
    proxy.leads("vault.stores.test:8200", &server.url());
    let of_namespace = Addresses::default().through(both(&proxy.url(), ""));
    let store = Store::new("http://10.255.255.1:8200", &of_namespace, None).unwrap();
    assert_eq!(store.read().await, Ok(200));
    assert_eq!(proxy.take(), [passage("GET", "http://10.255.255.1:8200/secret")]);
    // A name that says nothing here can't be judged here.
    let error = Store::new("http://vault.stores.test:8200", &of_namespace, None).unwrap().read().await.unwrap_err();
    assert!(error.message().contains("the name vault.stores.test can't be resolved"), "{error}");
    // Nor does its client reach anybody else through the proxy.
    let other = Server::start(router());
    assert_eq!(store.get(&format!("{}/secret", other.url())).await, Ok(200));
    assert!(store.get("http://vault.stores.test:8200/secret").await.is_err());
    assert!(proxy.take().is_empty());
    let refused = Store::new("http://169.254.169.254", &of_namespace, None).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
}

/// A service of which nobody knows a request that does nothing is looked for where its requests go.
#[tokio::test]
async fn who_only_knocks_knocks_at_the_proxy() {
    let patience = Duration::from_secs(10);
    let way = |server: &str| Way::new(server.parse().unwrap(), FIELDS);
    let proxy = Proxy::start();
    let through = |proxy: &str| Addresses::anywhere().through(both(proxy, "direct.test"));
    for server in ["http://only.the.proxy.test", "https://only.the.proxy.test:8443"] {
        way(server).knock(&through(&proxy.url()), patience).await.unwrap();
    }
    let error = way("http://direct.test").knock(&through(&proxy.url()), patience).await.unwrap_err();
    assert!(error.message().contains("the name direct.test can't be resolved"), "{error}");
    let with_login = format!("http://me:{PASSWORD}@127.0.0.1:1");
    let error = way("http://only.the.proxy.test").knock(&through(&with_login), patience).await.unwrap_err();
    assert!(error.message().contains("the proxy 127.0.0.1:1") && !error.to_string().contains(PASSWORD), "{error}");
    let error = way("http://only.the.proxy.test").knock(&through("http://proxy.invalid"), patience).await.unwrap_err();
    assert!(error.message().contains("the proxy proxy.invalid"), "{error}");
    // What a store of a namespace may not reach is not looked for there either.
    let bounded = Addresses::default().through(both(&proxy.url(), ""));
    let error = way("http://10.0.0.1.invalid").knock(&bounded, patience).await.unwrap_err();
    assert!(error.message().contains("can't be resolved"), "{error}");
}

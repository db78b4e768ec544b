//! Where the way may lead: URLs of servers, and no addresses that a store of a namespace must not reach.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::proxy::Proxy;
use keyferry_provider_core::{Blame, Error, ErrorKind};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

use crate::Fields;

/// Reads the URL of a server: http or https, without user, query and fragment. `field` is where the spec has it, and
/// `example` what a good one looks like, both for messages.
///
/// # Errors
/// `Invalid`, and never with a part of `text`: it may hold a password.
pub fn server_url(text: &str, field: &str, example: &str) -> Result<Url, Error> {
    let refuse = |problem: &str| Err(Error::invalid(format!("{field} {problem}")));
    let Ok(url) = Url::parse(text.trim()) else {
        return refuse(&format!("must be a URL such as {example}"));
    };
    match (url.scheme(), url.has_host()) {
        ("http" | "https", true) if !url.username().is_empty() || url.password().is_some() => {
            refuse("must not hold a user name or password")
        }
        ("http" | "https", true) if url.query().is_some() || url.fragment().is_some() => {
            refuse("must not hold a query or fragment")
        }
        ("http" | "https", true) => Ok(url),
        _ => refuse("must begin with https:// or http://"),
    }
}

/// Reads the URL of a server that credentials and tokens are sent to: with TLS, but for one on this machine.
///
/// # Errors
/// Those of [`server_url`], and `Invalid` where they would go out without TLS.
pub fn secure_url(text: &str, field: &str, example: &str) -> Result<Url, Error> {
    let url = server_url(text, field, example)?;
    let host = url.host_str().unwrap_or_default();
    let is_near = matches!(host, "localhost" | "[::1]") || host.parse().is_ok_and(|host: Ipv4Addr| host.is_loopback());
    if url.scheme() == "https" || is_near {
        Ok(url)
    } else {
        Err(Error::invalid(format!("{field} must begin with https://: credentials are sent there")))
    }
}

/// Refuses `server` where its host is an address that it must not lead to; the [`Resolver`] never sees addresses. Names
/// are its matter.
pub(crate) fn check(server: &Url, addresses: &Addresses, fields: &Fields) -> Result<(), Error> {
    // A URL keeps an IPv6 address in brackets. Other spellings of IPv4 (hex, one number) are normal form by now.
    let host = server.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    match host.trim_end_matches('.').parse() {
        Ok(address) => addresses.refuse(address).map_or(Ok(()), |kind| Err(refused(address, kind, fields))),
        Err(_) => Ok(()),
    }
}

fn refused(address: IpAddr, kind: &str, fields: &Fields) -> Error {
    Error::invalid(format!(
        "{} leads to {address}, {kind}, which is refused to stores of a namespace: use a ClusterSecretStore, or have the \
         operator run with --allow-store-addresses={address}",
        fields.server
    ))
}

/// Resolves names like everybody, and drops addresses that the store must not lead to.
#[derive(Clone)]
pub(crate) struct Resolver {
    pub addresses: Addresses,
    pub fields: Fields,
    /// The proxy on the way, whose name is the operator's affair.
    pub proxy: Option<Proxy>,
}

impl Resolver {
    /// The addresses of a host that the store may lead to.
    pub async fn resolve_to(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
        let found = tokio::net::lookup_host((host, port)).await.map_err(|_| unresolved(host, &self.fields))?;
        self.permitted(host, found.collect())
    }

    fn permitted(&self, host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Error> {
        let refuse = |address: &SocketAddr| Some((address.ip(), self.addresses.refuse(address.ip())?));
        // The least of them, so that the order of an answer makes no other message.
        let worst = found.iter().filter_map(refuse).min();
        let permitted: Vec<_> = found.into_iter().filter(|address| refuse(address).is_none()).collect();
        match (permitted.is_empty(), worst) {
            (false, _) => Ok(permitted),
            (true, Some((address, kind))) => Err(refused(address, kind, &self.fields)),
            (true, None) => Err(unresolved(host, &self.fields)),
        }
    }

    /// Refuses a host of which any address is one that the store must not lead to: of whoever resolves it again, nobody
    /// knows which one is taken.
    pub async fn judge(&self, host: &str) -> Result<(), Error> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let found: Vec<_> = lookup_host((host, 0)).await.map_err(|_| unresolved(host, &self.fields))?.collect();
        let refuse = |address: &SocketAddr| Some((address.ip(), self.addresses.refuse(address.ip())?));
        match found.iter().filter_map(refuse).min() {
            Some((address, kind)) => Err(refused(address, kind, &self.fields)),
            None => Ok(()),
        }
    }
}

fn unresolved(host: &str, fields: &Fields) -> Error {
    let message = format!("the name {host} can't be resolved: check {}", fields.server);
    Error::new(ErrorKind::Unavailable, message).with_blame(Blame::Way)
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let host = name.as_str();
            // The operator's affair.
            if this.proxy.as_ref().is_some_and(|proxy| proxy.name().eq_ignore_ascii_case(host)) {
                return Ok(Box::new(lookup_host((host, 0)).await?.collect::<Vec<_>>().into_iter()) as Addrs);
            }
            Ok(Box::new(this.resolve_to(host, 0).await?.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FIELDS;

    #[test]
    fn tokens_go_out_under_tls_but_to_this_machine() {
        let read = |text| secure_url(text, "the.url", "https://x");
        for good in ["https://vault", "http://127.0.0.1:8080", "http://127.0.0.1", "http://localhost", "http://[::1]:1"]
        {
            assert!(read(good).is_ok(), "{good}");
        }
        for bad in ["http://vault", "http://10.0.0.1", "http://127.example.com", "http://localhost.example.com"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read("http://vault").unwrap_err().message().contains("the.url must begin with https://"));
    }

    #[test]
    fn urls_of_servers() {
        let read = |text| server_url(text, "the.server", "https://vault:8200");
        assert_eq!(read(" https://vault:8200/base ").unwrap().as_str(), "https://vault:8200/base");
        for (text, words) in [
            ("", "must be a URL such as https://vault:8200"),
            ("vault", "must be a URL"),
            ("vault:8200", "must begin with https:// or http://"),
            ("ftp://vault", "must begin with"),
            ("https://canary@vault", "user name or password"),
            ("https://:canary@vault", "user name or password"),
            ("https://vault?canary", "query or fragment"),
            ("https://vault#canary", "query or fragment"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().starts_with("the.server ") && error.message().contains(words), "{text}: {error}");
            assert!(!error.message().contains("canary"), "{error}");
        }
    }

    #[test]
    fn servers_by_address_in_every_spelling() {
        for (server, refused) in [
            ("http://169.254.169.254", true),
            ("http://169.254.169.254.:80", true),
            ("http://169.254.169.254..", true),
            ("http://0xa9fea9fe", true),
            ("http://2852039166:8200", true),
            ("http://0251.0376.0251.0376", true),
            ("http://[fe80::1]", true),
            ("http://[::ffff:169.254.169.254]:8200", true),
            ("http://[fd00:ec2::254]", true),
            ("http://127.0.0.1:8200", true),
            ("http://127.1", true),
            ("http://0/", true),
            ("http://[::1]:8200", true),
            ("http://10.0.0.1:8200", false),
            ("http://metadata.google.internal", false), // found out by the resolver, like localhost
            ("http://localhost", false),
        ] {
            let answer = check(&Url::parse(server).unwrap(), &Addresses::default(), &FIELDS);
            assert_eq!(answer.is_err(), refused, "{server}");
            assert!(check(&Url::parse(server).unwrap(), &Addresses::anywhere(), &FIELDS).is_ok(), "{server}");
        }
        let error = check(&Url::parse("http://127.0.0.1:1").unwrap(), &Addresses::default(), &FIELDS).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        for words in ["the.server leads to 127.0.0.1, a loopback address", "--allow-store-addresses=127.0.0.1"] {
            assert!(error.message().contains(words), "{error}");
        }
    }

    #[test]
    fn answers_of_the_resolver_that_a_store_must_not_follow_are_dropped() {
        let [good, bad, worse] =
            ["10.0.0.1:0", "169.254.169.254:0", "127.0.0.1:0"].map(|text| text.parse::<SocketAddr>().unwrap());
        let permitted = |addresses: &Addresses, found| {
            Resolver { addresses: addresses.clone(), fields: FIELDS, proxy: None }.permitted("name", found)
        };
        let (of_namespace, anywhere) = (Addresses::default(), Addresses::anywhere());
        assert_eq!(permitted(&of_namespace, vec![bad, good]).unwrap(), [good]);
        assert_eq!(permitted(&anywhere, vec![bad, good]).unwrap(), [bad, good]);
        let refusals = [vec![bad, worse], vec![worse, bad]].map(|found| permitted(&of_namespace, found).unwrap_err());
        assert_eq!((refusals[0].kind(), &refusals[0]), (ErrorKind::Invalid, &refusals[1]));
        assert!(refusals[0].message().contains("leads to 127.0.0.1"), "{}", refusals[0]);
        assert_eq!(permitted(&anywhere, vec![]).unwrap_err().kind(), ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_refused_when_it_is_resolved() {
        let resolver = Resolver { addresses: Addresses::default(), fields: FIELDS, proxy: None };
        let error = resolver.resolve("localhost".parse().unwrap()).await.err().unwrap();
        let error = error.downcast_ref::<Error>().unwrap();
        assert!(error.message().contains("a loopback address"), "{error}");
    }
}

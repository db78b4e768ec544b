//! Where the way may lead: URLs of servers, and no link-local addresses for stores of a namespace.

use std::net::{IpAddr, SocketAddr};

use keyferry_provider_core::address::is_link_local;
use keyferry_provider_core::{Blame, Error, ErrorKind};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

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

/// Whether the host of `server` is an address that stores of a namespace must not reach; the [`Resolver`] never sees
/// addresses. Names are its matter.
pub(crate) fn leads_to_link_local(server: &Url) -> bool {
    // A URL keeps an IPv6 address in brackets. Other spellings of IPv4 (hex, one number) are normal form by now.
    let host = server.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.trim_end_matches('.').parse::<IpAddr>().is_ok_and(is_link_local)
}

pub(crate) fn link_local(fields: &Fields) -> Error {
    Error::invalid(format!(
        "{} leads to a link-local address, which is refused to stores of a namespace",
        fields.server
    ))
}

/// Resolves names like everybody, and drops link-local addresses where the store may not go there.
#[derive(Clone, Copy)]
pub(crate) struct Resolver {
    pub allow_link_local: bool,
    pub fields: Fields,
}

impl Resolver {
    fn permitted(&self, mut addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Error> {
        addresses.retain(|address| self.allow_link_local || !is_link_local(address.ip()));
        if addresses.is_empty() { Err(link_local(&self.fields)) } else { Ok(addresses) }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let this = *self;
        Box::pin(async move {
            let host = name.as_str();
            let found: Vec<SocketAddr> = match tokio::net::lookup_host((host, 0)).await {
                Ok(found) => found.collect(),
                Err(_) => {
                    let message = format!("the name {host} can't be resolved: check {}", this.fields.server);
                    return Err(Error::new(ErrorKind::Unavailable, message).with_blame(Blame::Way).into());
                }
            };
            Ok(Box::new(this.permitted(found)?.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FIELDS;

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
    fn link_local_servers_in_every_spelling() {
        for (server, expected) in [
            ("http://169.254.169.254", true),
            ("http://169.254.169.254.:80", true),
            ("http://169.254.169.254..", true),
            ("http://0xa9fea9fe", true),
            ("http://2852039166:8200", true),
            ("http://0251.0376.0251.0376", true),
            ("http://[fe80::1]", true),
            ("http://[::ffff:169.254.169.254]:8200", true),
            ("http://[fd00:ec2::254]", true),
            ("http://127.0.0.1:8200", false),
            ("http://[::1]:8200", false),
            ("http://metadata.google.internal", false), // found out by the resolver
        ] {
            assert_eq!(leads_to_link_local(&Url::parse(server).unwrap()), expected, "{server}");
        }
    }

    #[test]
    fn link_local_answers_of_the_resolver_are_dropped() {
        let [good, bad] = ["10.0.0.1:0", "169.254.169.254:0"].map(|text| text.parse::<SocketAddr>().unwrap());
        let permitted =
            |addresses, allow_link_local| Resolver { allow_link_local, fields: FIELDS }.permitted(addresses);
        assert_eq!(permitted(vec![bad, good], false).unwrap(), [good]);
        assert_eq!(permitted(vec![bad, good], true).unwrap(), [bad, good]);
        assert_eq!(permitted(vec![bad], false).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(permitted(vec![], true).unwrap_err().kind(), ErrorKind::Invalid);
    }
}

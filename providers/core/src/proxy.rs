//! The proxies that the environment of the process names, by the rules of Go's clients, and so of External Secrets
//! Operator: which requests go through one, and through which.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr as _;
use std::sync::Arc;

use crate::network::{Network, local};
use crate::{Blame, Error, ErrorKind};

/// A proxy. What shows it leaves out whom it is logged in to as.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    variable: &'static str,
    url: String,
    /// The place of `host:port`, or of the host alone, in the URL.
    host: usize,
}

impl Proxy {
    /// The environment variable that names it, for messages.
    pub fn variable(&self) -> &'static str {
        self.variable
    }

    /// Its URL, which may hold a user and a password: for clients, and for nothing that is shown.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it is, as the variable has it: `host:port`, or a host alone.
    pub fn host(&self) -> &str {
        &self.url[self.host..]
    }

    /// Its host without the port.
    pub fn name(&self) -> &str {
        split(self.host()).map_or("", |(host, _)| host)
    }

    /// The error where it is not there; `problem` is what comes of asking it.
    pub fn unreachable(&self, problem: &str) -> Error {
        Error::new(ErrorKind::Unavailable, format!("the proxy {} {problem}", self.told()))
            .with_blame(Blame::Way)
            .with_hint(format!("check {} of the operator", self.variable))
    }

    /// The error where it wants to know who we are.
    pub fn wants_login(&self) -> Error {
        Error::invalid(format!("the proxy {} wants a login", self.told()))
            .with_blame(Blame::Way)
            .with_hint(format!("put user and password into {} of the operator", self.variable))
    }

    /// The error where it makes no connection to this host.
    pub fn refuses(&self, host: &str) -> Error {
        Error::new(ErrorKind::Unavailable, format!("the proxy {} makes no connection to {host}", self.told()))
            .with_blame(Blame::Way)
            .with_hint("allow it there, or name the host in NO_PROXY of the operator")
    }

    fn told(&self) -> String {
        format!("{}, which {} names,", self.host(), self.variable)
    }

    fn read(variable: &'static str, text: &str) -> Result<Self, String> {
        // Never with a part of what is there: it may hold a password.
        let wrong = |problem: &str| format!("{variable} {problem}: write it like http://proxy.example.com:3128");
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(wrong("names a proxy that speaks neither http nor https"));
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let is_clean = authority.bytes().all(|byte| byte.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&byte));
        match split(host) {
            Some((name, _)) if !name.is_empty() && is_clean => {
                let url = format!("{scheme}://{authority}");
                Ok(Self { variable, host: url.len() - host.len(), url })
            }
            _ => Err(wrong("is no URL of a proxy")),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.variable, self.host())
    }
}

/// The one name of what a cloud keeps for its machines.
const METADATA: &str = "metadata.google.internal";

/// Which requests go through a proxy, and through which; none do by default.
#[derive(Clone, Default)]
pub struct Proxies(Arc<Rules>);

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}

#[derive(Default)]
struct Rules {
    http: Option<Proxy>,
    https: Option<Proxy>,
    direct: Vec<Exception>,
}

/// What goes to no proxy.
enum Exception {
    Everything,
    Network(Network),
    Address(IpAddr, Option<u16>),
    /// Names that end so, with the dot before it, and where `itself` the name without that dot.
    Domain {
        end: String,
        itself: bool,
        port: Option<u16>,
    },
}

impl Proxies {
    /// What `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say, in capital letters or else in small ones.
    ///
    /// # Errors
    /// In words for a person, where one of them names no proxy that we can speak to.
    pub fn of(environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let given = |names: [&'static str; 2]| {
            let filled = |name| environment(name).filter(|text| !text.trim().is_empty()).map(|text| (name, text));
            names.into_iter().find_map(filled)
        };
        let proxy = |names| given(names).map(|(name, text)| Proxy::read(name, &text)).transpose();
        let direct = given(["NO_PROXY", "no_proxy"]).map(|(_, text)| text).unwrap_or_default();
        Ok(Self(Arc::new(Rules {
            http: proxy(["HTTP_PROXY", "http_proxy"])?,
            https: proxy(["HTTPS_PROXY", "https_proxy"])?,
            direct: direct.split(',').filter_map(Exception::read).collect(),
        })))
    }

    /// Whether nothing goes through a proxy.
    pub fn is_none(&self) -> bool {
        self.0.http.is_none() && self.0.https.is_none()
    }

    /// All of them, the same one twice where both variables name it.
    pub fn all(&self) -> impl Iterator<Item = &Proxy> {
        self.0.http.iter().chain(&self.0.https)
    }

    /// The proxy that a request to this URL goes through.
    ///
    /// What only this machine may reach never goes through one: itself, as in Go; its link, and what its cloud keeps for
    /// it, where a proxy could only hand out the identity of its own machine.
    pub fn of_url(&self, url: &str) -> Option<&Proxy> {
        let (scheme, rest) = url.split_once("://")?;
        let (proxy, usual) = match scheme {
            "http" => (self.0.http.as_ref()?, 80),
            "https" => (self.0.https.as_ref()?, 443),
            _ => return None,
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (host, port) = split(authority.rsplit('@').next().unwrap_or_default())?;
        let (host, port) = (host.trim_end_matches('.').to_ascii_lowercase(), port.unwrap_or(usual));
        let address = host.parse().ok().map(|address: IpAddr| address.to_canonical());
        let is_ours = match address {
            Some(address) => local(address).is_some(),
            None => host == "localhost" || host == METADATA,
        };
        let is_direct = is_ours || self.0.direct.iter().any(|exception| exception.is_of(&host, address, port));
        (!is_direct).then_some(proxy)
    }
}

impl Exception {
    /// Reads an entry of `NO_PROXY`. What makes no sense is passed over, as Go does.
    fn read(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_ascii_lowercase();
        if entry == "*" {
            return Some(Self::Everything);
        }
        if let Some(network) = Network::from_str(&entry).ok().filter(|_| entry.contains('/')) {
            return Some(Self::Network(network));
        }
        let (host, port) = split(&entry)?;
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical(), port));
        }
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        match host.strip_prefix('.') {
            Some("") => None,
            Some(_) => Some(Self::Domain { end: host.to_owned(), itself: false, port }),
            None if host.is_empty() => None,
            None => Some(Self::Domain { end: format!(".{host}"), itself: true, port }),
        }
    }

    fn is_of(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        let fits = |own: &Option<u16>| own.is_none_or(|own| own == port);
        match self {
            Self::Everything => true,
            Self::Network(network) => address.is_some_and(|address| network.contains(address)),
            Self::Address(own, own_port) => address == Some(*own) && fits(own_port),
            Self::Domain { end, itself, port } => {
                let is_named = host.ends_with(end.as_str()) || (*itself && host == &end[1..]);
                address.is_none() && is_named && fits(port)
            }
        }
    }
}

/// A host, without the brackets of IPv6, and its port, where there is one; `None` where the port is none.
fn split(text: &str) -> Option<(&str, Option<u16>)> {
    if text.parse::<IpAddr>().is_ok() {
        return Some((text, None));
    }
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "canary-4f9e02";

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, String> {
        Proxies::of(&|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    /// Whether a URL goes through the proxy where `NO_PROXY` is so.
    fn goes(direct: &str, url: &str) -> bool {
        let variables = [("HTTP_PROXY", "p:1"), ("HTTPS_PROXY", "p:2"), ("NO_PROXY", direct)];
        proxies(&variables).unwrap().of_url(url).is_some()
    }

    #[test]
    fn each_scheme_has_its_own_and_capital_letters_come_first() {
        let both = proxies(&[
            ("HTTP_PROXY", "http://plain:80"),
            ("http_proxy", "http://small:80"),
            ("https_proxy", "secure"),
            ("HTTPS_PROXY", " "),
        ])
        .unwrap();
        let of = |scheme| {
            let proxy = both.of_url(&format!("{scheme}://vault.example.com:1/v1/x?y"));
            proxy.map(|proxy| (proxy.url(), proxy.variable()))
        };
        assert_eq!(of("http"), Some(("http://plain:80", "HTTP_PROXY")));
        assert_eq!(of("https"), Some(("http://secure", "https_proxy")));
        assert_eq!((of("ftp"), both.is_none(), both.all().count()), (None, false, 2));
        assert!(proxies(&[("ALL_PROXY", "http://p")]).unwrap().is_none(), "Go knows no such variable");
    }

    #[test]
    fn what_needs_no_proxy_is_read_as_go_reads_it() {
        for (direct, url, expected) in [
            ("", "https://vault.example.com", true),
            ("example.com", "https://example.com", false),
            ("example.com", "https://vault.Example.com:8200", false),
            ("example.com", "https://notexample.com", true),
            (".example.com", "https://example.com", true),
            (".example.com", "https://vault.example.com", false),
            ("*.example.com", "https://vault.example.com", false),
            ("*.example.com", "https://example.com", true),
            ("example.com:8200", "https://vault.example.com:8200", false),
            ("example.com:8200", "https://vault.example.com", true),
            ("other, EXAMPLE.com ,", "http://example.com", false),
            ("*", "https://example.com", false),
            ("a*b", "https://example.com", true),
            ("10.0.0.0/8", "https://10.1.2.3:8200", false),
            ("10.1.2.3/8", "https://10.9.9.9", false),
            ("10.0.0.0/8", "https://11.1.2.3", true),
            ("fd00::/8", "https://[fd00::1]:8200", false),
            ("10.1.2.3", "https://10.1.2.3", false),
            ("10.1.2.3", "https://10.1.2.30", true),
            ("10.1.2.3:1", "https://10.1.2.3:1", false),
            ("10.1.2.3:1", "https://10.1.2.3:2", true),
            ("[fd00::1]:1", "https://[fd00::1]:1", false),
            ("fd00::1", "https://[fd00::1]:1", false),
            ("2.3", "https://10.1.2.3", true),
            (":8200", "https://example.com:8200", true),
            ("example.com:x", "https://example.com", true),
            (".", "https://example.com", true),
        ] {
            assert_eq!(goes(direct, url), expected, "{direct:?} {url}");
        }
    }

    #[test]
    fn what_only_this_machine_may_reach_goes_through_none() {
        for own in ["localhost", "LocalHost.", "127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"] {
            assert!(!goes("", &format!("http://{own}:8200")), "{own}");
        }
        let link = ["169.254.169.254", "169.254.170.23", "[fd00:ec2::254]", "[fe80::1]", "100.100.100.200"];
        for link in link.into_iter().chain(["metadata.google.internal"]) {
            assert!(!goes("", &format!("http://{link}")), "{link}");
        }
        assert!(goes("", "http://10.0.0.1") && goes("", "http://localhost.example.com"));
    }

    #[test]
    fn whoever_logs_in_to_a_proxy_is_not_shown() {
        let one = proxies(&[("HTTPS_PROXY", &*format!("https://me:{PASSWORD}@proxy.example.com:3128/x"))]).unwrap();
        let proxy = one.of_url("https://vault/v1").unwrap();
        assert_eq!(proxy.url(), format!("https://me:{PASSWORD}@proxy.example.com:3128"));
        assert_eq!((proxy.host(), proxy.name()), ("proxy.example.com:3128", "proxy.example.com"));
        let told = [proxy.unreachable("is not there"), proxy.wants_login(), proxy.refuses("vault")];
        for text in told.iter().map(|error| format!("{error} {error:?}")).chain([format!("{one:?}")]) {
            assert!(text.contains("proxy.example.com:3128") && !text.contains(PASSWORD), "{text}");
        }
        let six = proxies(&[("HTTPS_PROXY", "http://[fd00::1]:3128")]).unwrap();
        assert_eq!(six.of_url("https://vault").unwrap().name(), "fd00::1");
    }

    #[test]
    fn what_names_no_proxy_is_refused_without_a_word_of_it() {
        for (text, words) in [
            (format!("socks5://{PASSWORD}@p:1080"), "speaks neither http nor https"),
            (format!("http://me:{PASSWORD}@"), "is no URL"),
            (format!("http://{PASSWORD} p"), "is no URL"),
            (format!("http://{PASSWORD}:port"), "is no URL"),
            ("http://".to_owned(), "is no URL"),
            ("http:///path".to_owned(), "is no URL"),
        ] {
            let problem = proxies(&[("http_proxy", text.as_str())]).unwrap_err();
            assert!(problem.starts_with("http_proxy ") && problem.contains(words), "{problem}");
            assert!(!problem.contains(PASSWORD), "{problem}");
        }
    }
}

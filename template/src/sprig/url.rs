//! `urlParse` and `urlJoin`, with Go's reading of what a URL is.

use std::net::Ipv6Addr;

use super::{args::function, strings::find};
use crate::{
    env::Context,
    error::Failure,
    function::Function,
    strconv::unicode::runes,
    value::{Map, Str, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    function!("urlParse", (string => dict), |context: &mut Context<'_, '_>, text: &Str| {
        // The parts overlap: the host is in three of them.
        context.made(text.len().saturating_mul(3))?;
        context.made_map(8)?;
        let url = Url::parse(text).map_err(|failure| failure.prefixed("unable to parse url: "))?;
        let parts: [(&str, &[u8]); 8] = [
            ("scheme", &url.scheme),
            ("host", &url.host),
            ("hostname", hostname(&url.host)),
            ("path", &url.path),
            ("query", &url.query),
            ("opaque", &url.opaque),
            ("fragment", &url.fragment),
            ("userinfo", &url.user.map(|user| user.text()).unwrap_or_default()),
        ];
        Ok(Value::dict(parts.into_iter().map(|(key, part)| (key, Value::str(part)))))
    }),
    function!("urlJoin", (dict => string), join),
];

/// Which part of a URL a character stands in, and so whether it must be escaped there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Path,
    Host,
    Zone,
    User,
    Fragment,
}

fn must_escape(byte: u8, part: Part) -> bool {
    let allowed: &[u8] = match part {
        Part::Path => b"$&+,/:;=@",
        Part::Host | Part::Zone => b"!$&'()*+,;=:[]<>\"",
        Part::User => b"$&+,;=",
        Part::Fragment => b"$&+,/:;=?@!()*",
    };
    !byte.is_ascii_alphanumeric() && !b"-_.~".contains(&byte) && !allowed.contains(&byte)
}

fn escape(text: &[u8], part: Part) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        if must_escape(*byte, part) {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes())
        } else {
            out.push(*byte)
        }
    }
    out
}

fn unescape(text: &[u8], part: Part) -> Result<Vec<u8>, Failure> {
    let wrong = Failure::new("invalid URL escape");
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return Ok(out),
            [b'%', escaped @ ..] => {
                let (high, low, after) = match escaped {
                    [high, low, after @ ..] => match (digit(*high), digit(*low)) {
                        (Some(high), Some(low)) => (high, low, after),
                        _ => return Err(wrong),
                    },
                    _ => return Err(wrong),
                };
                let byte = (high * 16 + low) as u8;
                let refused = match part {
                    _ if escaped.starts_with(b"25") => false,
                    Part::Host => high < 8,
                    Part::Zone => byte != b' ' && must_escape(byte, Part::Host),
                    _ => false,
                };
                if refused {
                    return Err(wrong);
                }
                out.push(byte);
                after
            }
            [byte, after @ ..] => {
                if matches!(part, Part::Host | Part::Zone) && byte.is_ascii() && must_escape(*byte, part) {
                    return Err(Failure::new("invalid character in host name"));
                }
                out.push(*byte);
                after
            }
        };
    }
}

struct User {
    name: Vec<u8>,
    password: Option<Vec<u8>>,
}

impl User {
    fn parse(text: &[u8]) -> Result<Self, Failure> {
        let allowed = |rune: char| rune.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(rune);
        if !runes(text).all(|(rune, _)| allowed(rune)) {
            return Err(Failure::new("net/url: invalid userinfo"));
        }
        let (name, password) = cut(text, b':');
        Ok(Self {
            name: unescape(name, Part::User)?,
            password: password.map(|password| unescape(password, Part::User)).transpose()?,
        })
    }

    fn text(&self) -> Vec<u8> {
        let mut out = escape(&self.name, Part::User);
        if let Some(password) = &self.password {
            out.push(b':');
            out.extend(escape(password, Part::User));
        }
        out
    }
}

#[derive(Default)]
struct Url {
    scheme: Vec<u8>,
    opaque: Vec<u8>,
    user: Option<User>,
    host: Vec<u8>,
    path: Vec<u8>,
    query: Vec<u8>,
    fragment: Vec<u8>,
}

/// What is before the separator, and what is after it if there is one.
fn cut(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == separator) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

impl Url {
    fn parse(text: &[u8]) -> Result<Self, Failure> {
        let (text, fragment) = cut(text, b'#');
        let mut url = Self::parse_without_fragment(text)?;
        url.fragment = unescape(fragment.unwrap_or_default(), Part::Fragment)?;
        Ok(url)
    }

    fn parse_without_fragment(text: &[u8]) -> Result<Self, Failure> {
        let mut url = Self::default();
        if text.iter().any(u8::is_ascii_control) {
            return Err(Failure::new("net/url: invalid control character in URL"));
        }
        if text == b"*" {
            url.path = b"*".to_vec();
            return Ok(url);
        }
        let (scheme, rest) = split_scheme(text)?;
        url.scheme = scheme.to_ascii_lowercase();
        let (rest, query) = cut(rest, b'?');
        url.query = query.unwrap_or_default().to_vec();
        if !rest.starts_with(b"/") {
            if !url.scheme.is_empty() {
                url.opaque = rest.to_vec();
                return Ok(url);
            }
            if cut(rest, b'/').0.contains(&b':') {
                return Err(Failure::new("first path segment in URL cannot contain colon"));
            }
        }
        let path = match rest.strip_prefix(b"//") {
            Some(rest) if !url.scheme.is_empty() || !rest.starts_with(b"/") => {
                let slash = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
                let (authority, path) = rest.split_at(slash);
                url.parse_authority(authority)?;
                path
            }
            _ => rest,
        };
        url.path = unescape(path, Part::Path)?;
        Ok(url)
    }

    fn parse_authority(&mut self, authority: &[u8]) -> Result<(), Failure> {
        let (user, host) = match authority.iter().rposition(|byte| *byte == b'@') {
            Some(at) => (Some(&authority[..at]), &authority[at + 1..]),
            None => (None, authority),
        };
        self.host = parse_host(&self.scheme, host)?;
        self.user = user.map(User::parse).transpose()?;
        Ok(())
    }

    fn text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.scheme.is_empty() {
            out.extend_from_slice(&self.scheme);
            out.push(b':');
        }
        if !self.opaque.is_empty() {
            out.extend_from_slice(&self.opaque)
        } else {
            self.push_place(&mut out)
        }
        if !self.query.is_empty() {
            out.push(b'?');
            out.extend_from_slice(&self.query);
        }
        if !self.fragment.is_empty() {
            out.push(b'#');
            out.extend(escape(&self.fragment, Part::Fragment));
        }
        out
    }

    fn push_place(&self, out: &mut Vec<u8>) {
        let anywhere = !self.host.is_empty() || self.user.is_some();
        if anywhere || (!self.scheme.is_empty() && !self.path.is_empty()) {
            out.extend_from_slice(b"//");
        }
        if let Some(user) = &self.user {
            out.extend(user.text());
            out.push(b'@');
        }
        out.extend(escape(&self.host, Part::Host));
        let path = match self.path.as_slice() {
            b"*" => b"*".to_vec(),
            path => escape(path, Part::Path),
        };
        if !path.is_empty() && !path.starts_with(b"/") && !self.host.is_empty() {
            out.push(b'/');
        }
        if out.is_empty() && cut(&path, b'/').0.contains(&b':') {
            out.extend_from_slice(b"./");
        }
        out.extend(path);
    }
}

fn split_scheme(text: &[u8]) -> Result<(&[u8], &[u8]), Failure> {
    let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let end = text.iter().position(|byte| !in_scheme(*byte)).unwrap_or(text.len());
    match (text.first(), text.get(end)) {
        (Some(b':'), _) => Err(Failure::new("missing protocol scheme")),
        (Some(first), Some(b':')) if first.is_ascii_alphabetic() => Ok((&text[..end], &text[end + 1..])),
        _ => Ok((b"", text)),
    }
}

fn is_port(text: &[u8]) -> bool {
    match text {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

fn check_port(text: &[u8]) -> Result<(), Failure> {
    if is_port(text) { Ok(()) } else { Err(Failure::new("invalid port after host")) }
}

fn parse_host(scheme: &[u8], host: &[u8]) -> Result<Vec<u8>, Failure> {
    match host.iter().rposition(|byte| *byte == b'[') {
        Some(0) => parse_ip_literal(host),
        Some(_) => Err(Failure::new("invalid IP-literal")),
        None => {
            let strict = matches!(scheme, b"http" | b"https");
            let colon = if strict {
                host.iter().position(|byte| *byte == b':')
            } else {
                host.iter().rposition(|byte| *byte == b':')
            };
            check_port(&host[colon.unwrap_or(host.len())..])?;
            unescape(host, Part::Host)
        }
    }
}

fn parse_ip_literal(host: &[u8]) -> Result<Vec<u8>, Failure> {
    let close = host.iter().rposition(|byte| *byte == b']').ok_or(Failure::new("missing ']' in host"))?;
    let port = &host[close + 1..];
    check_port(port)?;
    let inner = &host[1..close];
    let address = match find(inner, b"%25") {
        Some(zone) => [unescape(&inner[..zone], Part::Host)?, unescape(&inner[zone..], Part::Zone)?].concat(),
        None => unescape(inner, Part::Host)?,
    };
    let (ip, zone) = cut(&address, b'%');
    let is_ip = std::str::from_utf8(ip).is_ok_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
    if is_ip && zone != Some(b"") {
        Ok([b"[", address.as_slice(), b"]", port].concat())
    } else {
        Err(Failure::new("invalid host"))
    }
}

fn hostname(host: &[u8]) -> &[u8] {
    let host = match host.iter().rposition(|byte| *byte == b':') {
        Some(colon) if is_port(&host[colon..]) => &host[..colon],
        _ => host,
    };
    host.strip_prefix(b"[").and_then(|inner| inner.strip_suffix(b"]")).unwrap_or(host)
}

fn join(_: &mut Context<'_, '_>, parts: &Map) -> Result<Vec<u8>, Failure> {
    let part = |key: &'static str| match parts.get(key.as_bytes()) {
        None => Ok(Vec::new()),
        Some(Value::Str(text)) => Ok(text.to_vec()),
        Some(other) => {
            let kind = other.kind();
            Err(Failure::new(format!("unable to parse {key} key, must be of type string, but {kind} found")))
        }
    };
    let mut url = Url {
        scheme: part("scheme")?,
        opaque: part("opaque")?,
        user: None,
        host: part("host")?,
        path: part("path")?,
        query: part("query")?,
        fragment: part("fragment")?,
    };
    let user = part("userinfo")?;
    if !user.is_empty() {
        let text = [b"proto://", user.as_slice(), b"@host"].concat();
        let parsed = Url::parse(&text).map_err(|failure| failure.prefixed("unable to parse userinfo in dict: "))?;
        url.user = parsed.user;
    }
    Ok(url.text())
}

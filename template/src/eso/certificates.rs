//! Certificates: picking blocks out of PEM, ordering chains, names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    prelude::{FromDer, X509Certificate},
    x509::X509Name,
};

use super::pem;
use crate::{
    env::Context,
    error::Failure,
    value::{Str, Value},
};

const CERTIFICATE: &str = "CERTIFICATE";

/// What ESO looks at in a certificate.
#[derive(Clone)]
pub(super) struct Certificate {
    pub der: Vec<u8>,
    /// The name of the one it is for, as Go writes it.
    pub subject: String,
    issuer_key: Option<Vec<u8>>,
    own_key: Vec<u8>,
    names: Names,
}

/// Alternative names.
#[derive(Clone, Default)]
struct Names {
    dns: Vec<String>,
    addresses: Vec<String>,
    mail: Vec<String>,
    uris: Vec<String>,
}

impl Certificate {
    pub(super) fn parse(der: &[u8]) -> Result<Self, Failure> {
        let malformed = || Failure::new("x509: malformed certificate");
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| malformed())?;
        if !rest.is_empty() {
            return Err(Failure::new("x509: trailing data"));
        }
        let mut certificate = Self {
            der: der.to_vec(),
            subject: name(parsed.subject()),
            issuer_key: None,
            own_key: Vec::new(),
            names: Names::default(),
        };
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    certificate.issuer_key = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                ParsedExtension::SubjectKeyIdentifier(id) => certificate.own_key = id.0.to_vec(),
                ParsedExtension::SubjectAlternativeName(names) => {
                    certificate.names = Names::read(&names.general_names).ok_or_else(malformed)?;
                }
                ParsedExtension::ParseError { .. } => return Err(malformed()),
                _ => {}
            }
        }
        Ok(certificate)
    }

    /// Signed by itself, as far as the identifiers of the keys tell.
    fn is_root(&self) -> bool {
        self.issuer_key.as_ref().is_none_or(|issuer| *issuer == self.own_key)
    }

    fn issued_by(&self, other: &Self) -> bool {
        self.issuer_key.as_deref().unwrap_or_default() == other.own_key
    }
}

impl Names {
    /// `None` where Go refuses a certificate.
    fn read(names: &[GeneralName<'_>]) -> Option<Self> {
        let mut read = Self::default();
        for name in names {
            match name {
                GeneralName::DNSName(name) if name.is_ascii() => read.dns.push((*name).to_owned()),
                GeneralName::RFC822Name(name) if name.is_ascii() => read.mail.push((*name).to_owned()),
                GeneralName::URI(name) if name.is_ascii() => read.uris.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => read.addresses.push(address(bytes)?),
                GeneralName::DNSName(_) | GeneralName::RFC822Name(_) | GeneralName::URI(_) => return None,
                _ => {}
            }
        }
        Some(read)
    }
}

/// An address as Go writes it: an IPv4 address within IPv6 as an IPv4 address.
fn address(bytes: &[u8]) -> Option<String> {
    let address = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    Some(address.to_canonical().to_string())
}

/// A name as Go writes it: known parts in a fixed order from the end, others before them in front.
fn name(name: &X509Name<'_>) -> String {
    const KNOWN: [(&[u8], &str); 9] = [
        (&[0x55, 4, 6], "C"),
        (&[0x55, 4, 10], "O"),
        (&[0x55, 4, 11], "OU"),
        (&[0x55, 4, 7], "L"),
        (&[0x55, 4, 8], "ST"),
        (&[0x55, 4, 9], "STREET"),
        (&[0x55, 4, 17], "POSTALCODE"),
        (&[0x55, 4, 3], "CN"),
        (&[0x55, 4, 5], "SERIALNUMBER"),
    ];
    let parts: Vec<_> = name.iter_attributes().collect();
    let known = |part: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        KNOWN.iter().position(|(oid, _)| part.attr_type().as_bytes() == *oid)
    };
    let mut groups: Vec<Vec<String>> = Vec::new();
    for part in parts.iter().filter(|part| known(part).is_none()) {
        let value: String = part.attr_value().data.iter().map(|byte| format!("{byte:02x}")).collect();
        groups.push(vec![format!("{}=#{value}", part.attr_type())]);
    }
    for (at, (_, short)) in KNOWN.iter().enumerate() {
        let values = parts.iter().filter(|part| known(part) == Some(at)).filter_map(|part| part.as_str().ok());
        let values: Vec<String> = values.map(|value| format!("{short}={}", escape(value))).collect();
        match (*short, values.last()) {
            (_, None) => {}
            // Go keeps one of these.
            ("CN" | "SERIALNUMBER", Some(last)) => groups.push(vec![last.clone()]),
            _ => groups.push(values),
        }
    }
    groups.iter().rev().map(|group| group.join("+")).collect::<Vec<_>>().join(",")
}

fn escape(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut escaped = String::with_capacity(value.len());
    for (at, c) in value.chars().enumerate() {
        let special = match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => at == 0 || at == last,
            '#' => at == 0,
            _ => false,
        };
        escaped.extend(special.then_some('\\'));
        escaped.push(c);
    }
    escaped
}

/// Certificates up to the end of the text; anything else in there is an error. White space behind them is nothing, which to
/// External Secrets Operator it is not: files end with it.
pub(super) fn all(context: &mut Context<'_, '_>, text: &[u8]) -> Result<Vec<Certificate>, Failure> {
    let mut certificates = Vec::new();
    let mut rest = text;
    while !rest.trim_ascii().is_empty() {
        context.spend(100)?;
        let (block, after) = pem::decode(rest);
        let block = block.ok_or(Failure::new("text that is no certificate"))?;
        certificates.push(Certificate::parse(&block.bytes)?);
        rest = after;
    }
    Ok(certificates)
}

/// Sorts a chain from the leaf to the root.
pub(super) fn order(context: &mut Context<'_, '_>, certificates: &[Certificate]) -> Result<Vec<Certificate>, Failure> {
    context.spend((certificates.len() * certificates.len()) as u64)?;
    let parents: Vec<Option<usize>> = certificates
        .iter()
        .enumerate()
        .map(|(at, certificate)| {
            let others = certificates.iter().enumerate().filter(|(other, _)| *other != at);
            others.into_iter().find(|(_, other)| certificate.issued_by(other)).map(|(parent, _)| parent)
        })
        .collect();
    let mut leaves = (0..certificates.len()).filter(|at| !parents.contains(&Some(*at)));
    let leaf = leaves.next().ok_or(Failure::new("no leaf certificate found"))?;
    if leaves.next().is_some() {
        return Err(Failure::new("found multiple leaf or disjunct certificates"));
    }
    let mut ordered = Vec::new();
    let mut next = Some(leaf);
    while let Some(at) = next {
        if ordered.len() == certificates.len() {
            return Err(Failure::new("constructing chain resulted in cycle"));
        }
        ordered.push(certificates[at].clone());
        next = parents[at];
    }
    Ok(ordered)
}

/// Certificates as PEM.
pub(super) fn text<'c>(certificates: impl IntoIterator<Item = &'c Certificate>) -> Vec<u8> {
    certificates.into_iter().flat_map(|certificate| pem::text(CERTIFICATE, &certificate.der).to_vec()).collect()
}

/// The text from the first block on: Go no longer skips what comes before it.
fn from_first_block(text: &[u8]) -> &[u8] {
    let begin = memchr::memmem::find(text, b"-----BEGIN");
    begin.map_or(text, |begin| &text[begin..])
}

/// `filterPEM`
pub(super) fn filter_pem(context: &mut Context<'_, '_>, kind: &Str, text: &Str) -> Result<Value, Failure> {
    let mut rest = from_first_block(text);
    let mut out = Vec::new();
    while let (Some(block), after) = pem::decode(rest) {
        context.spend(100)?;
        if block.kind.eq_ignore_ascii_case(kind) {
            pem::encode(&mut out, &block);
        }
        rest = after;
    }
    if out.is_empty() && !rest.trim_ascii().is_empty() {
        Err(Failure::new("error filtering pem: found junk"))
    } else {
        Ok(Value::str(out))
    }
}

/// `filterCertChain`
pub(super) fn filter_chain(context: &mut Context<'_, '_>, kind: &Str, text: &Str) -> Result<Value, Failure> {
    let mut certificates = Vec::new();
    let mut rest: &[u8] = text;
    while let (Some(block), after) = pem::decode(rest) {
        context.spend(100)?;
        certificates.push(Certificate::parse(&block.bytes)?);
        rest = after;
    }
    let ordered = order(context, &certificates)?;
    let chosen: &[Certificate] = match (&**kind, ordered.as_slice()) {
        (b"leaf", [first, ..]) if !first.is_root() => std::slice::from_ref(first),
        (b"intermediate", [_, others @ ..]) => {
            let until = others.iter().position(Certificate::is_root).unwrap_or(others.len());
            &others[..until]
        }
        (b"root", [.., last]) if last.is_root() => std::slice::from_ref(last),
        _ => &[],
    };
    Ok(Value::str(self::text(chosen)))
}

/// `certSANs`
pub(super) fn names(text: &Str) -> Result<Value, Failure> {
    let (block, _) = pem::decode(from_first_block(text));
    let block = block.ok_or(Failure::new("failed to decode PEM block"))?;
    let certificate =
        Certificate::parse(&block.bytes).map_err(|failure| failure.prefixed("failed to parse certificate: "))?;
    let Names { dns, addresses, mail, uris } = certificate.names;
    Ok(Value::strings([dns, addresses, mail, uris].concat()))
}

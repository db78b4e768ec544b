//! Certificates, laid out as Go's `crypto/x509` lays them out.

use std::{any::Any, net::IpAddr};

use aws_lc_rs::digest::{SHA256, digest};
use x509_parser::{extensions::ParsedExtension, parse_x509_certificate};

use super::{
    super::{
        args::Args,
        dates::{Time, utc_civil},
        encoding::from_base64,
        random,
    },
    certificate, internal,
    keys::{self, Key, Signer},
};
use crate::{
    env::Context,
    error::Failure,
    eso::{
        der::{self, Bytes},
        pem,
    },
    value::{List, Named, Object, Str, Type, Value},
};

static CERTIFICATE_TYPE: Named = Named { name: "sprig.certificate", kind: "struct" };

/// `sprig.certificate`
pub(super) const CERTIFICATE: Type = Type::Named(&CERTIFICATE_TYPE);

/// A certificate and its key, both in PEM.
pub(super) struct Certificate {
    cert: Str,
    key: Str,
}

impl Object for Certificate {
    fn type_of(&self) -> &'static Named {
        &CERTIFICATE_TYPE
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        vec![("Cert", Value::Str(self.cert.clone())), ("Key", Value::Str(self.key.clone()))]
    }

    fn equals(&self, other: &dyn Object) -> Option<bool> {
        let other: &Self = other.as_any().downcast_ref()?;
        Some(self.cert == other.cert && self.key == other.key)
    }
}

/// Base64 of a certificate and of its key, looked at and handed on.
pub(super) fn build_custom(context: &mut Context<'_, '_>, cert: &Str, key: &Str) -> Result<Value, Failure> {
    let cert = from_base64(cert).map_err(|_| Failure::new("unable to decode base64 certificate"))?;
    let key = from_base64(key).map_err(|_| Failure::new("unable to decode base64 private key"))?;
    let block = pem::decode(&cert).0.ok_or(Failure::new("unable to decode certificate"))?;
    match parse_x509_certificate(&block.bytes) {
        Ok(([], _)) => {}
        _ => return Err(Failure::new("error parsing certificate: decodedCert.Bytes")),
    }
    keys::parse(context, &key).map_err(|failure| failure.prefixed("error parsing private key: "))?;
    Ok(certificate(Certificate { cert: cert.into(), key: key.into() }))
}

/// What a certificate is to say.
struct Wanted {
    name: Str,
    addresses: Vec<IpAddr>,
    hosts: Vec<Str>,
    days: i64,
    is_authority: bool,
}

/// Who signs, if it is another.
struct Issuer {
    subject: Vec<u8>,
    key_id: Vec<u8>,
    signer: Signer,
}

/// The certificate of an authority.
pub(super) fn authority(context: &mut Context<'_, '_>, name: &Str, days: i64, key: &Key) -> Result<Value, Failure> {
    let wanted = Wanted { name: name.clone(), addresses: Vec::new(), hosts: Vec::new(), days, is_authority: true };
    make(context, &wanted, key, None)
}

/// Name, addresses, hosts and days, which all other functions take first.
fn wanted(args: &mut Args<'_>) -> Result<Wanted, Failure> {
    let (name, addresses, hosts, days) = (args.string()?, args.list()?, args.list()?, args.int()?);
    Ok(Wanted {
        name: name.clone(),
        addresses: texts(addresses, "error parsing ip: not a string")?
            .iter()
            .map(|text| text.as_utf8().and_then(|text| text.parse().ok()).ok_or(Failure::new("error parsing ip")))
            .collect::<Result<_, _>>()?,
        hosts: texts(hosts, "error processing alternate dns name: not a string")?,
        days,
        is_authority: false,
    })
}

fn texts(list: &List, complaint: &'static str) -> Result<Vec<Str>, Failure> {
    list.iter()
        .map(|item| match item {
            Value::Str(text) => Ok(text.clone()),
            _ => Err(Failure::new(complaint)),
        })
        .collect()
}

/// The key that comes as the last argument, or a new one.
fn given_key(context: &mut Context<'_, '_>, args: &mut Args<'_>) -> Result<Key, Failure> {
    match args.rest() {
        [Value::Str(text)] => keys::parse(context, text).map_err(|failure| failure.prefixed("parsing private key: ")),
        [] => keys::rsa(context, keys::CERTIFICATE_BITS),
        _ => Err(internal()),
    }
}

/// A certificate signed by its own key.
pub(super) fn self_signed(context: &mut Context<'_, '_>, args: &[Value]) -> Result<Value, Failure> {
    let mut args = Args(args);
    let wanted = wanted(&mut args)?;
    let key = given_key(context, &mut args)?;
    make(context, &wanted, &key, None)
}

/// A certificate signed by an authority.
pub(super) fn signed(context: &mut Context<'_, '_>, args: &[Value]) -> Result<Value, Failure> {
    let mut args = Args(args);
    let wanted = wanted(&mut args)?;
    let issuer = issuer(context, args.any()?.downcast().ok_or_else(internal)?)?;
    let key = given_key(context, &mut args)?;
    make(context, &wanted, &key, Some(issuer))
}

fn issuer(context: &Context<'_, '_>, authority: &Certificate) -> Result<Issuer, Failure> {
    let block = pem::decode(&authority.cert).0.ok_or(Failure::new("unable to decode certificate"))?;
    let parsed = match parse_x509_certificate(&block.bytes) {
        Ok(([], parsed)) => parsed,
        _ => return Err(Failure::new("error parsing certificate: decodedSignerCert.Bytes")),
    };
    let key =
        keys::parse(context, &authority.key).map_err(|failure| failure.prefixed("error parsing private key: "))?;
    let signer = key.signer().ok_or_else(unsupported)?;
    if parsed.public_key().subject_public_key.data.as_ref() != signer.public_bits() {
        return Err(Failure::new(
            "error creating certificate: x509: provided PrivateKey doesn't match parent's PublicKey",
        ));
    }
    let key_id = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    });
    Ok(Issuer { subject: parsed.subject().as_raw().to_vec(), key_id: key_id.unwrap_or_default(), signer })
}

fn unsupported() -> Failure {
    Failure::new("error creating certificate: x509: only RSA, ECDSA and Ed25519 keys supported")
}

fn failed() -> Failure {
    Failure::new("error creating certificate")
}

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const EXT_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
const SUBJECT_KEY_ID: &[u8] = &[0x55, 0x1d, 14];
const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 35];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];

const BOOLEAN_TRUE: &[u8] = &[1, 1, 0xff];
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION_3: &[u8] = &[0xa0, 3, 2, 1, 2];

/// Makes a certificate and signs it.
fn make(context: &mut Context<'_, '_>, wanted: &Wanted, key: &Key, issuer: Option<Issuer>) -> Result<Value, Failure> {
    let own = key.signer().ok_or_else(unsupported)?;
    let subject = subject(&wanted.name)?;
    let (signer, issuer_name, authority_key_id) = match &issuer {
        Some(issuer) if issuer.subject == *subject => (&issuer.signer, issuer.subject.as_slice(), &[][..]),
        Some(issuer) => (&issuer.signer, issuer.subject.as_slice(), issuer.key_id.as_slice()),
        None => (&own, subject.as_slice(), &[][..]),
    };
    let now = Time::now(context);
    let until = now.plus(wanted.days.wrapping_mul(24 * 3_600_000_000_000));
    let validity = der::sequence(&[&time(&now)?, &time(&until)?]);
    let extensions = extensions(wanted, &own, subject.len() <= 2, authority_key_id)?;
    let contents = der::sequence(&[
        VERSION_3,
        &der::unsigned(&random::bytes(context, 16)?),
        &signer.algorithm,
        issuer_name,
        &validity,
        &subject,
        &own.public,
        &der::structure(der::field(3), &[&extensions]),
    ]);
    let signature = signer.sign(&contents).ok_or_else(failed)?;
    let cert = der::sequence(&[&contents, &signer.algorithm, &der::bits(&signature)]);
    Ok(certificate(Certificate {
        cert: pem::text("CERTIFICATE", &cert).into(),
        key: key.to_pem().ok_or_else(failed)?.into(),
    }))
}

fn subject(name: &Str) -> Result<Bytes, Failure> {
    let is_printable = |byte: &u8| byte.is_ascii_alphanumeric() || b"'()+,-./ :=?".contains(byte);
    let text = match () {
        () if name.is_empty() => return Ok(der::sequence(&[])),
        () if name.iter().all(is_printable) => der::element(PRINTABLE_STRING, name),
        () if name.as_utf8().is_some() => der::element(UTF8_STRING, name),
        () => return Err(Failure::new("error creating certificate: asn1: string not valid UTF-8")),
    };
    let attribute = der::sequence(&[&der::oid(COMMON_NAME), &text]);
    Ok(der::sequence(&[&der::structure(der::SET, &[&attribute])]))
}

fn time(time: &Time) -> Result<Bytes, Failure> {
    let civil = utc_civil(time);
    let rest = format!("{:02}{:02}{:02}{:02}{:02}Z", civil.month, civil.day, civil.hour, civil.minute, civil.second);
    match civil.year {
        year @ 1950..2050 => Ok(der::element(UTC_TIME, format!("{:02}{rest}", year % 100).as_bytes())),
        year @ 0..=9999 => Ok(der::element(GENERALIZED_TIME, format!("{year:04}{rest}").as_bytes())),
        _ => Err(Failure::new("error creating certificate: cannot represent time as GeneralizedTime")),
    }
}

fn extensions(wanted: &Wanted, own: &Signer, no_subject: bool, authority_key_id: &[u8]) -> Result<Bytes, Failure> {
    let extension = |oid: &[u8], critical: bool, value: &[u8]| {
        let critical = if critical { BOOLEAN_TRUE } else { &[] };
        der::sequence(&[&der::oid(oid), critical, &der::element(der::OCTET_STRING, value)])
    };
    // Signatures and keys; for an authority certificates too.
    let usage: [u8; 2] = if wanted.is_authority { [2, 0xa4] } else { [5, 0xa0] };
    let purposes = der::sequence(&[&der::oid(SERVER_AUTH), &der::oid(CLIENT_AUTH)]);
    let constraints = der::sequence(&[if wanted.is_authority { BOOLEAN_TRUE } else { &[] }]);
    let mut all = vec![
        extension(KEY_USAGE, true, &der::element(der::BIT_STRING, &usage)),
        extension(EXT_KEY_USAGE, false, &purposes),
        extension(BASIC_CONSTRAINTS, true, &constraints),
    ];
    if wanted.is_authority {
        let id = digest(&SHA256, own.public_bits());
        let id = id.as_ref().get(..20).unwrap_or_default();
        all.push(extension(SUBJECT_KEY_ID, false, &der::element(der::OCTET_STRING, id)));
    }
    if !authority_key_id.is_empty() {
        let id = der::sequence(&[&der::element(der::plain_field(0), authority_key_id)]);
        all.push(extension(AUTHORITY_KEY_ID, false, &id));
    }
    if !wanted.hosts.is_empty() || !wanted.addresses.is_empty() {
        all.push(extension(SUBJECT_ALT_NAME, no_subject, &names(wanted)?));
    }
    let parts: Vec<&[u8]> = all.iter().map(|extension| extension.as_slice()).collect();
    Ok(der::sequence(&parts))
}

fn names(wanted: &Wanted) -> Result<Bytes, Failure> {
    if !wanted.hosts.iter().all(|host| host.is_ascii()) {
        return Err(Failure::new("error creating certificate: x509: host name is not ASCII"));
    }
    let hosts = wanted.hosts.iter().map(|host| der::element(der::plain_field(2), host));
    let addresses = wanted.addresses.iter().map(|address| match address.to_canonical() {
        IpAddr::V4(address) => der::element(der::plain_field(7), &address.octets()),
        IpAddr::V6(address) => der::element(der::plain_field(7), &address.octets()),
    });
    let all: Vec<Bytes> = hosts.chain(addresses).collect();
    let parts: Vec<&[u8]> = all.iter().map(|name| name.as_slice()).collect();
    Ok(der::sequence(&parts))
}

//! The functions that External Secrets Operator adds to sprig's.
//!
//! Modules, in reading order: [`mod@yaml`] `toYaml` and `fromYaml`; [`mod@certificates`], [`mod@pkcs12`], [`mod@jwk`] and
//! [`mod@decrypt`] the functions over keys and certificates, whose encodings are [`keyferry_keys`]'s.

mod yaml;
mod certificates;
mod pkcs12;
mod jwk;
mod decrypt;

pub(crate) use keyferry_keys::{der, pem, private as keys};
pub use yaml::{string_map, value as yaml_value};

use crate::{
    error::Failure,
    function::{Function, f},
    sig,
    value::{Str, Value},
};

/// ESO's own functions.
pub const FUNCTIONS: &[Function] = &[
    f("toYaml", sig!(any => string), yaml::to_yaml),
    f("fromYaml", sig!(string => dict), yaml::from_yaml),
    f("filterPEM", sig!(string, string => string), |context, args| {
        let [kind, text] = strings(args)?;
        certificates::filter_pem(context, kind, text)
    }),
    f("filterCertChain", sig!(string, string => string), |context, args| {
        let [kind, text] = strings(args)?;
        certificates::filter_chain(context, kind, text)
    }),
    f("certSANs", sig!(string => strings), |_, args| {
        let [text] = strings(args)?;
        certificates::names(text)
    }),
    f("pkcs12key", sig!(string => string), |context, args| {
        let [file] = strings(args)?;
        pkcs12::key(context, b"", file)
    }),
    f("pkcs12keyPass", sig!(string, string => string), |context, args| {
        let [password, file] = strings(args)?;
        pkcs12::key(context, password, file)
    }),
    f("pkcs12cert", sig!(string => string), |context, args| {
        let [file] = strings(args)?;
        pkcs12::certificates(context, b"", file)
    }),
    f("pkcs12certPass", sig!(string, string => string), |context, args| {
        let [password, file] = strings(args)?;
        pkcs12::certificates(context, password, file)
    }),
    f("pemToPkcs12", sig!(string, string => string), |context, args| {
        let [certificate, key] = strings(args)?;
        pkcs12::pack(context, certificate, key, b"", false)
    }),
    f("pemToPkcs12Pass", sig!(string, string, string => string), |context, args| {
        let [certificate, key, password] = strings(args)?;
        pkcs12::pack(context, certificate, key, password, false)
    }),
    f("fullPemToPkcs12", sig!(string, string => string), |context, args| {
        let [certificates, key] = strings(args)?;
        pkcs12::pack(context, certificates, key, b"", true)
    }),
    f("fullPemToPkcs12Pass", sig!(string, string, string => string), |context, args| {
        let [certificates, key, password] = strings(args)?;
        pkcs12::pack(context, certificates, key, password, true)
    }),
    f("pemTruststoreToPKCS12", sig!(string => string), |context, args| {
        let [certificates] = strings(args)?;
        pkcs12::trust(context, certificates, b"")
    }),
    f("pemTruststoreToPKCS12Pass", sig!(string, string => string), |context, args| {
        let [certificates, password] = strings(args)?;
        pkcs12::trust(context, certificates, password)
    }),
    f("jwkPublicKeyPem", sig!(string => string), |context, args| {
        let [key] = strings(args)?;
        jwk::public(context, key)
    }),
    f("jwkPrivateKeyPem", sig!(string => string), |context, args| {
        let [key] = strings(args)?;
        jwk::private(context, key)
    }),
    f("rsaDecrypt", sig!(string, string, string, string => string), |context, args| {
        let [scheme, hash, ciphertext, key] = strings(args)?;
        decrypt::rsa_decrypt(context, scheme, hash, ciphertext, key)
    }),
    f("hexdec", sig!(string => string), |context, args| {
        let [text] = strings(args)?;
        Ok(decrypt::hexdec(context, text))
    }),
];

/// The arguments, which the renderer has checked to be so many strings.
fn strings<const N: usize>(args: &[Value]) -> Result<[&Str; N], Failure> {
    let texts: Vec<&Str> = args
        .iter()
        .filter_map(|value| match value {
            Value::Str(text) => Some(text),
            _ => None,
        })
        .collect();
    texts.try_into().map_err(|_| Failure::new("wrong arguments"))
}

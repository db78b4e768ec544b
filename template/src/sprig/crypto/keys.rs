//! Private keys, made and read.

use aws_lc_rs::{
    encoding::AsDer,
    rsa::{KeyPair, KeySize},
    signature::{
        self, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
        EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    },
};

use super::{super::random, dsa};
use crate::{
    env::Context,
    error::{Failure, Limit},
    eso::{
        der::{self, Bytes, Reader},
        keys::{CURVES, PrivateKey, public_ed25519, public_rsa},
        pem,
    },
    value::Str,
};

/// Bits of an RSA key by itself.
const BITS: usize = 4096;

/// Bits of an RSA key made for a certificate.
pub(super) const CERTIFICATE_BITS: usize = 2048;

/// Steps of evaluation that such a key is worth: they take their time.
fn steps(bits: usize) -> u64 {
    match bits {
        CERTIFICATE_BITS => 20_000,
        _ => 100_000,
    }
}

/// Steps of a look: some 100 ms, and some 400.
fn work(bits: usize) -> u64 {
    match bits {
        CERTIFICATE_BITS => 10_000_000,
        _ => 40_000_000,
    }
}

/// Steps of evaluation that a DSA key is worth.
const DSA_STEPS: u64 = 300_000;

/// Steps of a look: a second or two.
const DSA_WORK: u64 = 150_000_000;

/// A private key of a kind sprig can read.
pub(super) enum Key {
    /// One that can sign certificates, or nearly so.
    Usable(PrivateKey),
    /// One that cannot.
    Dsa,
}

fn allowed(context: &mut Context<'_, '_>, bits: usize) -> Result<(), Failure> {
    let most = context.limits().rsa_bits;
    if bits <= most { Ok(()) } else { Err(Failure::limit(Limit::KeyBits, most as u64)) }
}

/// A new RSA key. It comes from the library's own randomness, which is that of the operating system.
pub(super) fn rsa(context: &mut Context<'_, '_>, bits: usize) -> Result<Key, Failure> {
    let failed = || Failure::new("error generating rsa key");
    allowed(context, bits)?;
    context.spend(steps(bits))?;
    context.work(work(bits))?;
    let size = match bits {
        CERTIFICATE_BITS => KeySize::Rsa2048,
        _ => KeySize::Rsa4096,
    };
    let pair = KeyPair::generate(size).map_err(|_| failed())?;
    let pkcs8 = pair.as_der().map_err(|_| failed())?;
    PrivateKey::pkcs8(pkcs8.as_ref()).map(Key::Usable).ok_or_else(failed)
}

/// A new private key in PEM, or a text that says that there is no such kind.
pub(super) fn generate(context: &mut Context<'_, '_>, kind: &Str) -> Result<Str, Failure> {
    let failed = || Failure::new("failed to generate private key");
    let key = match &**kind {
        b"" | b"rsa" => rsa(context, BITS)?,
        b"dsa" => {
            allowed(context, dsa::BITS)?;
            context.spend(DSA_STEPS)?;
            context.work(DSA_WORK)?;
            return Ok(pem::text("DSA PRIVATE KEY", &dsa::generate(context)?).into());
        }
        b"ecdsa" => {
            // All but one in four billion numbers are keys.
            let drawn = (0..8).find_map(|_| match random::bytes(context, 32) {
                Ok(scalar) => PrivateKey::ec(&CURVES[0], &scalar).map(Ok),
                Err(failure) => Some(Err(failure)),
            });
            Key::Usable(drawn.ok_or_else(failed)??)
        }
        b"ed25519" => Key::Usable(PrivateKey::Ed25519(random::bytes(context, 32)?.into())),
        other => return Ok([b"Unknown type ", other].concat().into()),
    };
    key.to_pem().map(Into::into).ok_or_else(failed)
}

/// Reads a private key from PEM.
pub(super) fn parse(context: &Context<'_, '_>, text: &[u8]) -> Result<Key, Failure> {
    let block = pem::decode(text).0.ok_or(Failure::new("no PEM data in input"))?;
    context.work(PrivateKey::work(block.bytes.len()))?;
    let (key, complaint) = match block.kind.as_slice() {
        b"PRIVATE KEY" => (PrivateKey::pkcs8(&block.bytes), "decoding PEM as PKCS#8"),
        b"RSA PRIVATE KEY" => (PrivateKey::pkcs1(&block.bytes), "parsing RSA private key from PEM"),
        b"EC PRIVATE KEY" => (PrivateKey::sec1(&block.bytes, None), "parsing EC private key from PEM"),
        b"DSA PRIVATE KEY" => {
            if dsa::is_key(&block.bytes) {
                return Ok(Key::Dsa);
            } else {
                (None, "parsing DSA private key from PEM")
            }
        }
        kind if kind.ends_with(b" PRIVATE KEY") => (None, "invalid private key type"),
        _ => (None, "no private key data in PEM block"),
    };
    key.map(Key::Usable).ok_or(Failure::new(complaint))
}

const SHA256_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const ECDSA_WITH_SHA2: [&[u8]; 3] = [
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2],
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3],
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4],
];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];

/// How a key signs.
pub(super) struct Signer {
    /// The algorithm, as certificates name it.
    pub algorithm: Bytes,
    /// The public key, as certificates hold it.
    pub public: Bytes,
    pair: Pair,
}

enum Pair {
    Rsa(Box<KeyPair>),
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    /// In the form that is customary for the kind.
    pub(super) fn to_pem(&self) -> Option<Bytes> {
        match self {
            Self::Usable(key @ PrivateKey::Rsa(_)) => {
                let pkcs8 = key.to_pkcs8()?;
                let mut outer = Reader::only(&pkcs8, der::SEQUENCE)?;
                outer.small()?;
                outer.sequence()?;
                Some(pem::text("RSA PRIVATE KEY", outer.take(der::OCTET_STRING)?))
            }
            Self::Usable(PrivateKey::Ec { curve, scalar, point }) => {
                let key = der::sequence(&[
                    &der::small(1),
                    &der::element(der::OCTET_STRING, scalar),
                    &der::structure(der::field(0), &[&der::oid(curve.oid)]),
                    &der::structure(der::field(1), &[&der::bits(point)]),
                ]);
                Some(pem::text("EC PRIVATE KEY", &key))
            }
            Self::Usable(key) => Some(pem::text("PRIVATE KEY", &key.to_pkcs8()?)),
            Self::Dsa => None,
        }
    }

    /// The key as one that signs; `None` for kinds that sign no certificates.
    pub(super) fn signer(&self) -> Option<Signer> {
        let Self::Usable(key) = self else { return None };
        Some(match key {
            PrivateKey::Rsa(_) => {
                let pair = KeyPair::from_pkcs8(&key.to_pkcs8()?).ok()?;
                let public = pair.public_key();
                Signer {
                    algorithm: der::sequence(&[&der::oid(SHA256_WITH_RSA), &[der::NULL, 0]]),
                    public: public_rsa(
                        public.modulus().big_endian_without_leading_zero(),
                        public.exponent().big_endian_without_leading_zero(),
                    ),
                    pair: Pair::Rsa(Box::new(pair)),
                }
            }
            PrivateKey::Ec { curve, point, .. } => {
                let algorithms =
                    [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P521_SHA512_ASN1_SIGNING];
                let place = CURVES.iter().position(|known| known.oid == curve.oid)?;
                let spki = der::sequence(&[&der::oid(EC_PUBLIC_KEY), &der::oid(curve.oid)]);
                Signer {
                    algorithm: der::sequence(&[&der::oid(ECDSA_WITH_SHA2[place])]),
                    public: der::sequence(&[&spki, &der::bits(point)]),
                    pair: Pair::Ec(EcdsaKeyPair::from_pkcs8(algorithms[place], &key.to_pkcs8()?).ok()?),
                }
            }
            PrivateKey::Ed25519(seed) => {
                let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
                Signer {
                    algorithm: der::sequence(&[&der::oid(ED25519)]),
                    public: public_ed25519(pair.public_key().as_ref()),
                    pair: Pair::Ed25519(pair),
                }
            }
            PrivateKey::X25519(_) => return None,
        })
    }
}

impl Signer {
    /// The bits of the public key, without its algorithm.
    pub(super) fn public_bits(&self) -> &[u8] {
        let bits = || {
            let mut outer = Reader::only(&self.public, der::SEQUENCE)?;
            outer.sequence()?;
            outer.take(der::BIT_STRING)?.get(1..)
        };
        bits().unwrap_or_default()
    }

    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = aws_lc_rs::rand::SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut out).ok()?;
                Some(out)
            }
            Pair::Ec(pair) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Some(pair.sign(message).as_ref().to_vec()),
        }
    }
}

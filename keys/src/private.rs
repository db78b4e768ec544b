//! Private and public keys, read and written in the forms that Go's `crypto/x509` knows, and in the members of a JWK.

use aws_lc_rs::{
    agreement::{self, Algorithm, ECDH_P256, ECDH_P384, ECDH_P521},
    signature::{Ed25519KeyPair, KeyPair as _},
};
use num_bigint::BigUint;
use zeroize::Zeroizing;

use crate::der::{self, Bytes, Reader};

const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const X25519: &[u8] = &[0x2b, 0x65, 0x6e];

/// An elliptic curve.
pub struct Curve {
    /// As DER names it.
    pub oid: &'static [u8],
    /// As JWK names it.
    pub name: &'static str,
    /// Bytes of a coordinate.
    pub size: usize,
    agreement: &'static Algorithm,
}

/// The curves that there are.
pub static CURVES: [Curve; 3] = [
    Curve { oid: &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7], name: "P-256", size: 32, agreement: &ECDH_P256 },
    Curve { oid: &[0x2b, 0x81, 4, 0, 0x22], name: "P-384", size: 48, agreement: &ECDH_P384 },
    Curve { oid: &[0x2b, 0x81, 4, 0, 0x23], name: "P-521", size: 66, agreement: &ECDH_P521 },
];

/// The numbers of an RSA key.
pub struct Rsa {
    n: BigUint,
    e: BigUint,
    d: BigUint,
    p: BigUint,
    q: BigUint,
}

/// A private key.
pub enum PrivateKey {
    /// RSA.
    Rsa(Box<Rsa>),
    /// A point on a curve.
    Ec {
        /// The curve.
        curve: &'static Curve,
        /// The secret number.
        scalar: Bytes,
        /// The public point, uncompressed.
        point: Vec<u8>,
    },
    /// The seed of a key for signatures.
    Ed25519(Bytes),
    /// A key for agreements.
    X25519(Bytes),
}

impl Rsa {
    /// A key of these numbers, if they fit together.
    pub fn new(n: &[u8], e: &[u8], d: &[u8], p: &[u8], q: &[u8]) -> Option<Self> {
        let [n, e, d, p, q] = [n, e, d, p, q].map(BigUint::from_bytes_be);
        let one = BigUint::from(1u8);
        let fits = p > one
            && q > one
            && &p * &q == n
            && e > one
            && e.bits() <= 31
            && e.bit(0)
            && [&p, &q].iter().all(|prime| prime.bit(0) && &d * &e % (*prime - &one) == one);
        fits.then_some(Self { n, e, d, p, q })
    }

    /// All its numbers, in the order of PKCS #1, by the names that JWK gives them.
    fn members(&self) -> Option<Vec<(&'static str, Bytes)>> {
        let one = BigUint::from(1u8);
        let (dp, dq) = (&self.d % (&self.p - &one), &self.d % (&self.q - &one));
        let inverse = self.q.modinv(&self.p)?;
        let numbers = [&self.n, &self.e, &self.d, &self.p, &self.q, &dp, &dq, &inverse];
        let names = ["n", "e", "d", "p", "q", "dp", "dq", "qi"];
        Some(names.into_iter().zip(numbers.map(|number| Zeroizing::new(number.to_bytes_be()))).collect())
    }

    /// PKCS #1.
    pub fn to_pkcs1(&self) -> Option<Bytes> {
        let numbers: Vec<Bytes> = self.members()?.iter().map(|(_, number)| der::unsigned(number)).collect();
        let mut parts: Vec<&[u8]> = vec![&[der::INTEGER, 1, 0]];
        parts.extend(numbers.iter().map(|number| number.as_slice()));
        Some(der::sequence(&parts))
    }
}

impl PrivateKey {
    /// Steps of a look that reading, checking and using a key of so many bytes is worth: a key of usual size some
    /// milliseconds, and eight times as much for one of twice its size. Nothing else bounds its numbers.
    pub fn work(bytes: usize) -> u64 {
        const KILOBYTE: u64 = 200_000;
        let size = (bytes as u64).div_ceil(128);
        size.saturating_pow(3).saturating_mul(KILOBYTE / 512)
    }

    /// Reads PKCS #1, PKCS #8 or SEC 1.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Self::pkcs1(bytes).or_else(|| Self::pkcs8(bytes)).or_else(|| Self::sec1(bytes, None))
    }

    /// Reads PKCS #1.
    pub fn pkcs1(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::only(bytes, der::SEQUENCE)?;
        if reader.small()? != 0 {
            return None;
        }
        let mut next = || reader.unsigned();
        let (n, e, d, p, q) = (next()?, next()?, next()?, next()?, next()?);
        let (dp, dq, inverse) = (next()?, next()?, next()?);
        reader.end()?;
        let key = Rsa::new(n, e, d, p, q)?;
        let one = BigUint::from(1u8);
        let fits = &key.d % (&key.p - &one) == BigUint::from_bytes_be(dp)
            && &key.d % (&key.q - &one) == BigUint::from_bytes_be(dq)
            && key.q.modinv(&key.p)? == BigUint::from_bytes_be(inverse);
        fits.then(|| Self::Rsa(Box::new(key)))
    }

    /// Reads PKCS #8.
    pub fn pkcs8(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::only(bytes, der::SEQUENCE)?;
        reader.small()?;
        let mut algorithm = reader.sequence()?;
        let key = reader.take(der::OCTET_STRING)?;
        let octets = |key| Some(Zeroizing::new(Reader::only(key, der::OCTET_STRING)?.rest().to_vec()));
        match algorithm.oid()? {
            RSA_ENCRYPTION => Self::pkcs1(key),
            EC_PUBLIC_KEY => {
                let oid = algorithm.oid();
                Self::sec1(key, CURVES.iter().find(|curve| Some(curve.oid) == oid))
            }
            ED25519 => {
                algorithm.end()?;
                octets(key).filter(|seed| seed.len() == 32).map(Self::Ed25519)
            }
            X25519 => {
                algorithm.end()?;
                octets(key).filter(|seed| seed.len() == 32).map(Self::X25519)
            }
            _ => None,
        }
    }

    /// Reads SEC 1; the curve is named inside, unless the one who calls knows it.
    pub fn sec1(bytes: &[u8], curve: Option<&'static Curve>) -> Option<Self> {
        let mut reader = Reader::only(bytes, der::SEQUENCE)?;
        if reader.small()? != 1 {
            return None;
        }
        let scalar = reader.take(der::OCTET_STRING)?;
        let named = reader.take(der::field(0)).and_then(|field| Reader::new(field).oid());
        let curve = match curve {
            Some(curve) => curve,
            None => CURVES.iter().find(|curve| Some(curve.oid) == named)?,
        };
        Self::ec(curve, scalar)
    }

    /// A key on a curve; the point that goes with it is computed.
    pub fn ec(curve: &'static Curve, scalar: &[u8]) -> Option<Self> {
        let scalar = padded(scalar, curve.size)?;
        let point = agreement::PrivateKey::from_private_key(curve.agreement, &scalar)
            .and_then(|key| key.compute_public_key().map_err(Into::into))
            .ok()?;
        Some(Self::Ec { curve, scalar, point: point.as_ref().to_vec() })
    }

    /// A key on a curve, if the point is the one that goes with it.
    pub fn ec_with_point(curve: &'static Curve, scalar: &[u8], x: &[u8], y: &[u8]) -> Option<Self> {
        let wanted = point(curve, x, y)?;
        Self::ec(curve, scalar).filter(|key| matches!(key, Self::Ec { point, .. } if *point == wanted))
    }

    /// A key for signatures, if the public one is the one that goes with it.
    pub fn ed25519(seed: &[u8], public: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        (pair.public_key().as_ref() == public).then(|| Self::Ed25519(Zeroizing::new(seed.to_vec())))
    }

    /// PKCS #8, as Go writes it.
    pub fn to_pkcs8(&self) -> Option<Bytes> {
        let oid = |oid| der::sequence(&[&der::oid(oid)]);
        let (algorithm, key) = match self {
            Self::Rsa(key) => (der::sequence(&[&der::oid(RSA_ENCRYPTION), &[der::NULL, 0]]), key.to_pkcs1()?),
            Self::Ec { curve, scalar, point } => {
                let public = der::structure(der::field(1), &[&der::bits(point)]);
                let key = der::sequence(&[&der::small(1), &der::element(der::OCTET_STRING, scalar), &public]);
                (der::sequence(&[&der::oid(EC_PUBLIC_KEY), &der::oid(curve.oid)]), key)
            }
            Self::Ed25519(seed) => (oid(ED25519), der::element(der::OCTET_STRING, seed)),
            Self::X25519(seed) => (oid(X25519), der::element(der::OCTET_STRING, seed)),
        };
        Some(der::sequence(&[&der::small(0), &algorithm, &der::element(der::OCTET_STRING, &key)]))
    }

    /// The private key in the members of a JWK; `None` where JWK has no form for it that anybody imports.
    pub fn to_jwk(&self) -> Option<Jwk> {
        match self {
            Self::Rsa(key) => Some(Jwk { kty: "RSA", crv: None, members: key.members()? }),
            Self::Ec { curve, scalar, point } => {
                let (x, y) = point.get(1..)?.split_at_checked(curve.size)?;
                let members = vec![("x", x.to_vec().into()), ("y", y.to_vec().into()), ("d", scalar.clone())];
                Some(Jwk { kty: "EC", crv: Some(curve.name), members })
            }
            Self::Ed25519(_) | Self::X25519(_) => None,
        }
    }

    /// The public key, as a certificate holds it; `None` where none is made of such a key.
    pub fn public_bits(&self) -> Option<Vec<u8>> {
        match self {
            Self::Rsa(key) => {
                let [n, e] = [&key.n, &key.e].map(|number| der::unsigned(&number.to_bytes_be()));
                Some(der::sequence(&[&n, &e]).to_vec())
            }
            Self::Ec { point, .. } => Some(point.clone()),
            Self::Ed25519(_) | Self::X25519(_) => None,
        }
    }

    /// Is it an RSA key?
    pub fn is_rsa(&self) -> bool {
        matches!(self, Self::Rsa(_))
    }
}

/// A key in the members of a JWK.
pub struct Jwk {
    /// The kind: `RSA` or `EC`.
    pub kty: &'static str,
    /// The curve.
    pub crv: Option<&'static str>,
    /// Its numbers by their names, the private ones among them.
    pub members: Vec<(&'static str, Bytes)>,
}

/// A public key in PKIX form.
pub fn public_rsa(n: &[u8], e: &[u8]) -> Bytes {
    let key = der::sequence(&[&der::unsigned(n), &der::unsigned(e)]);
    let algorithm = der::sequence(&[&der::oid(RSA_ENCRYPTION), &[der::NULL, 0]]);
    der::sequence(&[&algorithm, &der::bits(&key)])
}

/// A public key in PKIX form, if the point is on the curve.
pub fn public_ec(curve: &'static Curve, x: &[u8], y: &[u8]) -> Option<Bytes> {
    let algorithm = der::sequence(&[&der::oid(EC_PUBLIC_KEY), &der::oid(curve.oid)]);
    Some(der::sequence(&[&algorithm, &der::bits(&point(curve, x, y)?)]))
}

/// A public key in PKIX form.
pub fn public_ed25519(key: &[u8]) -> Bytes {
    der::sequence(&[&der::sequence(&[&der::oid(ED25519)]), &der::bits(key)])
}

/// An uncompressed point, if it is on the curve.
fn point(curve: &'static Curve, x: &[u8], y: &[u8]) -> Option<Vec<u8>> {
    let (x, y) = (padded(x, curve.size)?, padded(y, curve.size)?);
    let point = [[4].as_slice(), &x, &y].concat();
    let key = agreement::UnparsedPublicKey::new(curve.agreement, &point);
    agreement::ParsedPublicKey::try_from(&key).is_ok().then_some(point)
}

/// A number with zeros before it, or with superfluous ones taken away.
fn padded(bytes: &[u8], size: usize) -> Option<Bytes> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let digits = &bytes[start..];
    let zeros = size.checked_sub(digits.len())?;
    Some(Zeroizing::new([&vec![0; zeros], digits].concat()))
}

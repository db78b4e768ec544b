//! Keys from passwords, and the ciphers that files are protected with.

use std::num::NonZeroU32;

use aes::{Aes128, Aes192, Aes256};
use aws_lc_rs::{
    digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512},
    hmac, pbkdf2,
};
use des::TdesEde3;
use keyferry_go::strconv::unicode;
use rc2::Rc2;
use rc2::cipher::{BlockDecrypt, BlockEncrypt, KeyInit, generic_array::GenericArray, typenum::Unsigned};
use zeroize::Zeroizing;

use crate::Meter;
use crate::der::{self, Bytes, Reader};

const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
const PBMAC1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 14];
const HMAC_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 7];
const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 9];
const HMAC_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 11];
const SHA1_OID: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];
const SHA256_OID: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const SHA512_OID: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];
const AES_128_CBC: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 2];
const AES_192_CBC: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 22];
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 42];
const TRIPLE_DES: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 1, 3];
const RC2_128: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 1, 5];
const RC2_40: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 1, 6];

/// Rounds of key derivation in files that are written.
const ROUNDS: u32 = 2048;

/// Random bytes that go into a key or begin a chain of blocks.
pub type Salt = [u8; SALT];

const SALT: usize = 16;

/// A password in the two forms that files use.
pub struct Password {
    /// Two bytes for each character and two zeros; nothing at all for some writers' empty password.
    wide: Bytes,
    plain: Zeroizing<String>,
}

impl Password {
    /// A password in Go's text.
    ///
    /// # Errors
    /// Where a character can't be written in two bytes.
    pub fn new(text: &[u8]) -> Result<Self, &'static str> {
        let mut wide = Zeroizing::new(Vec::with_capacity(text.len() * 2 + 2));
        let mut plain = Zeroizing::new(String::with_capacity(text.len()));
        for (rune, _) in unicode::runes(text) {
            let code = u16::try_from(u32::from(rune))
                .map_err(|_| "the password has characters that cannot be encoded in UCS-2")?;
            wide.extend_from_slice(&code.to_be_bytes());
            plain.push(rune);
        }
        wide.extend_from_slice(&[0, 0]);
        Ok(Self { wide, plain })
    }

    /// Whether it is the empty one.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty()
    }

    /// The empty password in its other form.
    pub fn nothing() -> Self {
        Self { wide: Bytes::default(), plain: Zeroizing::default() }
    }
}

/// A hash that keys are derived with, and the size of its blocks.
#[derive(Clone, Copy)]
struct Hash {
    digest: &'static digest::Algorithm,
    hmac: hmac::Algorithm,
    block: usize,
}

const SHA1: Hash = Hash { digest: &SHA1_FOR_LEGACY_USE_ONLY, hmac: hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, block: 64 };

impl Hash {
    fn by_digest(oid: &[u8]) -> Option<Self> {
        match oid {
            SHA1_OID => Some(SHA1),
            SHA256_OID => Some(Self { digest: &SHA256, hmac: hmac::HMAC_SHA256, block: 64 }),
            SHA512_OID => Some(Self { digest: &SHA512, hmac: hmac::HMAC_SHA512, block: 128 }),
            _ => None,
        }
    }

    fn by_hmac(oid: &[u8]) -> Option<Self> {
        Self::by_digest(match oid {
            HMAC_SHA1 => SHA1_OID,
            HMAC_SHA256 => SHA256_OID,
            HMAC_SHA512 => SHA512_OID,
            _ => return None,
        })
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self.digest.output_len() {
            20 => pbkdf2::PBKDF2_HMAC_SHA1,
            32 => pbkdf2::PBKDF2_HMAC_SHA256,
            _ => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

const UNSUPPORTED: &str = "the PKCS #12 file uses something that is not supported";

const MALFORMED: &str = "malformed PKCS #12 file";

/// The key derivation of PKCS #12 itself (RFC 7292, appendix B.2); `purpose` is 1 for a key, 2 for an initialization
/// vector, 3 for a MAC key.
fn derive<M: Meter>(
    meter: &mut M,
    hash: Hash,
    password: &Password,
    salt: &[u8],
    rounds: u32,
    purpose: u8,
    len: usize,
) -> Result<Bytes, M::Error> {
    let stretch = |bytes: &[u8]| -> Bytes {
        let full = bytes.len().div_ceil(hash.block) * hash.block;
        Zeroizing::new(bytes.iter().copied().cycle().take(if bytes.is_empty() { 0 } else { full }).collect())
    };
    let mut input = Zeroizing::new([stretch(salt).as_slice(), &stretch(&password.wide)].concat());
    let mut out = Zeroizing::new(Vec::with_capacity(len + hash.block));
    while out.len() < len {
        meter.spend(u64::from(rounds))?;
        let mut start = digest::Context::new(hash.digest);
        start.update(&vec![purpose; hash.block]);
        start.update(&input);
        let mut block = Zeroizing::new(start.finish().as_ref().to_vec());
        for _ in 1..rounds {
            let next = digest::digest(hash.digest, &block);
            block.copy_from_slice(next.as_ref());
        }
        out.extend_from_slice(&block);
        // Adds the block and one to each part of the input.
        let addend: Bytes = Zeroizing::new(block.iter().copied().cycle().take(hash.block).collect());
        for part in input.chunks_exact_mut(hash.block) {
            let mut carry = 1u16;
            for (byte, add) in part.iter_mut().zip(addend.iter()).rev() {
                carry += u16::from(*byte) + u16::from(*add);
                *byte = carry as u8;
                carry >>= 8;
            }
        }
    }
    out.truncate(len);
    Ok(out)
}

/// The parameters of PBKDF2: salt, rounds, length of the key, hash.
struct Pbkdf2<'d> {
    salt: &'d [u8],
    rounds: NonZeroU32,
    len: Option<usize>,
    hash: Hash,
}

impl<'d> Pbkdf2<'d> {
    fn read(mut algorithm: Reader<'d>) -> Result<Self, &'static str> {
        if algorithm.oid() != Some(PBKDF2) {
            return Err(UNSUPPORTED);
        }
        let mut parameters = algorithm.sequence().ok_or(MALFORMED)?;
        let salt = parameters.take(der::OCTET_STRING).ok_or(UNSUPPORTED)?;
        let rounds = parameters.small().and_then(NonZeroU32::new).ok_or(MALFORMED)?;
        let len = parameters.small().map(|len| len as usize);
        let hash = match parameters.sequence().and_then(|mut hash| hash.oid()) {
            Some(oid) => Hash::by_hmac(oid).ok_or(UNSUPPORTED)?,
            None => SHA1,
        };
        Ok(Self { salt, rounds, len, hash })
    }

    fn derive<M: Meter>(&self, meter: &mut M, password: &Password, len: usize) -> Result<Bytes, M::Error> {
        let blocks = len.div_ceil(self.hash.digest.output_len()) as u64;
        meter.spend(u64::from(self.rounds.get()).saturating_mul(2 * blocks))?;
        let mut key = Zeroizing::new(vec![0; len]);
        pbkdf2::derive(self.hash.pbkdf2(), self.rounds, self.salt, password.plain.as_bytes(), &mut key);
        Ok(key)
    }
}

/// Decrypts what an algorithm with its parameters says about a password.
///
/// # Errors
/// Where the password is another, the algorithm is not known, or it asks for too much.
pub fn decrypt<M: Meter>(
    meter: &mut M,
    mut algorithm: Reader<'_>,
    password: &Password,
    data: &[u8],
) -> Result<Bytes, M::Error> {
    let oid = algorithm.oid().ok_or(MALFORMED)?;
    let mut parameters = algorithm.sequence().ok_or(MALFORMED)?;
    if oid == PBES2 {
        let derivation = Pbkdf2::read(parameters.sequence().ok_or(MALFORMED)?)?;
        let mut scheme = parameters.sequence().ok_or(MALFORMED)?;
        let (name, vector) = (scheme.oid(), scheme.take(der::OCTET_STRING).ok_or(MALFORMED)?);
        let mut key = |len| derivation.derive(meter, password, len);
        return match name {
            Some(AES_128_CBC) => Ok(cbc::<Aes128>(&key(16)?, vector, data)?),
            Some(AES_192_CBC) => Ok(cbc::<Aes192>(&key(24)?, vector, data)?),
            Some(AES_256_CBC) => Ok(cbc::<Aes256>(&key(32)?, vector, data)?),
            _ => Err(UNSUPPORTED.into()),
        };
    }
    let salt = parameters.take(der::OCTET_STRING).ok_or(MALFORMED)?;
    let rounds = parameters.small().ok_or(MALFORMED)?;
    let mut derived = |purpose, len| derive(meter, SHA1, password, salt, rounds, purpose, len);
    match oid {
        TRIPLE_DES => Ok(cbc::<TdesEde3>(&derived(1, 24)?, &derived(2, 8)?, data)?),
        RC2_128 => Ok(cbc::<Rc2>(&derived(1, 16)?, &derived(2, 8)?, data)?),
        RC2_40 => Ok(cbc::<Rc2>(&derived(1, 5)?, &derived(2, 8)?, data)?),
        _ => Err(UNSUPPORTED.into()),
    }
}

/// Decrypts blocks that are chained, and takes the padding off.
fn cbc<C: BlockDecrypt + KeyInit>(key: &[u8], vector: &[u8], data: &[u8]) -> Result<Bytes, &'static str> {
    let size = C::BlockSize::USIZE;
    let wrong = "decryption error, incorrect padding";
    let cipher = C::new_from_slice(key).map_err(|_| MALFORMED)?;
    if vector.len() != size {
        return Err(MALFORMED);
    }
    if data.is_empty() || !data.len().is_multiple_of(size) {
        return Err(wrong);
    }
    let mut out = Zeroizing::new(data.to_vec());
    let mut before = vector;
    for (block, sealed) in out.chunks_exact_mut(size).zip(data.chunks_exact(size)) {
        cipher.decrypt_block(GenericArray::from_mut_slice(block));
        block.iter_mut().zip(before).for_each(|(byte, before)| *byte ^= before);
        before = sealed;
    }
    let padding = usize::from(out.last().copied().unwrap_or(0));
    let kept = out.len().checked_sub(padding).filter(|_| (1..=size).contains(&padding)).ok_or(wrong)?;
    if out[kept..].iter().all(|byte| usize::from(*byte) == padding) {
        out.truncate(kept);
        Ok(out)
    } else {
        Err(wrong)
    }
}

/// Encrypts with AES-256 and PBKDF2: the algorithm with its parameters, and the data.
///
/// # Errors
/// Where it asks for too much.
pub fn encrypt<M: Meter>(
    meter: &mut M,
    password: &Password,
    data: &[u8],
    [salt, vector]: [Salt; 2],
) -> Result<(Bytes, Bytes), M::Error> {
    let rounds = NonZeroU32::new(ROUNDS).unwrap_or(NonZeroU32::MIN);
    let hash = Hash::by_digest(SHA256_OID).ok_or(UNSUPPORTED)?;
    let key = Pbkdf2 { salt: &salt, rounds, len: None, hash }.derive(meter, password, 32)?;
    let cipher = Aes256::new_from_slice(&key).map_err(|_| UNSUPPORTED)?;
    let padding = SALT - data.len() % SALT;
    let mut out = Zeroizing::new([data, &vec![padding as u8; padding]].concat());
    let mut before = vector;
    for block in out.chunks_exact_mut(SALT) {
        block.iter_mut().zip(before).for_each(|(byte, before)| *byte ^= before);
        cipher.encrypt_block(GenericArray::from_mut_slice(block));
        before.copy_from_slice(block);
    }
    let named = |oid: &[u8], parameters: &[u8]| der::sequence(&[&der::oid(oid), parameters]);
    let prf = der::sequence(&[&der::oid(HMAC_SHA256)]);
    let derivation = der::sequence(&[&der::element(der::OCTET_STRING, &salt), &der::small(ROUNDS), &prf]);
    let parameters =
        der::sequence(&[&named(PBKDF2, &derivation), &named(AES_256_CBC, &der::element(der::OCTET_STRING, &vector))]);
    Ok((named(PBES2, &parameters), out))
}

/// Does the MAC of a file fit the password?
///
/// # Errors
/// Where it can't be read or asks for too much.
pub fn verify<M: Meter>(meter: &mut M, mac: Reader<'_>, password: &Password, data: &[u8]) -> Result<bool, M::Error> {
    let mut mac = mac;
    let mut info = mac.sequence().ok_or(MALFORMED)?;
    let mut algorithm = info.sequence().ok_or(MALFORMED)?;
    let digest = info.take(der::OCTET_STRING).ok_or(MALFORMED)?;
    let salt = mac.take(der::OCTET_STRING).ok_or(MALFORMED)?;
    let rounds = if mac.is_empty() { 1 } else { mac.small().ok_or(MALFORMED)? };
    let (hash, key) = match algorithm.oid().ok_or(MALFORMED)? {
        PBMAC1 => {
            let mut parameters = algorithm.sequence().ok_or(MALFORMED)?;
            let derivation = Pbkdf2::read(parameters.sequence().ok_or(MALFORMED)?)?;
            let name = parameters.sequence().and_then(|mut name| name.oid()).ok_or(MALFORMED)?;
            let len = derivation.len.filter(|len| (1..=1024).contains(len)).ok_or(MALFORMED)?;
            (Hash::by_hmac(name).ok_or(UNSUPPORTED)?, derivation.derive(meter, password, len)?)
        }
        oid => {
            let hash = Hash::by_digest(oid).ok_or(UNSUPPORTED)?;
            (hash, derive(meter, hash, password, salt, rounds, 3, hash.digest.output_len())?)
        }
    };
    Ok(hmac::verify(&hmac::Key::new(hash.hmac, &key), data, digest).is_ok())
}

/// The MAC of a file.
///
/// # Errors
/// Where it asks for too much.
pub fn sign<M: Meter>(meter: &mut M, password: &Password, data: &[u8], salt: Salt) -> Result<Bytes, M::Error> {
    let hash = Hash::by_digest(SHA256_OID).ok_or(UNSUPPORTED)?;
    let key = derive(meter, hash, password, &salt, ROUNDS, 3, hash.digest.output_len())?;
    let tag = hmac::sign(&hmac::Key::new(hash.hmac, &key), data);
    let algorithm = der::sequence(&[&der::oid(SHA256_OID)]);
    let info = der::sequence(&[&algorithm, &der::element(der::OCTET_STRING, tag.as_ref())]);
    Ok(der::sequence(&[&info, &der::element(der::OCTET_STRING, &salt), &der::small(ROUNDS)]))
}

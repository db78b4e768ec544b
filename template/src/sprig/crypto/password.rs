//! Passwords: hashed, and derived from a master password.

use aws_lc_rs::{
    digest::{SHA1_FOR_LEGACY_USE_ONLY, digest},
    hmac,
};
use base64::{
    Engine,
    alphabet::BCRYPT,
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};
use zeroize::Zeroizing;

use super::{
    super::{args::Args, encoding::BASE64},
    internal,
};
use crate::{
    env::Context,
    error::{Failure, Limit},
    value::{Str, Value},
};

/// What Go's bcrypt takes unless told otherwise.
const COST: u32 = 10;

/// bcrypt looks at no more bytes of a password.
const MOST_BYTES: usize = 72;

/// Steps of evaluation that a hash is worth: some tens of milliseconds.
const BCRYPT_STEPS: u64 = 10_000;

/// The same for a derived password.
const SCRYPT_STEPS: u64 = 30_000;

/// Steps of a look: some 40 ms.
const BCRYPT_WORK: u64 = 4_000_000;

/// Steps of a look: some 160 ms.
const SCRYPT_WORK: u64 = 16_000_000;

const BCRYPT_BASE64: GeneralPurpose = GeneralPurpose::new(&BCRYPT, NO_PAD);

/// The hash of a password, or a text that says why there is none.
pub(super) fn bcrypt(context: &mut Context<'_, '_>, password: &Str) -> Result<String, Failure> {
    let most = context.limits().bcrypt_cost;
    if most < COST {
        return Err(Failure::limit(Limit::HashCost, most.into()));
    }
    if password.len() > MOST_BYTES {
        return Ok("failed to encrypt string with bcrypt: bcrypt: password length exceeds 72 bytes".to_owned());
    }
    context.spend(BCRYPT_STEPS)?;
    context.work(BCRYPT_WORK)?;
    let mut salt = [0; 16];
    context.random().fill(&mut salt)?;
    let mut terminated = password.to_zeroizing();
    terminated.push(0);
    terminated.truncate(MOST_BYTES);
    let hash = bcrypt::bcrypt(COST, salt, &terminated);
    let hash = hash.get(..23).unwrap_or_default();
    Ok(format!("$2a${COST:02}${}{}", BCRYPT_BASE64.encode(salt), BCRYPT_BASE64.encode(hash)))
}

/// A line of a password file. Sprig 3.3.0 takes a name and a password; the copy of it in External Secrets Operator takes
/// the algorithm too, `sha` or `bcrypt`.
pub(super) fn htpasswd(
    context: &mut Context<'_, '_>,
    user: &Str,
    password: &Str,
    algorithm: &[Value],
) -> Result<Vec<u8>, Failure> {
    let is_sha = matches!(algorithm, [Value::Str(algorithm)] if **algorithm == *b"sha");
    match (user.contains(&b':'), is_sha) {
        (true, _) => Ok([b"invalid username: ", &**user].concat()),
        (false, true) => {
            let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, password);
            Ok([user, b":{SHA}".as_slice(), BASE64.encode(sum).as_bytes()].concat())
        }
        (false, false) => Ok([user, b":".as_slice(), bcrypt(context, password)?.as_bytes()].concat()),
    }
}

const SEED: &[u8] = b"com.lyndir.masterpassword";

/// Kinds of passwords and what they look like, a letter for a set of characters.
const TEMPLATES: [(&str, &[&str]); 6] = [
    ("maximum", &["anoxxxxxxxxxxxxxxxxx", "axxxxxxxxxxxxxxxxxno"]),
    (
        "long",
        &[
            "CvcvnoCvcvCvcv",
            "CvcvCvcvnoCvcv",
            "CvcvCvcvCvcvno",
            "CvccnoCvcvCvcv",
            "CvccCvcvnoCvcv",
            "CvccCvcvCvcvno",
            "CvcvnoCvccCvcv",
            "CvcvCvccnoCvcv",
            "CvcvCvccCvcvno",
            "CvcvnoCvcvCvcc",
            "CvcvCvcvnoCvcc",
            "CvcvCvcvCvccno",
            "CvccnoCvccCvcv",
            "CvccCvccnoCvcv",
            "CvccCvccCvcvno",
            "CvcvnoCvccCvcc",
            "CvcvCvccnoCvcc",
            "CvcvCvccCvccno",
            "CvccnoCvcvCvcc",
            "CvccCvcvnoCvcc",
            "CvccCvcvCvccno",
        ],
    ),
    ("medium", &["CvcnoCvc", "CvcCvcno"]),
    ("short", &["Cvcn"]),
    ("basic", &["aaanaaan", "aannaaan", "aaannaaa"]),
    ("pin", &["nnnn"]),
];

/// The characters a letter of a template stands for.
fn characters(letter: u8) -> &'static [u8] {
    match letter {
        b'C' => b"BCDFGHJKLMNPQRSTVWXYZ",
        b'v' => b"aeiou",
        b'c' => b"bcdfghjklmnpqrstvwxyz",
        b'a' => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz",
        b'n' => b"0123456789",
        b'o' => b"@&%?,=[]_:-+*$#!'^~;()/.",
        _ => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz0123456789!@#$%^&*()",
    }
}

/// A password for a site, by the algorithm of Master Password: counter, kind, master password, user, site.
pub(super) fn derive_password(context: &mut Context<'_, '_>, args: &[Value]) -> Result<Value, Failure> {
    let (counter, rest) = match args {
        [Value::Uint(_, counter), rest @ ..] => (*counter as u32, rest),
        _ => return Err(internal()),
    };
    let mut rest = Args(rest);
    let (kind, password, user, site) = (rest.string()?, rest.string()?, rest.string()?, rest.string()?);
    let known = TEMPLATES.iter().find(|(name, _)| name.as_bytes() == &**kind);
    let templates = match known {
        Some((_, templates)) => *templates,
        None => return Ok(Value::str([b"cannot find password template ", &**kind].concat())),
    };
    context.spend(SCRYPT_STEPS)?;
    context.work(SCRYPT_WORK)?;
    let broken = |_| Failure::new("internal error: parameters of scrypt");
    let salt = [SEED, &(user.len() as u32).to_be_bytes(), user].concat();
    let mut key = Zeroizing::new([0; 64]);
    let parameters = scrypt::Params::new(15, 8, 2, 64).map_err(broken)?;
    scrypt::scrypt(password, &salt, &parameters, &mut *key).map_err(|_| Failure::new("failed to derive password"))?;
    let message = [SEED, &(site.len() as u32).to_be_bytes(), site, &counter.to_be_bytes()].concat();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*key), &message);
    let (first, seed) = tag.as_ref().split_first().ok_or_else(internal)?;
    let template = templates[usize::from(*first) % templates.len()];
    let derived = template.bytes().zip(seed).map(|(letter, byte)| {
        let set = characters(letter);
        set[usize::from(*byte) % set.len()]
    });
    Ok(Value::str(derived.collect::<Vec<u8>>()))
}

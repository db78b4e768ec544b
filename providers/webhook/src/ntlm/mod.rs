//! NTLM: a login that holds for a connection, by the second version of its responses (MS-NLMP).
//!
//! A client says what it knows (`NEGOTIATE_MESSAGE`), the server answers with a challenge (`CHALLENGE_MESSAGE`), and the
//! client with what only somebody who knows the password can make of it (`AUTHENTICATE_MESSAGE`). In HTTP all three are
//! base64 in headers. Nothing is signed or sealed later, so that no key is exchanged.
//!
//! What a server sends is anybody's: it is bounded, and each length and place in it is checked before it is followed.
//!
//! Modules, in reading order: `challenge` what the server asks, `keys` what is made of the password, `binding` the channel
//! that a login holds for, `headers` the way through HTTP.

mod challenge;
mod keys;
mod binding;
mod headers;

use std::time::{SystemTime, UNIX_EPOCH};

use keyferry_provider_core::SecretBytes;

use challenge::Challenge;
pub use challenge::Wrong;
pub use headers::{Offer, Scheme};

const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";

/// Text is UTF-16.
const UNICODE: u32 = 0x0000_0001;

/// What we know, and ask for: the name of the target, NTLM, its signing key, extended session security, the target's own
/// description, versions, and keys of 128 and 56 bits.
const KNOWN: u32 =
    UNICODE | 0x0000_0004 | 0x0000_0200 | 0x0000_8000 | 0x0008_0000 | 0x0080_0000 | VERSIONED | 0xA000_0000;

/// A version stands in the message.
const VERSIONED: u32 = 0x0200_0000;

/// The version that we say: a client that knows revision 15 of the protocol, which is the only one there is.
const VERSION: [u8; 8] = [10, 0, 0, 0, 0, 0, 0, 15];

/// The longest name, domain included, in units of UTF-16. Windows takes no longer one.
const LONGEST_NAME: usize = 1024;

/// A user, and the key that their password comes to. The password itself is not kept.
pub struct Login {
    /// In UTF-16.
    user: SecretBytes,
    /// In UTF-16; of a name such as `user@domain` there is none, as its server finds it out.
    domain: SecretBytes,
    key: SecretBytes,
}

/// To whom a login speaks.
pub struct Peer<'a> {
    /// The server's name, as the URL has it.
    pub host: &'a str,
    /// Its certificate, where the connection has one that we see.
    pub certificate: Option<&'a [u8]>,
}

/// What a response takes beside the challenge: it must never be the same twice.
pub struct Fresh {
    nonce: [u8; 8],
    /// In tenths of microseconds since 1601.
    now: u64,
}

impl Fresh {
    /// By the system's clock and random numbers; `None` where there are none.
    pub fn new() -> Option<Self> {
        let mut nonce = [0; 8];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since_1601 =
            u64::try_from(since.as_nanos() / 100).unwrap_or_default().saturating_add(116_444_736_000_000_000);
        Some(Self { nonce, now: since_1601 })
    }
}

/// What a client says first.
pub fn negotiate() -> [u8; 40] {
    let mut message = [0; 40];
    message[..8].copy_from_slice(SIGNATURE);
    message[8] = 1;
    message[12..16].copy_from_slice(&KNOWN.to_le_bytes());
    // Neither a domain nor a workstation of ours: two fields of nothing, whose place is the end.
    message[20] = 40;
    message[28] = 40;
    message[32..].copy_from_slice(&VERSION);
    message
}

impl Login {
    /// By a name such as `DOMAIN\user`, `user@domain` or `user`; `None` where it is longer than any.
    pub fn new(name: &str, password: &str) -> Option<Self> {
        if name.encode_utf16().count() > LONGEST_NAME {
            return None;
        }
        let (domain, user) = name.split_once('\\').unwrap_or(("", name));
        let key = keys::of_password(password, user, domain);
        Some(Self { user: keys::utf16(user.chars()), domain: keys::utf16(domain.chars()), key })
    }

    /// What answers a challenge that came after this first message.
    pub fn authenticate(
        &self,
        negotiate: &[u8],
        challenge: &[u8],
        peer: &Peer<'_>,
        fresh: &Fresh,
    ) -> Result<SecretBytes, Wrong> {
        let asked = Challenge::read(challenge)?;
        let time = asked.time().unwrap_or_else(|| fresh.now.to_le_bytes());
        let described = asked.described_to(peer);
        let made = keys::respond(&self.key, asked.nonce, &fresh.nonce, &time, &described);
        // Who sends the time checks the whole exchange, and not the older response.
        let older = if asked.time().is_some() { SecretBytes::new(vec![0; 24]) } else { made.older };
        let fields: [&[u8]; 6] =
            [older.expose(), made.response.expose(), self.domain.expose(), self.user.expose(), &[], &[]];
        let mut message = framed(fields, KNOWN & asked.flags)?;
        if asked.time().is_some() {
            let whole = keys::mac(made.session.expose(), &[negotiate, challenge, &message]);
            message[CHECKED..CHECKED + 16].copy_from_slice(whole.expose());
        }
        Ok(SecretBytes::new(message))
    }
}

/// Where an `AUTHENTICATE_MESSAGE` has the code that covers all three messages.
const CHECKED: usize = 72;

/// Where what its fields lead to begins.
const PAYLOAD: usize = 88;

/// An `AUTHENTICATE_MESSAGE` of these fields: the older response and the response, the domain, the user, the workstation,
/// and the session key. The code that covers the whole exchange is nothing yet.
fn framed(fields: [&[u8]; 6], flags: u32) -> Result<Vec<u8>, Wrong> {
    let payload: usize = fields.iter().map(|field| field.len()).sum();
    // At once, so that nothing is left behind by growing.
    let mut message = Vec::with_capacity(PAYLOAD + payload);
    message.extend_from_slice(SIGNATURE);
    message.extend_from_slice(&3_u32.to_le_bytes());
    let mut at = PAYLOAD;
    for field in fields {
        let (Ok(length), Ok(place)) = (u16::try_from(field.len()), u32::try_from(at)) else {
            return Err(Wrong::TooLong);
        };
        message.extend_from_slice(&length.to_le_bytes());
        message.extend_from_slice(&length.to_le_bytes());
        message.extend_from_slice(&place.to_le_bytes());
        at += field.len();
    }
    message.extend_from_slice(&flags.to_le_bytes());
    message.extend_from_slice(if flags & VERSIONED == 0 { &[0; 8] } else { &VERSION });
    message.extend_from_slice(&[0; 16]);
    for field in fields {
        message.extend_from_slice(field);
    }
    Ok(message)
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;

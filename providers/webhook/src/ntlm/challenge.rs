//! What the server asks, and how it describes itself.

use super::{Peer, SIGNATURE, UNICODE, binding, keys};

/// What is wrong with a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is no message of NTLM, or not the one that comes next.
    NoChallenge,
    /// A length or place in it leads elsewhere.
    Broken,
    /// It does not know Unicode, or not that we do.
    NoUnicode,
    /// What answers it would not fit.
    TooLong,
}

/// What a server may say of itself, by numbers (`AV_PAIR`).
mod said {
    /// The end.
    pub const END: u16 = 0;
    /// What whoever answers has done.
    pub const FLAGS: u16 = 6;
    /// The server's time.
    pub const TIME: u16 = 7;
    /// To whom whoever answers means to speak.
    pub const TARGET: u16 = 9;
    /// The channel through which they speak.
    pub const CHANNEL: u16 = 10;
}

/// In [`said::FLAGS`]: a code covers the whole exchange.
const COVERED: u32 = 2;

/// A challenge, read.
pub struct Challenge<'a> {
    /// What is agreed upon.
    pub flags: u32,
    /// What nobody could know before.
    pub nonce: [u8; 8],
    /// What the server says of itself, without the end; `None` where it says nothing.
    pairs: Option<Vec<(u16, &'a [u8])>>,
}

impl<'a> Challenge<'a> {
    /// Reads one.
    pub fn read(message: &'a [u8]) -> Result<Self, Wrong> {
        let number = |at: usize| message.get(at..at + 4).and_then(|four| four.try_into().ok()).map(u32::from_le_bytes);
        if !message.starts_with(SIGNATURE) || number(8) != Some(2) {
            return Err(Wrong::NoChallenge);
        }
        let flags = number(20).ok_or(Wrong::Broken)?;
        if flags & UNICODE == 0 {
            return Err(Wrong::NoUnicode);
        }
        let nonce = message.get(24..32).and_then(|eight| eight.try_into().ok()).ok_or(Wrong::Broken)?;
        // Old servers end here.
        let pairs = match (message.get(40..42), number(44)) {
            (Some(&[low, high]), Some(at)) if (low, high) != (0, 0) => {
                let (length, at) = (usize::from(u16::from_le_bytes([low, high])), usize::try_from(at).ok());
                let end = at.and_then(|at| at.checked_add(length));
                let described = at.zip(end).and_then(|(at, end)| message.get(at..end)).ok_or(Wrong::Broken)?;
                Some(pairs(described).ok_or(Wrong::Broken)?)
            }
            _ => None,
        };
        Ok(Self { flags, nonce, pairs })
    }

    fn said(&self, what: u16) -> Option<&'a [u8]> {
        self.pairs.as_deref()?.iter().find(|(name, _)| *name == what).map(|(_, value)| *value)
    }

    /// The server's time, where it tells.
    pub fn time(&self) -> Option<[u8; 8]> {
        self.said(said::TIME)?.try_into().ok()
    }

    /// What the server says of itself, with what we say to it: to whom we speak and through which channel, and whether a
    /// code covers the exchange. Nothing where the server says nothing.
    pub fn described_to(&self, peer: &Peer<'_>) -> Vec<u8> {
        let Some(pairs) = &self.pairs else { return Vec::new() };
        let ours = [said::FLAGS, said::TARGET, said::CHANNEL];
        let mut out = Vec::new();
        let mut say = |name: u16, value: &[u8]| {
            // No value is longer: the server's come from a length of this size, and a host is 255 bytes at most.
            let length = u16::try_from(value.len()).unwrap_or_default();
            out.extend_from_slice(&name.to_le_bytes());
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&value[..usize::from(length)]);
        };
        for (name, value) in pairs.iter().filter(|(name, _)| !ours.contains(name)) {
            say(*name, value);
        }
        let flags = self.said(said::FLAGS).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes);
        let covered = if self.time().is_some() { COVERED } else { 0 };
        if flags | covered != 0 {
            say(said::FLAGS, &(flags | covered).to_le_bytes());
        }
        // Of no channel we say so.
        say(said::CHANNEL, &peer.certificate.and_then(binding::of).unwrap_or_default());
        say(said::TARGET, keys::utf16("HTTP/".chars().chain(peer.host.chars())).expose());
        say(said::END, &[]);
        out
    }
}

/// Pairs of a name and a value, up to the end; `None` where they are cut off.
fn pairs(mut rest: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut found = Vec::new();
    loop {
        let (head, tail) = rest.split_at_checked(4)?;
        let name = u16::from_le_bytes([head[0], head[1]]);
        if name == said::END {
            return Some(found);
        }
        let (value, after) = tail.split_at_checked(usize::from(u16::from_le_bytes([head[2], head[3]])))?;
        found.push((name, value));
        rest = after;
    }
}

//! Addresses: ranges of them, and those that only the operator's own machine may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    /// How many bits all of it share.
    bits: u32,
}

impl Network {
    /// What clouds hand the node's own credentials out from, and all else on the link.
    pub const LINK_LOCAL: [Self; 3] = [
        Self { first: IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), bits: 16 },
        Self { first: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), bits: 10 },
        Self { first: IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0)), bits: 32 },
    ];

    /// Whether `address` is one of it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let differ = match (self.first, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(a.to_bits() ^ b.to_bits()) << 96,
            (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() ^ b.to_bits(),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        differ.leading_zeros() >= self.bits
    }
}

impl FromStr for Network {
    type Err = String;

    /// Reads `10.0.0.0/8`, or one address.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a range of addresses: write it like 10.0.0.0/8, fd00::/8 or 127.0.0.1");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let first: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        match bits.unwrap_or(most) {
            bits if bits <= most => Ok(Self { first, bits }),
            _ => Err(wrong()),
        }
    }
}

/// What `address` is, where only the operator's own machine may reach it: itself, its link, or a service that its cloud
/// keeps for it, which hands the machine's credentials to whoever asks.
pub(crate) fn local(address: IpAddr) -> Option<&'static str> {
    const LOOPBACK: &str = "a loopback address";
    const LINK_LOCAL: &str = "a link-local address";
    const METADATA: &str = "an address of a cloud's metadata service";
    match address {
        // Of Alibaba, Azure and Oracle; that of all others is link-local.
        IpAddr::V4(v4) if [[100, 100, 100, 200], [168, 63, 129, 16], [192, 0, 0, 192]].contains(&v4.octets()) => {
            Some(METADATA)
        }
        IpAddr::V4(v4) if v4.is_link_local() => Some(LINK_LOCAL),
        // A connection to 0.0.0.0 is one to ourselves.
        IpAddr::V4(v4) if v4.is_loopback() || v4.octets()[0] == 0 => Some(LOOPBACK),
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) if v6.is_loopback() || v6.is_unspecified() => Some(LOOPBACK),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(LINK_LOCAL),
        // Of AWS and Google.
        IpAddr::V6(v6) if [[0xfd00, 0xec2], [0xfd20, 0xce]].contains(&[v6.segments()[0], v6.segments()[1]]) => {
            Some(METADATA)
        }
        IpAddr::V6(_) => None,
    }
}

/// The IPv4 address that an IPv6 address leads to: mapped, translated or compatible (`::ffff:a.b.c.d`, `::ffff:0:a.b.c.d`,
/// `::a.b.c.d`), behind NAT64 (`64:ff9b::`, `64:ff9b:1::`), 6to4 (`2002:aabb:ccdd::`), Teredo (`2001:0:`, at its end and
/// inverted) or ISATAP (`::5efe:a.b.c.d` at its end). Else the address itself.
pub(crate) fn behind(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if v6.is_loopback() || v6.is_unspecified() {
        return address;
    }
    let last = v6.to_bits() as u32;
    let v4 = match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0 | 1, ..] => last,
        [0x2002, high, low, ..] => u32::from(high) << 16 | u32::from(low),
        [0x2001, 0, ..] => !last,
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => last,
        _ => return address,
    };
    IpAddr::V4(Ipv4Addr::from_bits(v4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_text() {
        let contains = |network: &str, address: &str| {
            network.parse::<Network>().map(|network| network.contains(address.parse().unwrap()))
        };
        assert_eq!(contains("10.0.0.0/8", "10.255.0.1"), Ok(true));
        assert_eq!(contains("10.0.0.0/8", "11.0.0.1"), Ok(false));
        assert_eq!(contains("0.0.0.0/0", "11.0.0.1"), Ok(true));
        assert_eq!(contains("0.0.0.0/0", "::1"), Ok(false));
        assert_eq!(contains("::/0", "fe80::1"), Ok(true));
        assert_eq!(contains("127.0.0.1", "127.0.0.2"), Ok(false));
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0/8", "localhost", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}

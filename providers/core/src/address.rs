//! Where a store of a namespace must not lead: to what only the operator's own machine may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

/// Which addresses the URLs of a store may lead to.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    anywhere: bool,
    allowed: Arc<[Network]>,
}

impl Addresses {
    /// All that there are: for stores of the whole cluster, whose authors are trusted with it.
    pub fn anywhere() -> Self {
        Self { anywhere: true, ..Self::default() }
    }

    /// All but those that only the operator's own machine may reach, and of these `allowed`.
    pub fn not_local_but(allowed: impl IntoIterator<Item = Network>) -> Self {
        Self { anywhere: false, allowed: allowed.into_iter().collect() }
    }

    /// What makes `address` one that the store must not lead to; `None` where it may.
    pub fn refuse(&self, address: IpAddr) -> Option<&'static str> {
        if self.anywhere {
            return None;
        }
        let behind = behind(address);
        let kind = local(behind).or_else(|| local(address))?;
        let is_allowed = |network: &Network| network.contains(address) || network.contains(behind);
        (!self.allowed.iter().any(is_allowed)).then_some(kind)
    }
}

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
fn local(address: IpAddr) -> Option<&'static str> {
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
fn behind(address: IpAddr) -> IpAddr {
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

    fn refuse(addresses: &Addresses, address: &str) -> Option<&'static str> {
        addresses.refuse(address.parse().unwrap())
    }

    #[test]
    fn what_only_the_machine_may_reach_in_every_guise() {
        let of_namespaces = Addresses::default();
        for (address, expected) in [
            ("169.254.169.254", Some("link-local")),
            ("169.254.0.0", Some("link-local")),
            ("169.253.255.255", None),
            ("169.255.0.0", None),
            ("127.0.0.1", Some("loopback")),
            ("127.255.255.254", Some("loopback")),
            ("0.0.0.0", Some("loopback")),
            ("0.1.2.3", Some("loopback")),
            ("10.0.0.1", None),
            ("100.100.100.200", Some("metadata")),
            ("100.100.100.201", None),
            ("168.63.129.16", Some("metadata")),
            ("192.0.0.192", Some("metadata")),
            ("fe80::1", Some("link-local")),
            ("febf::1", Some("link-local")),
            ("fec0::1", None),
            ("::1", Some("loopback")),
            ("::", Some("loopback")),
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::ffff:169.254.169.254", Some("link-local")),
            ("::ffff:0:169.254.169.254", Some("link-local")),
            ("::ffff:10.0.0.1", None),
            ("::169.254.169.254", Some("link-local")),
            ("::127.0.0.1", Some("loopback")),
            ("64:ff9b::a9fe:a9fe", Some("link-local")),
            ("64:ff9b::6464:64c8", Some("metadata")),
            ("64:ff9b:1::7f00:1", Some("loopback")),
            ("64:ff9b::a00:1", None),
            ("2002:a9fe:a9fe::1", Some("link-local")),
            ("2002:7f00:1::", Some("loopback")),
            ("2001:0:4136:e378:8000:63bf:80ff:fffe", Some("loopback")),
            ("2001:db8::5efe:a9fe:a9fe", Some("link-local")),
            ("fd00:ec2::254", Some("metadata")),
            ("fd00:ec2::23", Some("metadata")),
            ("fd00:ec3::254", None),
            ("fd20:ce::254", Some("metadata")),
            ("2001:db8::1", None),
        ] {
            let told = refuse(&of_namespaces, address);
            assert_eq!(told.is_some(), expected.is_some(), "{address}: {told:?}");
            assert!(told.unwrap_or_default().contains(expected.unwrap_or_default()), "{address}: {told:?}");
            assert_eq!(refuse(&Addresses::anywhere(), address), None, "{address}");
        }
    }

    #[test]
    fn named_ranges_are_let_through_and_no_others() {
        let allowed = ["127.0.0.0/8", "::1", "fe80::/10"].map(|text| text.parse().unwrap());
        let addresses = Addresses::not_local_but(allowed);
        for (address, may) in [
            ("127.0.0.1", true),
            ("::ffff:127.9.9.9", true),
            ("::1", true),
            ("::", false),
            ("0.0.0.0", false),
            ("fe80::1", true),
            ("169.254.169.254", false),
            ("10.0.0.1", true),
        ] {
            assert_eq!(refuse(&addresses, address).is_none(), may, "{address}");
        }
        let link_local = Addresses::not_local_but(Network::LINK_LOCAL);
        assert_eq!(refuse(&link_local, "169.254.169.254"), None);
        assert_eq!(refuse(&link_local, "fd00:ec2::254"), None);
        assert!(refuse(&link_local, "127.0.0.1").is_some());
    }

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

//! Where a store of a namespace must not lead: to what only the node may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether `address` is link-local, or one of the addresses that stand for it: clouds keep their metadata services
/// there, which hand the node's own credentials to whoever asks.
///
/// That is 169.254.0.0/16 and fe80::/10, the former also mapped, translated or embedded into IPv6, and
/// fd00:ec2::/32, which AWS uses for its services on the link.
pub fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6.segments()[..2] == [0xfd00, 0xec2]
                || embedded_v4(v6).is_some_and(|v4| v4.is_link_local())
        }
    }
}

/// The IPv4 address that an IPv6 address leads to: mapped (::ffff:a.b.c.d), compatible (::a.b.c.d), behind NAT64
/// (64:ff9b::a.b.c.d) or 6to4 (2002:aabb:ccdd::).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, ..] = address.segments();
    match (a, b, c) {
        (0x64, 0xff9b, _) => Some(Ipv4Addr::from_bits(address.to_bits() as u32)),
        (0x2002, high, low) => Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))),
        _ => address.to_ipv4(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_in_every_guise() {
        for (address, expected) in [
            ("169.254.169.254", true),
            ("169.254.0.0", true),
            ("169.253.255.255", false),
            ("169.255.0.0", false),
            ("127.0.0.1", false),
            ("10.0.0.1", false),
            ("fe80::1", true),
            ("febf::1", true),
            ("fec0::1", false),
            ("::ffff:169.254.169.254", true),
            ("::ffff:10.0.0.1", false),
            ("::169.254.169.254", true),
            ("64:ff9b::a9fe:a9fe", true),
            ("64:ff9b::a00:1", false),
            ("2002:a9fe:a9fe::1", true),
            ("fd00:ec2::254", true),
            ("fd00:ec2::23", true),
            ("fd00:ec3::254", false),
            ("::1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_link_local(address.parse().unwrap()), expected, "{address}");
        }
    }
}

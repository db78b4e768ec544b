//! Where a store of a namespace must not lead: to what only the operator's own machine may reach.

use std::net::IpAddr;
use std::sync::Arc;

pub use crate::network::Network;
use crate::network::{behind, local};
use crate::proxy::Proxies;

/// Which addresses the URLs of a store may lead to, and through which proxies.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    anywhere: bool,
    allowed: Arc<[Network]>,
    proxies: Proxies,
}

impl Addresses {
    /// All that there are: for stores of the whole cluster, whose authors are trusted with it.
    pub fn anywhere() -> Self {
        Self { anywhere: true, ..Self::default() }
    }

    /// All but those that only the operator's own machine may reach, and of these `allowed`.
    pub fn not_local_but(allowed: impl IntoIterator<Item = Network>) -> Self {
        Self { anywhere: false, allowed: allowed.into_iter().collect(), ..Self::default() }
    }

    /// The same, through these proxies. One that resolves names itself can't be held to addresses: where not all may be
    /// led to, whoever goes through a proxy judges first what the server's name resolves to here.
    pub fn through(self, proxies: Proxies) -> Self {
        Self { proxies, ..self }
    }

    /// The proxies on the way.
    pub fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// Whether they may lead to all that there are.
    pub fn are_anywhere(&self) -> bool {
        self.anywhere
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
}

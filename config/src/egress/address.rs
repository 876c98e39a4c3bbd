//! Which addresses may be dialled for a component: every address has a class, only public ones are open to all, and an
//! operator opens others by network. Knows neither names nor ports.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::Network;

/// What kind of place an address is, by the special-purpose registries of IANA (RFC 6890) and by where clouds keep their
/// metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressClass {
    /// One machine of the internet.
    Public,
    /// The host itself.
    Loopback,
    /// RFC 1918, unique-local (RFC 4193) and the former site-local.
    Private,
    /// Between a provider and its customers (RFC 6598).
    Shared,
    /// The same link (RFC 3927, RFC 4291).
    LinkLocal,
    /// Where a cloud hands out credentials and configuration.
    Metadata,
    /// Examples in texts.
    Documentation,
    /// Kept for another purpose.
    Reserved,
    /// `0.0.0.0/8` and `::`, which systems take for themselves.
    Unspecified,
    Multicast,
    Broadcast,
}

impl AddressClass {
    /// The class of `address`. One that leads to an IPv4 address (mapped, NAT64, 6to4) has the class of that; one that
    /// may do so (ISATAP, the old compatible and the translated form) has the worse class of the two.
    pub fn of(address: IpAddr) -> Self {
        let address = match reached(address) {
            IpAddr::V4(address) => return of_v4(address),
            IpAddr::V6(address) => address,
        };
        let inner = hinted(address).map_or(Self::Public, of_v4);
        match of_v6(address) {
            own @ (Self::Loopback | Self::Metadata | Self::Unspecified | Self::Multicast) => own,
            own if inner == Self::Public => own,
            _ => inner,
        }
    }

    /// What errors call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::Shared => "shared",
            Self::LinkLocal => "link-local",
            Self::Metadata => "metadata",
            Self::Documentation => "documentation",
            Self::Reserved => "reserved",
            Self::Unspecified => "unspecified",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
        }
    }
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Services of clouds for their own machines. Most are link-local or private; Azure's is neither.
const METADATA_V4: [Ipv4Addr; 6] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

fn of_v4(address: Ipv4Addr) -> AddressClass {
    use AddressClass::{
        Broadcast, Documentation, LinkLocal, Loopback, Metadata, Multicast, Private, Public, Reserved, Shared,
        Unspecified,
    };
    if METADATA_V4.contains(&address) {
        return Metadata;
    }
    match address.octets() {
        [0, ..] => Unspecified,
        [255, 255, 255, 255] => Broadcast,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Private,
        [100, 64..=127, ..] => Shared,
        [127, ..] => Loopback,
        [169, 254, ..] => LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Documentation,
        [192, 0, 0, _] | [192, 31, 196, _] | [192, 52, 193, _] | [192, 88, 99, _] | [192, 175, 48, _] => Reserved,
        [198, 18..=19, ..] => Reserved,
        [224..=239, ..] => Multicast,
        [240..=255, ..] => Reserved,
        _ => Public,
    }
}

fn of_v6(address: Ipv6Addr) -> AddressClass {
    use AddressClass::{
        Documentation, LinkLocal, Loopback, Metadata, Multicast, Private, Public, Reserved, Unspecified,
    };
    if METADATA_V6.contains(&address) {
        return Metadata;
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Loopback,
        [0xff00..=0xffff, ..] => Multicast,
        [0xfe80..=0xfebf, ..] => LinkLocal,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Private,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Documentation,
        // Teredo, ORCHID and other protocols of IETF.
        [0x2001, 0..=0x1ff, ..] => Reserved,
        [0x2000..=0x3fff, ..] => Public,
        _ => Reserved,
    }
}

/// The address that a packet for `address` reaches in the end: that inside a mapped one, NAT64 (RFC 6052) and 6to4
/// (RFC 3056).
fn reached(address: IpAddr) -> IpAddr {
    let IpAddr::V6(of_six) = address.to_canonical() else { return address.to_canonical() };
    match of_six.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => IpAddr::V4(joined(high, low)),
        [0x2002, high, low, ..] => IpAddr::V4(joined(high, low)),
        _ => IpAddr::V6(of_six),
    }
}

/// The address that a packet for `address` may reach where the network still knows such forms: ISATAP (RFC 5214), whose
/// first half is any network's, and the compatible and translated forms (RFC 4291, RFC 2765).
fn hinted(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => Some(joined(high, low)),
        [0, 0, 0, 0, 0 | 0xffff, 0, high, low] if high != 0 || low > 1 => Some(joined(high, low)),
        _ => None,
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

/// An address that may not be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {class}")]
pub struct ProhibitedAddress {
    pub address: IpAddr,
    pub class: AddressClass,
}

/// The networks that an operator opens beside the public internet. By default there are none. Copies share one list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressNetworks(Arc<[Network]>);

impl FromIterator<Network> for EgressNetworks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

impl EgressNetworks {
    /// Checks that `address` may be dialled. `loopback` tells whether the host's own addresses may be, at the port in
    /// question.
    ///
    /// A network opens what is in it, with three exceptions: loopback addresses are opened only by networks of nothing
    /// but loopback addresses, metadata only by the address itself, and what is not one machine by nothing at all.
    ///
    /// # Errors
    /// When it may not.
    pub fn check(&self, address: IpAddr, loopback: bool) -> Result<(), ProhibitedAddress> {
        let class = AddressClass::of(address);
        let reached = reached(address);
        let opened = |by: &dyn Fn(&Network, IpAddr) -> bool| {
            self.0.iter().any(|network| by(network, reached) || by(network, address.to_canonical()))
        };
        let allowed = match class {
            AddressClass::Public => true,
            AddressClass::Unspecified | AddressClass::Multicast | AddressClass::Broadcast => false,
            AddressClass::Metadata => opened(&|network, address| network.is_only(address)),
            AddressClass::Loopback => {
                loopback || opened(&|network, address| network.contains(address) && is_all_loopback(network))
            }
            AddressClass::Private
            | AddressClass::Shared
            | AddressClass::LinkLocal
            | AddressClass::Documentation
            | AddressClass::Reserved => opened(&Network::contains),
        };
        if allowed { Ok(()) } else { Err(ProhibitedAddress { address, class }) }
    }
}

fn is_all_loopback(network: &Network) -> bool {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    network.is_within(&IpNet::V4(v4)) || network.is_within(&IpNet::V6(Ipv6Net::from(Ipv6Addr::LOCALHOST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_a_class() {
        for (class, addresses) in [
            (
                AddressClass::Public,
                "1.1.1.1 100.128.0.1 172.32.0.1 192.0.1.1 198.20.0.1 223.255.255.255 2606:50c0::1 2001:4860::8888 2606:50c0::5efe:101:101 64:ff9b::101:101 ::ffff:1.1.1.1 2002:101:101::1",
            ),
            (
                AddressClass::Loopback,
                "127.0.0.1 127.255.255.254 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: ::127.0.0.1 2001:db8::5efe:7f00:1 ::ffff:0:127.0.0.1",
            ),
            (
                AddressClass::Private,
                "10.0.0.1 172.16.0.1 172.31.255.255 192.168.0.1 fc00::1 fd12::1 fec0::1 fd00::5efe:101:101 fd00::200:5efe:808:808 ::ffff:10.0.0.1 64:ff9b::a00:1 2002:a00:1::1",
            ),
            (AddressClass::Shared, "100.64.0.1 100.127.255.255 ::ffff:100.64.0.1"),
            (AddressClass::LinkLocal, "169.254.0.1 fe80::1 fe80::5efe:101:101 febf::1 64:ff9b::a9fe:1"),
            (
                AddressClass::Metadata,
                "169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 192.0.0.192 fd00:ec2::254 fd20:ce::254 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::",
            ),
            (AddressClass::Documentation, "192.0.2.1 198.51.100.1 203.0.113.1 2001:db8::1 3fff::1"),
            (
                AddressClass::Reserved,
                "192.0.0.1 192.88.99.1 198.18.0.1 198.19.255.255 240.0.0.1 255.255.255.254 2001::1 2001:10::1 100::1 ::1.1.1.1 ::ffff:0:1.1.1.1 64:ff9b:1::1 4000::1 5f00::1",
            ),
            (AddressClass::Unspecified, "0.0.0.0 0.1.2.3 :: ::ffff:0.0.0.0"),
            (AddressClass::Multicast, "224.0.0.1 239.255.255.255 ff02::1 ff02::5efe:a00:1"),
            (AddressClass::Broadcast, "255.255.255.255 ::ffff:255.255.255.255"),
        ] {
            for address in addresses.split(' ') {
                assert_eq!(AddressClass::of(address.parse().unwrap()), class, "{address}");
            }
        }
    }

    fn may(networks: &[&str], address: &str, loopback: bool) -> bool {
        let networks: EgressNetworks = networks.iter().map(|text| text.parse::<Network>().unwrap()).collect();
        networks.check(address.parse().unwrap(), loopback).is_ok()
    }

    #[test]
    fn what_is_not_public_is_refused_until_a_network_opens_it() {
        for address in
            ["10.1.2.3", "100.64.0.1", "169.254.1.1", "192.0.2.1", "240.0.0.1", "fd00::1", "fe80::1", "::ffff:10.1.2.3"]
        {
            assert!(!may(&[], address, true), "{address}");
            assert!(may(&["0.0.0.0/0", "::/0"], address, false), "{address}");
        }
        assert!(may(&["10.0.0.0/8"], "64:ff9b::a00:1", false) && may(&["64:ff9b::/96"], "64:ff9b::a00:1", false));
        assert!(!may(&["10.0.0.0/8"], "192.168.0.1", false));
    }

    #[test]
    fn some_are_opened_by_name_alone() {
        let all = ["0.0.0.0/0", "::/0"];
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"] {
            assert!(!may(&all, address, false) && may(&[], address, true), "{address}");
            assert!(may(&["127.0.0.0/8", "::1"], address, false), "{address}");
        }
        assert!(!may(&["126.0.0.0/7"], "127.0.0.1", false));
        assert!(!may(&all, "169.254.169.254", true) && may(&["169.254.169.254"], "169.254.169.254", false));
        assert!(!may(&["169.254.0.0/16"], "169.254.169.254", false) && !may(&["fd00::/8"], "fd00:ec2::254", false));
        for address in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"] {
            assert!(!may(&all, address, true) && !may(&[address], address, true), "{address}");
        }
    }
}

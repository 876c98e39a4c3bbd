//! At which addresses registries are asked. Whoever writes a manifest chooses the registry, and a registry chooses where
//! it redirects to and who gives out its tokens: neither may make the host knock where only the host itself can.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How near an address is to this host. A registry leads to places as far away as itself, or farther.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Nearness {
    Public,
    /// RFC 1918, RFC 6598, RFC 4193.
    Private,
    Loopback,
}

/// How near `address` is, or why no registry is asked there at all.
pub(super) fn nearness(address: IpAddr) -> Result<Nearness, &'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => of_v4(address),
        IpAddr::V6(address) => match embedded_v4(address) {
            Some(inner) => of_v4(inner),
            None => of_v6(address),
        },
    }
}

fn of_v4(address: Ipv4Addr) -> Result<Nearness, &'static str> {
    let [a, b, ..] = address.octets();
    if address.is_link_local() {
        return Err("link-local, where clouds keep their metadata");
    }
    if a == 0 || address.is_broadcast() || address.is_multicast() || a >= 240 {
        return Err("not the address of one machine");
    }
    // Alibaba Cloud keeps its metadata in the shared range.
    if address == Ipv4Addr::new(100, 100, 100, 200) {
        return Err("the metadata of a cloud");
    }
    let shared = a == 100 && (64..128).contains(&b);
    Ok(match () {
        () if address.is_loopback() => Nearness::Loopback,
        () if address.is_private() || shared => Nearness::Private,
        () => Nearness::Public,
    })
}

fn of_v6(address: Ipv6Addr) -> Result<Nearness, &'static str> {
    if address.is_unicast_link_local() {
        return Err("link-local, where clouds keep their metadata");
    }
    if address.is_unspecified() || address.is_multicast() {
        return Err("not the address of one machine");
    }
    // AWS and Google Cloud have theirs at unique local addresses.
    let metadata = ["fd00:ec2::254", "fd20:ce::254"];
    if metadata.iter().any(|text| text.parse() == Ok(address)) {
        return Err("the metadata of a cloud");
    }
    Ok(match () {
        () if address.is_loopback() => Nearness::Loopback,
        () if address.is_unique_local() => Nearness::Private,
        () => Nearness::Public,
    })
}

/// The address that a translator would make of one: NAT64 (RFC 6052), 6to4 (RFC 3056), and the old compatible form.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_by_their_nearness() {
        let of = |text: &str| nearness(text.parse().unwrap());
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"] {
            assert_eq!(of(address), Ok(Nearness::Loopback), "{address}");
        }
        for address in ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1"] {
            assert_eq!(of(address), Ok(Nearness::Private), "{address}");
        }
        for address in ["140.82.121.33", "100.128.0.1", "2606:50c0::1"] {
            assert_eq!(of(address), Ok(Nearness::Public), "{address}");
        }
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "100.100.100.200",
            "0.0.0.0",
            "::",
            "255.255.255.255",
            "224.0.0.1",
            "ff02::1",
        ] {
            assert!(of(address).is_err(), "{address}");
        }
        assert!(Nearness::Public < Nearness::Private && Nearness::Private < Nearness::Loopback);
    }
}

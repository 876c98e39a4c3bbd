//! Networks of IP addresses, and the one question that is asked of them: whose word about a client is taken. No I/O.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use ipnet::IpNet;

/// A network in CIDR notation; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Whether `address` is in it. Give IPv4 addresses in their own form.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether it is this address and no other.
    pub(crate) fn is_only(&self, address: IpAddr) -> bool {
        self.0 == IpNet::from(address)
    }

    /// Whether it is a part of `other`.
    pub(crate) fn is_within(&self, other: &IpNet) -> bool {
        other.contains(&self.0)
    }
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    #[error("is no network such as 10.0.0.0/8, fd00::/8 or 192.0.2.1")]
    Form,
    #[error("has bits after its prefix; write {0}")]
    HostBits(IpNet),
    #[error("is IPv4 written as IPv6; write the IPv4 network")]
    MappedIpv4,
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let network = match text.contains('/') {
            true => text.parse().map_err(|_| NetworkError::Form)?,
            false => IpNet::from(text.parse::<IpAddr>().map_err(|_| NetworkError::Form)?),
        };
        // Addresses are compared in their shortest form, which such a network would never hold.
        if network.prefix_len() >= 96 && network.network().to_canonical() != network.network() {
            return Err(NetworkError::MappedIpv4);
        }
        match network.trunc() == network {
            true => Ok(Self(network)),
            false => Err(NetworkError::HostBits(network.trunc())),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The proxies that may say for whom they speak. By default there are none. Copies share one list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Arc<[Network]>);

impl TrustedProxies {
    /// Whether the proxy at `address` is trusted; an IPv4 address in IPv6 form is the same as itself.
    pub fn contains(&self, address: IpAddr) -> bool {
        // Most hosts have none: then there is nothing to bring into another form either.
        !self.0.is_empty() && {
            let address = address.to_canonical();
            self.0.iter().any(|network| network.0.contains(&address))
        }
    }
}

impl FromIterator<Network> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read() {
        for (text, shown) in [("10.0.0.0/8", "10.0.0.0/8"), ("192.0.2.1", "192.0.2.1/32"), ("fd00::/8", "fd00::/8")] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), shown);
        }
        for (text, why) in [
            ("", "is no network such as 10.0.0.0/8, fd00::/8 or 192.0.2.1"),
            ("10.0.0.0/33", "is no network such as 10.0.0.0/8, fd00::/8 or 192.0.2.1"),
            ("localhost", "is no network such as 10.0.0.0/8, fd00::/8 or 192.0.2.1"),
            ("10.1.0.0/8", "has bits after its prefix; write 10.0.0.0/8"),
            ("::ffff:10.0.0.0/104", "is IPv4 written as IPv6; write the IPv4 network"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap_err().to_string(), why, "{text}");
        }
    }

    #[test]
    fn a_proxy_is_trusted_by_its_address() {
        let proxies: TrustedProxies =
            ["10.0.0.0/8", "fd00::/8"].into_iter().map(|text| text.parse::<Network>().unwrap()).collect();
        for (address, trusted) in
            [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("fd12::1", true), ("11.0.0.1", false), ("fe80::1", false)]
        {
            assert_eq!(proxies.contains(address.parse().unwrap()), trusted, "{address}");
        }
        assert!(!TrustedProxies::default().contains("127.0.0.1".parse().unwrap()));
    }
}

//! Who sent a request, as far as its address tells.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A client: an address of IPv4, or the network of an address of IPv6. Whoever has one address of such a network has all.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Client(IpAddr);

impl Client {
    /// The client with an address, with or without a port; `ipv6_prefix` is how many bits of an IPv6 address tell
    /// networks apart. None where the text is no address.
    pub fn parse(address: &str, ipv6_prefix: u32) -> Option<Self> {
        let ip = match address.parse::<SocketAddr>() {
            Ok(address) => address.ip(),
            Err(_) => address.parse::<IpAddr>().ok()?,
        };
        Some(Self(match ip.to_canonical() {
            IpAddr::V4(ip) => IpAddr::V4(ip),
            IpAddr::V6(ip) => {
                let rest = 128u32.saturating_sub(ipv6_prefix);
                let mask = u128::MAX.checked_shl(rest).unwrap_or_default();
                IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_an_address_or_its_network() {
        for (one, other, prefix, same) in [
            ("10.0.0.1:1", "10.0.0.1:2", 64, true),
            ("10.0.0.1:1", "10.0.0.1", 64, true),
            ("10.0.0.1:1", "10.0.0.2:1", 64, false),
            ("[::ffff:10.0.0.1]:1", "10.0.0.1:1", 64, true),
            ("[2001:db8::1]:1", "[2001:db8::ffff:2]:2", 64, true),
            ("2001:db8::1", "[2001:db8::2]:2", 64, true),
            ("[2001:db8::1]:1", "[2001:db8:0:1::1]:1", 64, false),
            ("[2001:db8::1]:1", "[2001:db8:0:1::1]:1", 48, true),
            ("[2001:db8::1]:1", "[2001:db8::2]:1", 128, false),
            ("[2001:db8::1]:1", "[2001:db8::1]:2", 128, true),
        ] {
            let [one_client, other_client] = [one, other].map(|text| Client::parse(text, prefix).unwrap());
            assert_eq!(one_client == other_client, same, "{one} and {other}, {prefix}");
        }
        for none in ["", "/run/socket", "localhost:80", "10.0.0", "[::1", "pipe"] {
            assert_eq!(Client::parse(none, 64), None, "{none}");
        }
    }
}

//! Addresses of the network: who shares one.

use std::net::{IpAddr, Ipv6Addr};

/// Who shares an address: a home has a whole /64 of IPv6.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

/// The same of an address as text; text that is none stands for itself.
pub(crate) fn network(address: &str) -> String {
    match address.parse() {
        Ok(address) => network_of(address).to_string(),
        Err(_) => address.to_owned(),
    }
}

//! Addresses of the network: who shares one, and who stands behind a proxy.

use axum::http::HeaderMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Who shares an address: a home has a whole /64 of IPv6.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Who may be one and the same stranger: whoever has a /48 of IPv6, or a /24 of IPv4,
/// has as many addresses in it as he likes.
pub(crate) fn neighbourhood_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into()
        }
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
    }
}

/// [`network_of`] an address as text; text that is none stands for itself.
pub(crate) fn network(address: &str) -> String {
    match address.parse() {
        Ok(address) => network_of(address).to_string(),
        Err(_) => address.to_owned(),
    }
}

/// A block of addresses, such as `10.0.0.0/8` or `2001:db8::/32`; one address is a
/// block as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    address: IpAddr,
    /// How many leading bits count.
    prefix: u8,
}

impl Block {
    fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(mine), IpAddr::V4(theirs)) => {
                let shift = 32 - u32::from(self.prefix);
                (mine.to_bits() ^ theirs.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(mine), IpAddr::V6(theirs)) => {
                let shift = 128 - u32::from(self.prefix);
                (mine.to_bits() ^ theirs.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

/// No block of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoBlock(String);

impl fmt::Display for NoBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is no block of addresses: 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32 would be",
            self.0
        )
    }
}

impl std::error::Error for NoBlock {}

impl FromStr for Block {
    type Err = NoBlock;

    fn from_str(text: &str) -> Result<Block, NoBlock> {
        let none = || NoBlock(text.to_owned());
        let (address, prefix) = text
            .split_once('/')
            .map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| none())?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) => digits.parse().map_err(|_| none())?,
            None => whole,
        };
        if prefix > whole {
            return Err(none());
        }
        Ok(Block { address, prefix })
    }
}

/// The header in which proxies name who asked them. Only one is read: a proxy passes
/// the other on as a client has made it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: addresses, the nearest last.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl FromStr for ForwardedHeader {
    type Err = String;

    fn from_str(text: &str) -> Result<ForwardedHeader, String> {
        match text.to_ascii_lowercase().as_str() {
            "x-forwarded-for" => Ok(ForwardedHeader::XForwardedFor),
            "forwarded" => Ok(ForwardedHeader::Forwarded),
            _ => Err("x-forwarded-for or forwarded is expected".to_owned()),
        }
    }
}

/// The proxies that are believed.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Their addresses.
    pub trusted: Vec<Block>,
    /// What they say who asked them in.
    pub header: ForwardedHeader,
}

impl Proxies {
    pub(crate) fn are_at(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|block| block.holds(address))
    }

    /// Who asks: the peer, or where that is a trusted proxy the nearest hop before it
    /// that is none. What stands further left is what that hop says of itself.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.are_at(client) {
            return client;
        }
        let hops = match self.header {
            ForwardedHeader::XForwardedFor => hops(headers, "x-forwarded-for", |h| vec![h]),
            ForwardedHeader::Forwarded => hops(headers, "forwarded", named_for),
        };
        for hop in hops.into_iter().rev() {
            // "unknown", a made-up name: the hop that wrote it is the last that is
            // known.
            let Some(address) = hop else {
                break;
            };
            client = address;
            if !self.are_at(client) {
                break;
            }
        }
        client
    }
}

/// The hops in every line of a header, in their order; `None` for one that is no
/// address.
fn hops(
    headers: &HeaderMap,
    name: &str,
    in_element: impl Fn(&str) -> Vec<&str>,
) -> Vec<Option<IpAddr>> {
    let mut out = Vec::new();
    for line in headers.get_all(name) {
        let Ok(line) = line.to_str() else {
            out.push(None);
            continue;
        };
        for element in split(line, ',') {
            out.extend(in_element(element).into_iter().map(address_of));
        }
    }
    out
}

/// The `for` of one element of `Forwarded`. One without names nobody.
fn named_for(element: &str) -> Vec<&str> {
    let mut named = split(element, ';').into_iter().filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    });
    vec![named.next().unwrap_or_default()]
}

/// Splits at a sign, but not in a quoted string.
fn split(text: &str, at: char) -> Vec<&str> {
    let mut quoted = false;
    let sign = |c: char| {
        if c == '"' {
            quoted = !quoted;
        }
        c == at && !quoted
    };
    text.split(sign).collect()
}

/// An address with or without its port, brackets and quotes.
fn address_of(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim().trim_matches('"');
    let bare = hop.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let address = bare.unwrap_or(hop).parse::<IpAddr>().ok();
    let with_port = || hop.parse::<SocketAddr>().ok().map(|a| a.ip());
    address.or_else(with_port).map(|a| a.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn proxies(header: ForwardedHeader) -> Proxies {
        Proxies {
            trusted: vec![
                "127.0.0.1".parse().unwrap(),
                "10.0.0.0/8".parse().unwrap(),
                "2001:db8:1::/48".parse().unwrap(),
            ],
            header,
        }
    }

    fn client(header: ForwardedHeader, peer: &str, lines: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let peer = peer.parse().unwrap();
        proxies(header).client(peer, &headers).to_string()
    }

    #[test]
    fn a_block_holds_its_addresses_alone() {
        let block = |text: &str| text.parse::<Block>().unwrap();
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(block("10.0.0.0/8").holds(at("10.255.0.1")));
        assert!(!block("10.0.0.0/8").holds(at("11.0.0.1")));
        assert!(block("10.1.2.3").holds(at("::ffff:10.1.2.3")));
        assert!(!block("10.1.2.3").holds(at("10.1.2.4")));
        assert!(block("0.0.0.0/0").holds(at("192.0.2.1")));
        assert!(!block("0.0.0.0/0").holds(at("2001:db8::1")));
        assert!(block("2001:db8::/32").holds(at("2001:db8:ffff::1")));
        assert!(!block("2001:db8::/32").holds(at("2001:db9::1")));
        for none in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "a/8",
            "10.0.0/8",
            "1.2.3.4/-1",
        ] {
            assert!(none.parse::<Block>().is_err(), "{none}");
        }
    }

    #[test]
    fn who_asks_is_the_nearest_hop_that_is_no_trusted_proxy() {
        use ForwardedHeader::XForwardedFor as X;
        let of = |peer, value| client(X, peer, &[("x-forwarded-for", value)]);
        // A stranger says what he likes.
        assert_eq!(of("198.51.100.9", "192.0.2.1"), "198.51.100.9");
        assert_eq!(of("127.0.0.1", "192.0.2.1"), "192.0.2.1");
        // What a client put there before stands to the left.
        assert_eq!(
            of("127.0.0.1", "10.0.0.9, 203.0.113.5, 192.0.2.1"),
            "192.0.2.1"
        );
        assert_eq!(
            of("127.0.0.1", "203.0.113.5,192.0.2.1 ,10.2.3.4"),
            "192.0.2.1"
        );
        assert_eq!(of("127.0.0.1", "203.0.113.5, unknown"), "127.0.0.1");
        assert_eq!(
            of("127.0.0.1", "203.0.113.5, unknown, 10.2.3.4"),
            "10.2.3.4"
        );
        assert_eq!(of("127.0.0.1", "[2001:db8:9::1]:443"), "2001:db8:9::1");
        assert_eq!(of("127.0.0.1", "192.0.2.1:5000"), "192.0.2.1");
        assert_eq!(of("::ffff:127.0.0.1", "::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(client(X, "127.0.0.1", &[]), "127.0.0.1");
        // Several lines are one list.
        let two = [
            ("x-forwarded-for", "203.0.113.5"),
            ("x-forwarded-for", "192.0.2.1, 10.0.0.1"),
        ];
        assert_eq!(client(X, "127.0.0.1", &two), "192.0.2.1");
        // The other header is not read: a client may have made it.
        assert_eq!(
            client(X, "127.0.0.1", &[("forwarded", "for=203.0.113.5")]),
            "127.0.0.1"
        );
    }

    #[test]
    fn a_forwarded_header_is_read_as_rfc_7239_writes_it() {
        use ForwardedHeader::Forwarded as F;
        let of = |value| client(F, "127.0.0.1", &[("forwarded", value)]);
        assert_eq!(
            of("for=192.0.2.60;proto=http;by=203.0.113.43"),
            "192.0.2.60"
        );
        assert_eq!(of("For=\"[2001:db8:cafe::17]:4711\""), "2001:db8:cafe::17");
        assert_eq!(
            of("for=203.0.113.5, for=192.0.2.60;proto=https, for=10.0.0.1"),
            "192.0.2.60"
        );
        assert_eq!(
            of("for=192.0.2.43;host=\"a,for=203.0.113.5;\", for=10.0.0.1"),
            "192.0.2.43"
        );
        assert_eq!(of("for=203.0.113.5, for=_hidden"), "127.0.0.1");
        assert_eq!(of("for=203.0.113.5, proto=https"), "127.0.0.1");
        assert_eq!(
            client(F, "127.0.0.1", &[("x-forwarded-for", "203.0.113.5")]),
            "127.0.0.1"
        );
    }
}

//! How browsers reach the pages: their origin, and the proxies before them. Cookies,
//! and the checks of `Host` and `Origin`, follow from it.

use super::errors::PageError;
use crate::address::Proxies;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where everybody finds the pages, such as `https://tv.example`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicOrigin {
    https: bool,
    /// Host, and the port unless it is the scheme's own.
    authority: String,
    port: u16,
}

/// No origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoOrigin(String);

impl fmt::Display for NoOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is no origin: https://tv.example or https://tv.example:8443 would be one",
            self.0
        )
    }
}

impl std::error::Error for NoOrigin {}

impl FromStr for PublicOrigin {
    type Err = NoOrigin;

    fn from_str(text: &str) -> Result<PublicOrigin, NoOrigin> {
        let none = || NoOrigin(text.to_owned());
        let lower = text.to_ascii_lowercase();
        let (https, rest) = match lower.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(none()),
        };
        let (host, port) =
            host_and_port(rest.strip_suffix('/').unwrap_or(rest)).ok_or_else(none)?;
        let own = if https { 443 } else { 80 };
        let port = port.unwrap_or(own);
        Ok(PublicOrigin {
            https,
            authority: if port == own {
                host.to_owned()
            } else {
                format!("{host}:{port}")
            },
            port,
        })
    }
}

impl fmt::Display for PublicOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

impl PublicOrigin {
    /// Whether a `Host` names it.
    fn is_at(&self, host: &str) -> bool {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{host}").parse() == Ok(self.clone())
    }
}

/// The two parts of `host:port`, `host`, `[::1]:port` or `[::1]`.
fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
        _ => (authority, None),
    };
    let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let good = match literal {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b);
            !host.is_empty() && host.bytes().all(plain)
        }
    };
    good.then_some((host, port))
}

/// How browsers reach the pages of one port.
#[derive(Clone)]
pub struct Site(Arc<Inner>);

struct Inner {
    /// `None` where only this machine does.
    origin: Option<PublicOrigin>,
    https: bool,
    /// Part of the cookies' names: a browser sends a host's cookies to every port of
    /// it, and two servers would sign each other's people out.
    port: u16,
    proxies: Proxies,
    /// The operator has been told that a proxy does not say who asks.
    warned: AtomicBool,
}

impl Site {
    /// Pages for browsers on this machine, at this port.
    pub fn local(https: bool, port: u16) -> Site {
        Site(Arc::new(Inner {
            origin: None,
            https,
            port,
            proxies: Proxies::default(),
            warned: AtomicBool::new(false),
        }))
    }

    /// Pages that everybody finds at `origin`, through `proxies` or without.
    pub fn public(origin: PublicOrigin, proxies: Proxies) -> Site {
        Site(Arc::new(Inner {
            https: origin.https,
            port: origin.port,
            origin: Some(origin),
            proxies,
            warned: AtomicBool::new(false),
        }))
    }

    /// Cookies go over TLS alone.
    pub(super) fn secure(&self) -> bool {
        self.0.https
    }

    /// The name of a cookie here. With the `__Host-` prefix a browser takes it only
    /// over TLS, from this host, for every path.
    pub(super) fn cookie(&self, name: &str) -> String {
        let prefix = if self.0.https { "__Host-" } else { "" };
        format!("{prefix}{name}-{}", self.0.port)
    }

    /// Whether a request for this `Host` is for these pages. A name that leads to
    /// this machine and is not ours is an attacker's.
    fn is_for(&self, host: Option<&str>) -> bool {
        let Some(host) = host else {
            return false;
        };
        match &self.0.origin {
            Some(origin) => origin.is_at(host),
            None => host_and_port(host).is_some_and(|(host, _)| {
                let name = host.eq_ignore_ascii_case("localhost");
                name || host.starts_with('[') || host.parse::<IpAddr>().is_ok()
            }),
        }
    }
}

/// True unless the browser says that the form came from elsewhere than `site`, or
/// without one than the host that was asked.
fn is_own(site: Option<&PublicOrigin>, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap_or_default());
    if !matches!(text("sec-fetch-site"), None | Some("same-origin" | "none")) {
        return false;
    }
    let Some(from) = text("origin") else {
        return true;
    };
    match site {
        Some(origin) => from.parse() == Ok(origin.clone()),
        None => from
            .split_once("://")
            .is_some_and(|(_, from)| text("host").is_some_and(|h| h.eq_ignore_ascii_case(from))),
    }
}

/// Finds out who asks, and refuses what is not for these pages.
///
/// From here on [`ConnectInfo`] is who asks: the peer, or whom a trusted proxy names.
pub(super) async fn at_home(
    State(site): State<Site>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let (proxies, headers) = (&site.0.proxies, request.headers());
    // A proxy may ask for its upstream's name; it knows which site it serves.
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    if !proxies.are_at(peer.ip()) && !site.is_for(host) {
        return PageError::OtherHost.into_response();
    }
    if request.method() != Method::GET && !is_own(site.0.origin.as_ref(), headers) {
        return PageError::CrossSite.into_response();
    }
    let client = proxies.client(peer.ip(), headers);
    if proxies.are_at(client) && !site.0.warned.swap(true, Ordering::Relaxed) {
        tracing::warn!("a trusted proxy does not say who asks: its visitors count as one");
    }
    let client = SocketAddr::new(client, 0);
    request.extensions_mut().insert(ConnectInfo(client));
    let mut response = next.run(request).await;
    if site.0.origin.is_some() && site.secure() {
        response.headers_mut().insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000"),
        );
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let lines = lines
            .iter()
            .map(|(name, value)| ((*name).parse().unwrap(), HeaderValue::from_static(value)));
        lines.collect()
    }

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        let shown = |text: &str| text.parse::<PublicOrigin>().map(|o| o.to_string());
        assert_eq!(
            shown("https://TV.example:443/").unwrap(),
            "https://tv.example"
        );
        assert_eq!(
            shown("https://tv.example:8443").unwrap(),
            "https://tv.example:8443"
        );
        assert_eq!(shown("http://[::1]:80").unwrap(), "http://[::1]");
        for none in [
            "",
            "tv.example",
            "https://",
            "ftp://a",
            "https://a/b",
            "https://a:b",
            "https://u@a",
            "https://a?b",
            "https://[::1",
            "https://a b",
            "null",
        ] {
            assert!(shown(none).is_err(), "{none}");
        }
    }

    #[test]
    fn cookies_and_checks_follow_from_the_public_origin() {
        let origin: PublicOrigin = "https://tv.example".parse().unwrap();
        let site = Site::public(origin.clone(), Proxies::default());
        let own = |headers: &HeaderMap| is_own(Some(&origin), headers);
        assert_eq!(site.cookie("session"), "__Host-session-443");
        assert!(site.is_for(Some("tv.example")) && site.is_for(Some("TV.example:443")));
        for other in [
            Some("localhost:8480"),
            Some("tv.example:8443"),
            Some("tv.example."),
            None,
        ] {
            assert!(!site.is_for(other), "{other:?}");
        }
        // As a proxy asks its upstream.
        let upstream = ("host", "127.0.0.1:8480");
        assert!(own(&headers(&[upstream, ("origin", "https://tv.example")])));
        for elsewhere in [
            "http://tv.example",
            "https://evil.example",
            "https://tv.example.evil.example",
            "null",
            "http://127.0.0.1:8480",
            "",
        ] {
            assert!(
                !own(&headers(&[upstream, ("origin", elsewhere)])),
                "{elsewhere}"
            );
        }
        assert!(own(&headers(&[upstream])));
        let cross = [
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://tv.example"),
        ];
        assert!(!own(&headers(&cross)));
    }

    #[test]
    fn without_a_public_origin_the_pages_are_this_machines() {
        let site = Site::local(false, 8480);
        let own = |headers: &HeaderMap| is_own(None, headers);
        assert_eq!(site.cookie("session"), "session-8480");
        for own in [
            "localhost:8480",
            "127.0.0.1:8480",
            "[::1]:8480",
            "localhost",
        ] {
            assert!(site.is_for(Some(own)), "{own}");
        }
        // A name of an attacker that leads here (DNS rebinding).
        for other in ["evil.example:8480", "localhost.evil.example", ""] {
            assert!(!site.is_for(Some(other)), "{other}");
        }
        assert!(own(&headers(&[
            ("host", "localhost:1"),
            ("origin", "http://localhost:1")
        ])));
        assert!(!own(&headers(&[
            ("host", "localhost:1"),
            ("origin", "http://localhost:2")
        ])));
    }
}

//! The address of a PostgreSQL database, with libpq's words for TLS.

use crate::tls_client::TlsFiles;
use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use std::net::IpAddr;
use std::path::PathBuf;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

const EXPECTED: &str = "postgres://user@host:port/name is expected";

/// Reads an address. With TLS it comes with what verifies the server.
pub(super) fn parse(url: &str) -> Result<(Config, Option<ClientConfig>), String> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut mode = None;
    let (mut ca, mut cert, mut key) = (None, None, None);
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match name {
            "sslmode" => &mut mode,
            "sslrootcert" => &mut ca,
            "sslcert" => &mut cert,
            "sslkey" => &mut key,
            _ => {
                kept.push(pair);
                continue;
            }
        };
        let value = percent_decode_str(value)
            .decode_utf8()
            .map_err(|_| format!("{name} is not UTF-8"))?;
        *place = Some(value.into_owned());
    }
    // An address may hold a password, so no error repeats it.
    let mut config: Config = format!("{base}?{}", kept.join("&"))
        .parse()
        .map_err(|_| format!("no address of a database; {EXPECTED}"))?;
    let identity = match (cert, key) {
        (Some(cert), Some(key)) => Some((PathBuf::from(cert), PathBuf::from(key))),
        (None, None) => None,
        _ => return Err("sslcert and sslkey go together".to_owned()),
    };
    let tls = match mode.as_deref() {
        Some("verify-full") => {
            let ca = ca.ok_or("sslmode=verify-full needs sslrootcert=FILE")?;
            let ca = PathBuf::from(ca);
            Some(TlsFiles { ca, identity }.client_config()?)
        }
        Some("disable") | None if ca.is_some() || identity.is_some() => {
            return Err("certificates are used with sslmode=verify-full alone".to_owned());
        }
        Some("disable") => None,
        None if config.get_hosts().iter().all(is_here) => None,
        None => {
            return Err(
                "the database is on another machine; say sslmode=verify-full&sslrootcert=FILE, \
                 or sslmode=disable where nobody else is on the network"
                    .to_owned(),
            );
        }
        Some(other) => {
            return Err(format!(
                "sslmode={other} does not verify who answers; verify-full or disable is expected"
            ));
        }
    };
    config.ssl_mode(if tls.is_some() {
        SslMode::Require
    } else {
        SslMode::Disable
    });
    Ok((config, tls))
}

fn is_here(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|a| a.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        match parse(url) {
            Ok(_) => panic!("{url} was taken"),
            Err(why) => {
                assert!(!why.contains("secret"), "{why}");
                why
            }
        }
    }

    #[test]
    fn a_database_here_needs_no_tls_and_one_elsewhere_is_asked_about() {
        for here in [
            "postgres://u:secret@127.0.0.1:5432/x",
            "postgres://u@localhost/x?connect_timeout=3",
            "postgres://u@[::1]:5432/x",
            "postgres://u@%2Fvar%2Frun%2Fpostgresql/x",
            "postgres://u@db.example/x?sslmode=disable",
        ] {
            let (config, tls) = parse(here).unwrap();
            assert!(tls.is_none(), "{here}");
            assert_eq!(config.get_ssl_mode(), SslMode::Disable, "{here}");
        }
        let why = refused("postgres://u:secret@db.example/x");
        assert!(why.contains("another machine"), "{why}");
    }

    #[test]
    fn what_does_not_verify_the_server_is_refused() {
        for mode in ["allow", "prefer", "require", "verify-ca", "Verify-Full", ""] {
            let url = format!("postgres://u:secret@db.example/x?sslmode={mode}&sslrootcert=/x");
            let why = refused(&url);
            assert!(why.contains("does not verify"), "{why}");
        }
        for (query, says) in [
            ("sslmode=verify-full", "needs sslrootcert"),
            ("sslmode=verify-full&sslrootcert=/no/such", "/no/such"),
            ("sslrootcert=/x", "verify-full alone"),
            ("sslmode=disable&sslcert=/c&sslkey=/k", "verify-full alone"),
            (
                "sslmode=verify-full&sslrootcert=/x&sslcert=/c",
                "go together",
            ),
            ("sslmode=verify-full&sslrootcert=%FF", "UTF-8"),
            ("nonsense=1", "is expected"),
        ] {
            let why = refused(&format!("postgres://u:secret@127.0.0.1/x?{query}"));
            assert!(why.contains(says), "{query}: {why}");
        }
    }
}

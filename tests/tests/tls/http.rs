//! Answers as RFC 9110 and RFC 9112 have them, and answers that were not agreed
//! (SPEC §10).

use crate::peer::{GOOD, answered, ok, read_request, served};
use nrd_agent::tls::{MAX_HEAD, TlsError, read_answer};
use std::io::Write as _;

#[test]
fn answers_of_every_size_come_back_unchanged() {
    for size in [0, 1, 255, 1024, 1536] {
        let body: Vec<u8> = (0..size).map(|i| i as u8).collect();
        assert_eq!(answered(ok(&body)), Ok(body));
    }
}

#[test]
fn an_answer_in_single_bytes_is_put_together() {
    let answer = served(&GOOD, &rustls::version::TLS13, |tls| {
        read_request(tls).unwrap();
        for b in ok(b"slowly") {
            tls.write_all(&[b]).unwrap();
            tls.flush().unwrap();
        }
    });
    assert_eq!(answer, Ok(b"slowly".to_vec()));
}

#[test]
fn http_that_was_not_agreed_is_refused() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n";
    let cases: Vec<(String, TlsError)> = vec![
        (
            "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".into(),
            TlsError::Status(500),
        ),
        (
            "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".into(),
            TlsError::Status(503),
        ),
        (
            "HTTP/1.1 302 Go\r\nLocation: /\r\n\r\n".into(),
            TlsError::Status(302),
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n".into(),
            TlsError::Status(101),
        ),
        ("HTTP/1.1 100 Continue\r\n\r\n".into(), TlsError::Closed),
        (
            format!("{head}Content-Length: 1537\r\n\r\n"),
            TlsError::TooLarge,
        ),
        (
            format!("{head}Content-Length: 99999999999999999999\r\n\r\n"),
            TlsError::TooLarge,
        ),
        (format!("{head}Content-Length: -1\r\n\r\n"), TlsError::Http),
        // Rust's parser takes a sign, HTTP's grammar does not.
        (format!("{head}Content-Length: +1\r\n\r\nx"), TlsError::Http),
        (format!("{head}Content-Length: \r\n\r\nx"), TlsError::Http),
        (
            format!("{head}Content-Length: 1\r\nContent-Encoding: gzip\r\n\r\nx"),
            TlsError::Encoding,
        ),
        (
            format!("{head}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
            TlsError::Http,
        ),
        (
            format!("{head}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx"),
            TlsError::Http,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\nx".into(),
            TlsError::Http,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx".into(),
            TlsError::Http,
        ),
        (format!("{head}Content-Length: 1\r\n\r\nxy"), TlsError::Http),
        (
            format!("{head}Content-Length: 9\r\n\r\nshort"),
            TlsError::Closed,
        ),
        (format!("{head}Content-Le"), TlsError::Closed),
        (String::new(), TlsError::Closed),
        ("\u{0}\u{1}\u{2} nonsense\r\n\r\n".into(), TlsError::Http),
        (
            format!(
                "HTTP/1.1 200 OK\r\n{}",
                "X-Drip: 0123456789\r\n".repeat(100_000)
            ),
            TlsError::HeadTooLarge,
        ),
        (
            format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(1 << 20)),
            TlsError::HeadTooLarge,
        ),
    ];
    for (response, expected) in cases {
        let shown: String = response.chars().take(90).collect();
        let answer = answered(response);
        // A long answer may be refused before the peer has sent all of it.
        assert_eq!(answer, Err(expected), "{shown:?}");
    }
}

#[test]
fn the_largest_head_with_the_largest_body_is_taken_and_one_byte_more_is_not() {
    let body = [7; 1536];
    let whole = ok(&body);
    let head = whole.len() - body.len();
    for (padding, taken) in [(MAX_HEAD - head, true), (MAX_HEAD + 1 - head, false)] {
        let field = format!("\r\nX: {}", "y".repeat(padding - 5));
        let mut answer = whole.clone();
        answer.splice(15..15, field.into_bytes());
        let mut out = [0; 1536];
        for piece in [1, 700, answer.len()] {
            let read = read_answer(answer.chunks(piece), &mut out);
            let expected = if taken {
                Ok(1536)
            } else {
                Err(TlsError::HeadTooLarge)
            };
            assert_eq!(read, expected, "in pieces of {piece} bytes");
        }
    }
}

/// Answers as ordinary servers and proxies give them, with the body that a device
/// reads. `$` ends a line.
const ORDINARY: [(&str, &str, &str); 12] = [
    (
        "nginx 1.24 before the service",
        "HTTP/1.1 200 OK$Server: nginx/1.24.0 (Ubuntu)$Date: Sat, 28 Nov 2026 18:20:01 GMT$\
         Content-Type: application/octet-stream$Content-Length: 5$Connection: close$\
         Strict-Transport-Security: max-age=63072000; includeSubDomains; preload$\
         X-Content-Type-Options: nosniff$X-Frame-Options: DENY$$frame",
        "frame",
    ),
    (
        "nginx that buffers nothing and speaks chunks",
        "HTTP/1.1 200 OK$Server: nginx$Date: Sat, 28 Nov 2026 18:20:01 GMT$\
         Content-Type: application/octet-stream$Transfer-Encoding: chunked$\
         Connection: keep-alive$Vary: Accept-Encoding$$3$fra$2$me$0$$",
        "frame",
    ),
    (
        "nginx to a client of HTTP/1.0: the body ends with the connection",
        "HTTP/1.1 200 OK$Server: nginx$Content-Type: application/octet-stream$\
         Connection: close$$frame",
        "frame",
    ),
    (
        "Caddy 2.10 as a reverse proxy",
        "HTTP/1.1 200 OK$Alt-Svc: h3=\":443\"; ma=2592000$Content-Length: 5$\
         Content-Type: application/octet-stream$Date: Sat, 28 Nov 2026 18:20:01 GMT$\
         Via: 1.1 Caddy$Connection: close$$frame",
        "frame",
    ),
    (
        "Caddy with a parameter and chunks in capitals",
        "HTTP/1.1 200 OK$Content-Type: application/octet-stream; charset=utf-8$Server: Caddy$\
         Transfer-Encoding: Chunked$$5;name=\"a;b\"$frame$00$Server-Timing: cache$$",
        "frame",
    ),
    (
        "Envoy, in small letters",
        "HTTP/1.1 200 OK$content-type: application/octet-stream$content-length: 5$\
         date: Sat, 28 Nov 2026 18:20:01 GMT$x-envoy-upstream-service-time: 3$server: envoy$$frame",
        "frame",
    ),
    (
        "HAProxy, HTTP/1.0",
        "HTTP/1.0 200 OK$Content-type:application/octet-stream$content-LENGTH:5$$frame",
        "frame",
    ),
    (
        "interim answers before the answer",
        "HTTP/1.1 100 Continue$$HTTP/1.1 103 Early Hints$Link: </style.css>; rel=preload$$\
         HTTP/1.1 200 OK$Content-Type: application/octet-stream$Content-Length: 5$$frame",
        "frame",
    ),
    (
        "a media type in capitals with blanks around its parameter, and no reason phrase",
        "HTTP/1.1 200 $Content-Type: \t Application/Octet-Stream ; charset=binary \t$\
         Content-Length: 0005$$frame",
        "frame",
    ),
    (
        "a content coding that is none",
        "HTTP/1.1 200 OK$Content-Type: application/octet-stream$Content-Encoding: Identity$\
         Content-Length: 5$$frame",
        "frame",
    ),
    (
        "no body, by its length",
        "HTTP/1.1 200 OK$Content-Type: application/octet-stream$Content-Length: 0$$",
        "",
    ),
    (
        "no body, in no chunks",
        "HTTP/1.1 200 OK$Content-Type: application/octet-stream$Transfer-Encoding: chunked$$0$$",
        "",
    ),
];

/// The answer read in these pieces.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, TlsError> {
    let mut out = [0; 1536];
    read_answer(pieces, &mut out).map(|n| out[..n].to_vec())
}

#[test]
fn answers_of_ordinary_servers_and_proxies_are_taken_split_at_any_byte() {
    for (whose, answer, body) in ORDINARY {
        // A line may end with a line feed alone (RFC 9112 §2.2); a chunk's may not.
        let mut ends = vec!["\r\n"];
        if !answer.to_lowercase().contains("chunked") {
            ends.push("\n");
        }
        for end in ends {
            let answer = answer.replace('$', end).into_bytes();
            let expected = Ok(body.as_bytes().to_vec());
            for at in 0..=answer.len() {
                let (a, b) = answer.split_at(at);
                assert_eq!(read([a, b]), expected, "{whose}, split at {at}");
                // Cut there, it is no answer, but where the connection's end says so.
                let cut = read([a]);
                let ends_anywhere = whose.contains("ends with the connection");
                assert!(
                    at == answer.len() || cut == Err(TlsError::Closed) || ends_anywhere,
                    "{whose}, cut at {at}: {cut:?}"
                );
            }
            assert_eq!(read(answer.chunks(1)), expected, "{whose}, in bytes");
        }
    }
}

#[test]
fn a_proxy_may_add_any_number_of_fields_up_to_the_limit_in_bytes() {
    let answer = |fields: usize| {
        let added: String = (0..fields).map(|n| format!("X-{n:03}: y\r\n")).collect();
        format!(
            "HTTP/1.1 200 OK\r\n{added}Content-Type: application/octet-stream\r\n\
             Content-Length: 5\r\n\r\nframe"
        )
    };
    for fields in [31, 33, 100, 700] {
        assert_eq!(read([answer(fields).as_bytes()]), Ok(b"frame".to_vec()));
    }
    let too_many = read([answer(MAX_HEAD / 10).as_bytes()]);
    assert_eq!(too_many, Err(TlsError::HeadTooLarge));
    // Interim answers, and what chunks add, count as well.
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(400) + &answer(0);
    assert_eq!(read([interim.as_bytes()]), Err(TlsError::HeadTooLarge));
    let slivers = "1;padding=0123456789\r\nx\r\n".repeat(400);
    let slivers = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\
         Transfer-Encoding: chunked\r\n\r\n{slivers}0\r\n\r\n"
    );
    assert_eq!(read([slivers.as_bytes()]), Err(TlsError::HeadTooLarge));
}

/// A head that has no length yet.
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n";

/// Reads `before` and each text, whose `$` ends a line, whole and in bytes.
fn refused(before: &str, cases: &[(&str, TlsError)]) {
    for (text, expected) in cases {
        let answer = format!("{before}{}", text.replace('$', "\r\n"));
        assert_eq!(read([answer.as_bytes()]), Err(*expected), "{answer:?}");
        let bytes = answer.as_bytes().chunks(1);
        assert_eq!(read(bytes), Err(*expected), "{answer:?}");
    }
}

#[test]
fn chunks_that_two_readers_could_read_in_two_ways_are_refused() {
    use TlsError::{Http, TooLarge};
    let largest = format!("$600${}$1$x", "y".repeat(0x600));
    refused(
        &format!("{HEAD}Transfer-Encoding: chunked\r\n"),
        &[
            ("$5$frame$0$$x", Http),
            ("$5$frame0$$", Http),
            ("$$0$$", Http),
            ("$;x$$", Http),
            ("$-1$x", Http),
            ("$0x5$frame$0$$", Http),
            ("$5\nframe$0$$", Http),
            ("$0$no field$$", Http),
            ("$fffffffffffffffff$x", Http),
            ("$ffffffffffffffff$x", TooLarge),
            ("$601$x", TooLarge),
            (&largest, TooLarge),
            ("Content-Length: 5$$5$frame", Http),
            ("Transfer-Encoding: chunked$$", Http),
        ],
    );
    let old = HEAD.replace("HTTP/1.1", "HTTP/1.0");
    refused(&old, &[("Transfer-Encoding: chunked$$0$$", Http)]);
}

#[test]
fn heads_that_are_not_understood_are_refused_with_their_reason() {
    use TlsError::{Encoding, Http};
    refused(
        HEAD,
        &[
            ("Transfer-Encoding: gzip, chunked$$", Encoding),
            ("Transfer-Encoding: identity$$", Encoding),
            ("Content-Encoding: br$Content-Length: 1$$x", Encoding),
            // A folded line (RFC 9112 §5.2), and a blank before the colon.
            ("X: a$ b$Content-Length: 0$$", Http),
            ("Content-Length : 0$$", Http),
            ("Content-Type: application/octet-stream$", Http),
        ],
    );
    refused("\r\n", &[("HTTP/1.1 200 OK$", Http)]);
    refused("HTTP/2 200\r\n", &[("Content-Length: 0$$", Http)]);
    refused(
        "HTTP/1.1 200 OK\r\nContent-Type: ",
        &[("application/octet-streams$", Http), ("; charset=x$", Http)],
    );
}

#[test]
fn a_body_that_ends_with_the_connection_is_taken_only_if_nobody_cut_it() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\nframe";
    assert_eq!(answered(answer), Ok(b"frame".to_vec()));
    let cut = served(&GOOD, &rustls::version::TLS13, |tls| {
        read_request(tls).unwrap();
        // TCP ends, TLS does not: somebody in between may have done it.
        tls.write_all(answer.as_bytes()).unwrap();
        tls.flush().unwrap();
    });
    assert_eq!(cut, Err(TlsError::Closed));
}

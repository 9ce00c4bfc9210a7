//! The pages behind a proxy, with the headers that nginx and Caddy send unless told
//! otherwise; over real sockets. The proxy's address is one of this machine's.

use nrd_sim_base::sample::{Sample, Samples};
use nrd_sim_service::address::{ForwardedHeader, Proxies};
use nrd_sim_service::server::{Ports, Running, ServerOptions, start_with};
use nrd_sim_service::{Service, Settings};
use socket2::{Domain, Socket, Type};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;
use tempfile::TempDir;

const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 10);
const ORIGIN: &str = "https://tv.example";

struct Site {
    running: Running,
    holder: Sample,
    _dir: TempDir,
}

/// One answer: status, head in lower case but for values, body.
struct Answer {
    status: u16,
    head: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn cookies(&self) -> Vec<&str> {
        let set = self.head.iter().filter(|(name, _)| name == "set-cookie");
        set.map(|(_, value)| value.as_str()).collect()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self.head.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Site {
    fn new(header: ForwardedHeader) -> Site {
        let dir = tempfile::tempdir().unwrap();
        let service = Service::open(dir.path(), Settings::default()).unwrap();
        let samples = Samples::read(None).unwrap();
        service.add_samples(&samples).unwrap();
        let options = ServerOptions {
            public_origin: Some(ORIGIN.parse().unwrap()),
            proxies: Proxies {
                trusted: vec![PROXY.to_string().parse().unwrap()],
                header,
            },
            ..ServerOptions::default()
        };
        let ports = Ports { tls: 0, pages: 0 };
        let running = start_with(service, dir.path(), ports, options).unwrap();
        Site {
            running,
            holder: samples.accounts.into_iter().next().unwrap(),
            _dir: dir,
        }
    }

    /// Sends lines of a head, and a form where there is one.
    fn ask(&self, from: Ipv4Addr, request: &str, headers: &[&str], form: &str) -> Answer {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
        let port = self.running.pages_port;
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        socket.connect(&to.into()).unwrap();
        let mut line: TcpStream = socket.into();
        line.set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let mut text = format!("{request}\r\n");
        for header in headers {
            text += &header.replace("UPSTREAM", &format!("127.0.0.1:{port}"));
            text += "\r\n";
        }
        if !form.is_empty() {
            text += "Content-Type: application/x-www-form-urlencoded\r\n";
            text += &format!("Content-Length: {}\r\n", form.len());
        }
        text += &format!("Connection: close\r\n\r\n{form}");
        line.write_all(text.as_bytes()).unwrap();
        let mut said = String::new();
        line.read_to_string(&mut said).unwrap();
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let pair = |l: &str| {
            let (name, value) = l.split_once(": ").unwrap();
            (name.to_lowercase(), value.to_owned())
        };
        Answer {
            status: status.parse().unwrap(),
            head: lines.map(pair).collect(),
            body: body.to_owned(),
        }
    }

    /// Signs in as a browser would whose requests come with these headers; the answer
    /// to the form.
    fn sign_in(&self, from: Ipv4Addr, version: &str, headers: &[&str]) -> Answer {
        let page = self.ask(from, &format!("GET /login {version}"), headers, "");
        assert_eq!(page.status, 200, "{}", page.body);
        let cookie = page.cookies()[0].split(';').next().unwrap().to_owned();
        let csrf = page.body.split("name=\"csrf\" value=\"").nth(1).unwrap();
        let csrf = &csrf[..csrf.find('"').unwrap()];
        let (email, password) = (&self.holder.email, self.holder.password.replace(' ', "+"));
        let form = format!("csrf={csrf}&email={email}&password={password}&remember=yes");
        let cookie = format!("Cookie: {cookie}");
        let origin = format!("Origin: {ORIGIN}");
        let mut headers = headers.to_vec();
        headers.extend([&*cookie, &*origin, "Sec-Fetch-Site: same-origin"]);
        self.ask(from, &format!("POST /login {version}"), &headers, &form)
    }

    /// The addresses of the sign-ins in the account's activity, newest first.
    fn addresses(&self) -> Vec<String> {
        let service = &self.running.service;
        let (email, password) = (&self.holder.email, &self.holder.password);
        let account = service
            .check_password(email, password, "192.0.2.250")
            .unwrap();
        let events = service.events(account, 20).unwrap();
        events.into_iter().filter_map(|e| e.address).collect()
    }
}

fn is_signed_in_for_tls(answer: &Answer) {
    assert_eq!(answer.status, 303, "{}", answer.body);
    let cookies = answer.cookies();
    assert_eq!(cookies.len(), 3, "{cookies:?}");
    for cookie in cookies {
        let name = cookie.split('=').next().unwrap();
        assert!(
            name.starts_with("__Host-") && name.ends_with("-443"),
            "{cookie}"
        );
        for mark in ["; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/"] {
            assert!(cookie.contains(mark), "{cookie}");
        }
        assert!(!cookie.contains("Domain"), "{cookie}");
    }
    let hsts = answer.header("strict-transport-security");
    assert_eq!(hsts, Some("max-age=31536000"));
}

/// `proxy_pass` alone: HTTP/1.0, the upstream's name, nothing of who asks.
#[test]
fn behind_nginx_with_its_default_headers_people_sign_in() {
    let site = Site::new(ForwardedHeader::XForwardedFor);
    let answer = site.sign_in(PROXY, "HTTP/1.0", &["Host: UPSTREAM"]);
    is_signed_in_for_tls(&answer);
    // Nobody has said who asked.
    assert_eq!(site.addresses(), [PROXY.to_string()]);
}

/// `reverse_proxy` alone: the host as it was asked for, and who asks, in headers of
/// which it lets none of a client through.
#[test]
fn behind_caddy_with_its_default_headers_each_visitor_is_told_from_the_others() {
    let site = Site::new(ForwardedHeader::XForwardedFor);
    let caddy = |client: &str| {
        [
            "Host: tv.example".to_owned(),
            format!("X-Forwarded-For: {client}"),
            "X-Forwarded-Host: tv.example".to_owned(),
            "X-Forwarded-Proto: https".to_owned(),
        ]
    };
    for client in ["192.0.2.60", "2001:db8::7"] {
        let lines = caddy(client);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        is_signed_in_for_tls(&site.sign_in(PROXY, "HTTP/1.1", &lines));
    }
    assert_eq!(site.addresses(), ["2001:db8::7", "192.0.2.60"]);
}

#[test]
fn who_asks_is_believed_of_trusted_proxies_alone_and_in_one_header() {
    let site = Site::new(ForwardedHeader::XForwardedFor);
    let forged = ["Host: tv.example", "X-Forwarded-For: 192.0.2.66"];
    is_signed_in_for_tls(&site.sign_in(STRANGER, "HTTP/1.1", &forged));
    // What a client wrote stands to the left; the other header is nobody's.
    let appended = [
        "Host: tv.example",
        "Forwarded: for=192.0.2.66",
        "X-Forwarded-For: 192.0.2.66, 198.51.100.3",
    ];
    is_signed_in_for_tls(&site.sign_in(PROXY, "HTTP/1.1", &appended));
    assert_eq!(
        site.addresses(),
        ["198.51.100.3".to_owned(), STRANGER.to_string()]
    );
    let site = Site::new(ForwardedHeader::Forwarded);
    let lines = [
        "Host: tv.example",
        "Forwarded: for=192.0.2.66, for=\"[2001:db8::8]:99\";proto=https",
        "X-Forwarded-For: 192.0.2.66",
    ];
    is_signed_in_for_tls(&site.sign_in(PROXY, "HTTP/1.1", &lines));
    assert_eq!(site.addresses(), ["2001:db8::8"]);
}

#[test]
fn other_hosts_and_forms_of_other_origins_are_refused() {
    let site = Site::new(ForwardedHeader::XForwardedFor);
    let get = |from, host: &str| {
        let host = format!("Host: {host}");
        site.ask(from, "GET /login HTTP/1.1", &[&host], "").status
    };
    assert_eq!(get(STRANGER, "tv.example"), 200);
    for other in ["UPSTREAM", "localhost", "evil.example", "tv.example:8443"] {
        assert_eq!(get(STRANGER, other), 421, "{other}");
    }
    assert_eq!(
        get(PROXY, "evil.example"),
        200,
        "its proxy knows which site it serves"
    );
    let post = |origin: &str| {
        let origin = format!("Origin: {origin}");
        let headers = ["Host: UPSTREAM", &*origin];
        site.ask(PROXY, "POST /login HTTP/1.1", &headers, "csrf=a")
            .status
    };
    for other in [
        "https://evil.example",
        "http://tv.example",
        "null",
        "http://UPSTREAM",
    ] {
        assert_eq!(post(other), 403, "{other}");
    }
}

#[test]
fn two_servers_on_one_host_keep_their_cookies_apart() {
    let serve = |dir: &TempDir| {
        let service = Service::open(dir.path(), Settings::default()).unwrap();
        let ports = Ports { tls: 0, pages: 0 };
        start_with(service, dir.path(), ports, ServerOptions::default()).unwrap()
    };
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let servers = [serve(&dirs[0]), serve(&dirs[1])];
    let names = servers.each_ref().map(|running| {
        let url = format!("http://127.0.0.1:{}/login", running.pages_port);
        let answer = ureq::get(&url).call().unwrap();
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        cookie.split('=').next().unwrap().to_owned()
    });
    assert_ne!(names[0], names[1]);
    assert_eq!(names[0], format!("before-login-{}", servers[0].pages_port));
}

#[test]
fn the_service_listens_on_ipv6_beside_ipv4() {
    if TcpStream::connect((Ipv6Addr::LOCALHOST, 1))
        .is_err_and(|e| e.kind() != std::io::ErrorKind::ConnectionRefused)
    {
        let required = std::env::var_os("NRD_REQUIRE_ALL").is_some();
        assert!(!required, "IPv6 is required, but missing");
        println!("SKIPPED: no IPv6 here; that the service listens on it was NOT tried");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let service = Service::open(dir.path(), Settings::default()).unwrap();
    let ports = Ports { tls: 0, pages: 0 };
    let options = ServerOptions {
        ops: Some(0),
        ..ServerOptions::default()
    };
    let running = start_with(service, dir.path(), ports, options).unwrap();
    let addresses: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    for address in addresses {
        for port in [
            running.pages_port,
            running.device_port,
            running.ops_port.unwrap(),
        ] {
            assert!(
                TcpStream::connect((address, port)).is_ok(),
                "{address} {port}"
            );
        }
        let url = format!(
            "http://{}/login",
            SocketAddr::new(address, running.pages_port)
        );
        assert_eq!(ureq::get(&url).call().unwrap().status(), 200, "{url}");
    }
}

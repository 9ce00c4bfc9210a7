//! Clients that do what they must not, each kind from addresses of its own.

use super::super::device::Town;
use super::super::removals::PASSWORD;
use super::HostilePlan;
use nrd_agent::tls::PATH;
use nrd_sim_hw::SplitMix;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

/// What is done to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    Crowd,
    HalfHead,
    DrippingHead,
    HalfBody,
    DrippingBody,
    HalfGreeting,
    SilenceAfterTls,
    NotReading,
    Greetings,
    WrongPasswords,
    GuessedCodes,
    EventStreams,
    HugeHead,
    HugeForm,
    EndlessForm,
    HugeFrame,
    NoHttp,
    NoTls,
    NoFrame,
    ReplayedFrames,
    ReplayedForms,
}

/// Each with its name, how many clients do it at once (the crowd's size is the
/// plan's), and how many milliseconds each rests in between.
const ATTACKS: [(Attack, &str, usize, u64); 21] = [
    (Attack::Crowd, "silent connections", 0, 200),
    (Attack::HalfHead, "half a head", 60, 100),
    (Attack::DrippingHead, "a head that drips", 40, 100),
    (Attack::HalfBody, "half a body", 60, 100),
    (Attack::DrippingBody, "a body that drips", 40, 100),
    (Attack::HalfGreeting, "half a TLS greeting", 40, 100),
    (Attack::SilenceAfterTls, "silence after TLS", 40, 100),
    (Attack::NotReading, "an answer that nobody reads", 20, 100),
    (Attack::Greetings, "TLS greetings", 4, 20),
    (Attack::WrongPasswords, "wrong passwords", 32, 10),
    (Attack::GuessedCodes, "guessed codes", 4, 20),
    (Attack::EventStreams, "event streams", 40, 100),
    (Attack::HugeHead, "a head of 100 KB", 2, 50),
    (Attack::HugeForm, "a form of 10 MB", 2, 50),
    (Attack::EndlessForm, "a form without an end", 2, 50),
    (Attack::HugeFrame, "a frame of 1 MB", 2, 50),
    (Attack::NoHttp, "no HTTP", 4, 20),
    (Attack::NoTls, "no TLS", 4, 20),
    (Attack::NoFrame, "no frames", 4, 20),
    (Attack::ReplayedFrames, "replayed frames", 4, 20),
    (Attack::ReplayedForms, "replayed forms", 4, 20),
];

/// A connection is given up after this long, whoever holds it.
const LONGEST: Duration = Duration::from_secs(100);
/// How long an attacker waits for an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Addresses of one attack.
const ADDRESSES: u64 = 200;

/// A browser session, by hand.
pub(super) struct Session {
    /// `Cookie` of its requests.
    cookie: String,
    /// What its forms carry.
    csrf: String,
}

impl Session {
    /// Signs person `n` in over the plain pages.
    pub(super) async fn begin(port: u16, n: usize) -> io::Result<Session> {
        let mut line = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let email = format!("p{n}%40example.com");
        line.write_all(login(port, &email, &PASSWORD.replace(' ', "+")).as_bytes())
            .await?;
        let answer = answer(&mut line).await?;
        let name = format!("session-{port}=");
        let cookie = answer
            .split("\r\n")
            .filter_map(|l| l.split_once(": ").map(|(_, value)| value))
            .filter_map(|value| value.split(';').next())
            .find(|value| value.starts_with(&name))
            .ok_or_else(|| io::Error::other("not signed in"))?
            .to_owned();
        let mut line = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let ask = format!(
            "GET /account/devices HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\
             Connection: close\r\n\r\n"
        );
        line.write_all(ask.as_bytes()).await?;
        let page = self::answer(&mut line).await?;
        let csrf = page
            .split("name=\"csrf\" value=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .ok_or_else(|| io::Error::other("a page without a form"))?
            .to_owned();
        Ok(Session { cookie, csrf })
    }
}

/// A sign-in form: whoever sends it makes its token up.
fn login(port: u16, email: &str, password: &str) -> String {
    let token = "5a".repeat(16);
    let form = format!("csrf={token}&email={email}&password={password}");
    format!(
        "POST /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Cookie: before-login-{port}={token}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    )
}

/// Whatever comes until the other side closes, as text; at most a megabyte.
async fn answer(line: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut part = line.take(1 << 20);
    timeout(ANSWER, part.read_to_end(&mut bytes)).await??;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads until the other side ends it.
async fn until_cut(line: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut part = [0; 4096];
    while line.read(&mut part).await? > 0 {}
    Ok(())
}

/// What attackers know.
pub(super) struct Target {
    pages: u16,
    tls: u16,
    town: Arc<Town>,
    /// Requests of a device that lived and was wiped.
    frames: Vec<Vec<u8>>,
    session: Session,
    /// Address of that device's activation.
    activation: String,
    tried: [AtomicU64; ATTACKS.len()],
}

impl Target {
    pub(super) fn new(
        pages: u16,
        tls: u16,
        town: Arc<Town>,
        frames: Vec<Vec<u8>>,
        session: Session,
        activation: String,
    ) -> Target {
        Target {
            pages,
            tls,
            town,
            frames,
            session,
            activation,
            tried: Default::default(),
        }
    }

    /// How often each was tried.
    pub(super) fn tried(&self) -> BTreeMap<&'static str, u64> {
        let names = ATTACKS.iter().map(|a| a.1);
        let counts = self.tried.iter().map(|n| n.load(Ordering::Relaxed));
        names.zip(counts).collect()
    }
}

/// Starts all of them.
pub(super) fn start(runtime: &Handle, target: &Arc<Target>, plan: &HostilePlan) {
    for (kind, (attack, _, clients, rest)) in ATTACKS.into_iter().enumerate() {
        let clients = match attack {
            Attack::Crowd => plan.crowd,
            _ => clients,
        };
        for n in 0..clients as u64 {
            let target = target.clone();
            let mut dice = Dice(SplitMix(plan.seed ^ ((kind as u64) << 32 | n)));
            runtime.spawn(async move {
                loop {
                    let host = 1 + (n % ADDRESSES) as u8;
                    let from = Ipv4Addr::new(127, 0, 10 + kind as u8, host);
                    target.tried[kind].fetch_add(1, Ordering::Relaxed);
                    #[expect(
                        clippy::let_underscore_must_use,
                        reason = "however it ends, it begins again"
                    )]
                    let _ = timeout(LONGEST, target.try_once(attack, from, &mut dice)).await;
                    sleep(Duration::from_millis(rest)).await;
                }
            });
        }
    }
}

/// What is random in an attack.
struct Dice(SplitMix);

impl Dice {
    fn of(&mut self, n: usize) -> usize {
        self.0.below(n as u64) as usize
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.0.draw() as u8).collect()
    }
}

const HEAD: &str = "GET /login HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
const GET: &str = "GET /login HTTP/1.1\r\nHost: localhost\r\n\r\n";
const FORM: &str = "POST /login HTTP/1.1\r\nHost: localhost\r\n\
    Content-Type: application/x-www-form-urlencoded\r\n";

impl Target {
    async fn connect(&self, from: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        // Small, so that what is not read soon stops the sender.
        socket.set_recv_buffer_size(4096)?;
        socket.bind(SocketAddr::from((from, 0)))?;
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        socket.connect(to).await
    }

    async fn try_once(&self, attack: Attack, from: Ipv4Addr, dice: &mut Dice) -> io::Result<()> {
        match attack {
            Attack::Crowd => until_cut(&mut self.connect(from, self.tls).await?).await,
            Attack::HalfHead => self.hold(from, HEAD.as_bytes()).await,
            Attack::DrippingHead => self.drip(from, HEAD).await,
            Attack::HalfBody => {
                let half = format!("{FORM}Content-Length: 5000\r\n\r\ncsrf=");
                self.hold(from, half.as_bytes()).await
            }
            Attack::DrippingBody => {
                self.drip(from, &format!("{FORM}Content-Length: 5000\r\n\r\n"))
                    .await
            }
            Attack::HalfGreeting => {
                let mut line = self.connect(from, self.tls).await?;
                line.write_all(&[22, 3, 1, 2, 0, 1, 0]).await?;
                until_cut(&mut line).await
            }
            Attack::SilenceAfterTls => {
                let line = self.connect(from, self.tls).await?;
                until_cut(&mut self.town.greet(line).await?.0).await
            }
            Attack::NotReading => self.read_nothing(from).await,
            Attack::Greetings => {
                let line = self.connect(from, self.tls).await?;
                self.town.greet(line).await.map(drop)
            }
            Attack::WrongPasswords => self.guess_password(from, dice).await,
            Attack::GuessedCodes => self.guess_code(from, dice).await,
            Attack::EventStreams => self.hold_stream(from).await,
            Attack::HugeHead => {
                let head = format!("{HEAD}{}\r\n\r\n", "a".repeat(100_000));
                self.send(from, head.as_bytes()).await
            }
            Attack::HugeForm => self.huge_form(from).await,
            Attack::EndlessForm => self.endless_form(from).await,
            Attack::HugeFrame => self.frames(from, [vec![0x5A; 1 << 20]].into_iter()).await,
            Attack::NoHttp => {
                let bytes = no_http(dice, self.pages);
                self.send(from, &bytes).await
            }
            Attack::NoTls => {
                let mut line = self.connect(from, self.tls).await?;
                line.write_all(&no_tls(dice)).await?;
                line.shutdown().await?;
                until_cut(&mut line).await
            }
            Attack::NoFrame => {
                let frames: Vec<Vec<u8>> = (0..20).map(|_| self.no_frame(dice)).collect();
                self.frames(from, frames.into_iter()).await
            }
            Attack::ReplayedFrames => self.replay_frames(from, dice).await,
            Attack::ReplayedForms => self.replay_form(from, dice).await,
        }
    }

    /// Passwords of the honest, and of e-mail addresses that nobody has.
    async fn guess_password(&self, from: Ipv4Addr, dice: &mut Dice) -> io::Result<()> {
        let email = match dice.of(2) {
            0 => format!("p{}%40example.com", dice.of(4)),
            _ => format!("x{}%40example.com", dice.0.draw()),
        };
        let host = 1 + dice.of(ADDRESSES as usize) as u8;
        let from = Ipv4Addr::new(127, 0, from.octets()[2], host);
        let mut line = self.connect(from, self.pages).await?;
        line.write_all(login(self.pages, &email, "a+guess").as_bytes())
            .await?;
        answer(&mut line).await.map(drop)
    }

    /// A code that no screen shows.
    async fn guess_code(&self, from: Ipv4Addr, dice: &mut Dice) -> io::Result<()> {
        const LETTERS: &[u8] = b"BCDFGHJKLMNPQRSTVWXZ";
        let code: String = (0..8)
            .map(|_| char::from(LETTERS[dice.of(LETTERS.len())]))
            .collect();
        self.form(from, "/activate", &format!("code={code}"), false)
            .await
    }

    /// An event stream that is held.
    async fn hold_stream(&self, from: Ipv4Addr) -> io::Result<()> {
        let mut line = self.connect(from, self.pages).await?;
        let cookie = &self.session.cookie;
        let ask =
            format!("GET /account/live HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n");
        line.write_all(ask.as_bytes()).await?;
        until_cut(&mut line).await
    }

    /// A form that is much too large.
    async fn huge_form(&self, from: Ipv4Addr) -> io::Result<()> {
        let head = format!("{FORM}Content-Length: 10000000\r\n\r\n");
        let mut bytes = head.into_bytes();
        bytes.resize(bytes.len() + 10_000_000, b'a');
        self.send(from, &bytes).await
    }

    /// A form whose end is never announced.
    async fn endless_form(&self, from: Ipv4Addr) -> io::Result<()> {
        let mut line = self.connect(from, self.pages).await?;
        line.write_all(format!("{FORM}Transfer-Encoding: chunked\r\n\r\n").as_bytes())
            .await?;
        let chunk = format!("1000\r\n{}\r\n", "a".repeat(4096));
        loop {
            line.write_all(chunk.as_bytes()).await?;
        }
    }

    /// Asks, and takes nothing of what is answered.
    async fn read_nothing(&self, from: Ipv4Addr) -> io::Result<()> {
        let mut line = self.connect(from, self.pages).await?;
        loop {
            line.write_all(&GET.as_bytes().repeat(50)).await?;
        }
    }

    /// A form that was sent before, with its token or a wrong one.
    async fn replay_form(&self, from: Ipv4Addr, dice: &mut Dice) -> io::Result<()> {
        let device = &self.activation;
        let paths = [
            format!("{device}/remove"),
            format!("{device}/sign-out"),
            format!("{device}/rename"),
            "/account/devices/remove-all".to_owned(),
            "/activate/confirm".to_owned(),
            "/policy".to_owned(),
        ];
        let path = &paths[dice.of(paths.len())];
        let more = "name=again&decision=allow&code=BBBBBBBB&version=1";
        self.form(from, path, more, dice.of(2) == 0).await
    }

    /// What a device has sent in its life, as it came and in another order.
    async fn replay_frames(&self, from: Ipv4Addr, dice: &mut Dice) -> io::Result<()> {
        let other = (0..20).map(|_| self.frames[dice.of(self.frames.len())].clone());
        self.frames(from, self.frames.iter().cloned().chain(other))
            .await
    }

    /// Sends the beginning of something, and holds the connection.
    async fn hold(&self, from: Ipv4Addr, bytes: &[u8]) -> io::Result<()> {
        let mut line = self.connect(from, self.pages).await?;
        line.write_all(bytes).await?;
        until_cut(&mut line).await
    }

    /// Goes on with a byte a second.
    async fn drip(&self, from: Ipv4Addr, begin: &str) -> io::Result<()> {
        let mut line = self.connect(from, self.pages).await?;
        line.write_all(begin.as_bytes()).await?;
        loop {
            line.write_all(b"a").await?;
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Sends all of it, and takes what comes.
    async fn send(&self, from: Ipv4Addr, bytes: &[u8]) -> io::Result<()> {
        let mut line = self.connect(from, self.pages).await?;
        line.write_all(bytes).await?;
        line.shutdown().await?;
        answer(&mut line).await.map(drop)
    }

    /// Posts a form of the insider's, with its token or a wrong one.
    async fn form(&self, from: Ipv4Addr, path: &str, more: &str, wrong: bool) -> io::Result<()> {
        let Session { cookie, csrf } = &self.session;
        let csrf = if wrong { "0000" } else { csrf };
        let form = format!("csrf={csrf}&{more}");
        let post = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Cookie: {cookie}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{form}",
            form.len()
        );
        let mut line = self.connect(from, self.pages).await?;
        line.write_all(post.as_bytes()).await?;
        answer(&mut line).await.map(drop)
    }

    /// Posts frames over one TLS connection.
    async fn frames(
        &self,
        from: Ipv4Addr,
        frames: impl Iterator<Item = Vec<u8>>,
    ) -> io::Result<()> {
        let line = self.connect(from, self.tls).await?;
        let mut line = self.town.greet(line).await?.0;
        for frame in frames {
            let head = format!(
                "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
                frame.len()
            );
            line.write_all(head.as_bytes()).await?;
            line.write_all(&frame).await?;
            some_answer(&mut line).await?;
        }
        Ok(())
    }

    /// Bytes that are no frame, or one that was altered.
    fn no_frame(&self, dice: &mut Dice) -> Vec<u8> {
        let mut frame = match dice.of(4) {
            0 => {
                let n = dice.of(1536);
                dice.bytes(n)
            }
            1 => Vec::new(),
            _ => self.frames[dice.of(self.frames.len())].clone(),
        };
        for _ in 0..1 + dice.of(8) {
            let at = dice.of(frame.len());
            if let Some(byte) = frame.get_mut(at) {
                *byte ^= 1 << dice.of(8);
            }
        }
        let cut = dice.of(4) * frame.len() / 8;
        frame.truncate(frame.len() - cut);
        frame
    }
}

/// One answer on a connection that stays: whatever its status, it has come.
async fn some_answer(line: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let mut part = [0; 4096];
    match timeout(ANSWER, line.read(&mut part)).await?? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn no_http(dice: &mut Dice, port: u16) -> Vec<u8> {
    let host = "Host: localhost\r\n";
    let random = dice.bytes(300);
    let text = match dice.of(14) {
        0 => return random,
        1 => "GET / HTTP/9.9\r\n\r\n".to_owned(),
        2 => "GET /\r\n\r\n".to_owned(),
        3 => "G\0T / HTTP/1.1\r\n\r\n".to_owned(),
        4 => format!("{FORM}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{GET}"),
        5 => format!("{FORM}Content-Length: -1\r\n\r\n"),
        6 => format!("{FORM}Content-Length: 99999999999999999999\r\n\r\n"),
        7 => format!("{FORM}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\na"),
        8 => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        9 => format!("CONNECT evil.example:443 HTTP/1.1\r\n{host}\r\n"),
        10 => format!("GET http://evil.example/ HTTP/1.1\r\n{host}\r\n"),
        11 => format!(
            "GET /login HTTP/1.1\r\n{host}{}\r\n",
            "X: y\r\n".repeat(500)
        ),
        12 => format!(
            "GET /account/devices/%00%ff%2e%2e/remove HTTP/1.1\r\n{host}\
             Cookie: session-{port}=%00; session-{port}={}\r\n\r\n",
            "0".repeat(5000)
        ),
        _ => format!("GET /{} HTTP/1.1\r\n{host}\r\n", "%2f..".repeat(2000)),
    };
    text.into_bytes()
}

fn no_tls(dice: &mut Dice) -> Vec<u8> {
    let n = dice.of(2000);
    let random = dice.bytes(n);
    match dice.of(5) {
        0 => random,
        // A record longer than any.
        1 => [&[22, 3, 1, 0xFF, 0xFF], &random[..]].concat(),
        // A greeting of 16 MB.
        2 => [&[22, 3, 1, 0x40, 0, 1, 0xFF, 0xFF, 0xFF], &random[..]].concat(),
        // Empty records without an end.
        3 => [22, 3, 3, 0, 0].repeat(2000),
        _ => GET.as_bytes().to_vec(),
    }
}

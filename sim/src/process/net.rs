//! The network thread: one request in flight, with time-outs. Faults can be
//! asked for, as a link that loses answers or is unplugged.

use embedded_io_adapters::std::FromStd;
use nrd_agent::tls::{HttpsClient, KnownTime, PATH, TlsError};
use nrd_agent::wire::MAX_FRAME;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Longest time until a connection stands.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest silence; longer than a check-in may wait.
const SILENCE: Duration = Duration::from_secs(40);

/// Longest time of an exchange, whatever the peer does.
pub(super) const EXCHANGE_MS: u32 = 60_000;

/// Faults of the link.
#[derive(Default)]
pub(super) struct Faults {
    /// The plug is out.
    pub(super) unplugged: AtomicBool,
    /// This many answers get lost on their way.
    pub(super) lose: AtomicU32,
}

/// The thread's front.
pub(super) struct Net {
    pub(super) faults: Arc<Faults>,
    client: Arc<HttpsClient>,
    requests: Sender<(u64, Vec<u8>)>,
}

/// What came of a request.
///
/// An answer may carry a token: it is zeroized when dropped.
pub(super) type Answer = Result<Zeroizing<Vec<u8>>, TlsError>;

impl Net {
    /// Starts the thread. Answers go to `tell`.
    pub(super) fn start(
        client: HttpsClient,
        authority: String,
        tell: impl Fn(u64, Answer) + Send + 'static,
    ) -> Net {
        let (requests, inbox) = channel();
        let faults = Arc::new(Faults::default());
        let theirs = faults.clone();
        let client = Arc::new(client);
        let its = client.clone();
        std::thread::spawn(move || serve(&its, &authority, &inbox, &theirs, tell));
        Net {
            faults,
            client,
            requests,
        }
    }

    /// A wipe begins: no connection resumes a session of before.
    pub(super) fn forget_session(&self) {
        self.client.forget_session();
    }

    /// Posts a request; its answer will carry the same number. Certificates are
    /// judged by what the agent knows of the time.
    pub(super) fn post(&self, id: u64, request: Vec<u8>, time: KnownTime) {
        self.client.note_time(time);
        // The thread lives as long as this front.
        #[expect(
            clippy::let_underscore_must_use,
            reason = "the thread lives as long as this front"
        )]
        let _ = self.requests.send((id, request));
    }
}

fn serve(
    client: &HttpsClient,
    authority: &str,
    inbox: &Receiver<(u64, Vec<u8>)>,
    faults: &Faults,
    tell: impl Fn(u64, Answer),
) {
    while let Ok((id, request)) = inbox.recv() {
        let answer = if faults.unplugged.load(Ordering::SeqCst) {
            Err(TlsError::Connect)
        } else {
            exchange(client, authority, &request)
        };
        let lost = faults
            .lose
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .is_ok();
        let unplugged = faults.unplugged.load(Ordering::SeqCst);
        let answer = if lost || unplugged {
            Err(TlsError::Io)
        } else {
            answer
        };
        tell(id, answer);
    }
}

fn exchange(client: &HttpsClient, authority: &str, request: &[u8]) -> Answer {
    let begin = Instant::now();
    let mut uptime_ms = || u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut deadline = client.deadline(&mut uptime_ms);
    let mut stream = FromStd::new(connect(authority).ok_or(TlsError::Connect)?);
    let mut answer = Zeroizing::new(vec![0; MAX_FRAME]);
    let n = client.post(&mut stream, PATH, request, &mut answer, &mut deadline)?;
    answer.truncate(n);
    Ok(answer)
}

fn connect(authority: &str) -> Option<TcpStream> {
    let addresses: Vec<SocketAddr> = authority.to_socket_addrs().ok()?.collect();
    let stream = addresses
        .iter()
        .find_map(|a| TcpStream::connect_timeout(a, CONNECT).ok())?;
    stream.set_read_timeout(Some(SILENCE)).ok()?;
    stream.set_write_timeout(Some(CONNECT)).ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

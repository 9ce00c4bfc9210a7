//! Connections: how many, how many of one address, and how long a client may take.
//!
//! A client that sends slowly, stops in the middle, or does not read what it asked
//! for costs one connection until its time is up, and nobody else anything. Where all
//! connections are taken, whoever comes next takes the place of the neighbourhood that
//! holds the most: a crowd displaces itself, and locks nobody out.
//!
//! | what is slow | who cuts it |
//! |---|---|
//! | the TLS handshake | [`RustlsAcceptor`](axum_server::tls_rustls::RustlsAcceptor) |
//! | the first request's head | [`axum_server::Server::first_request_timeout`] |
//! | a later head, and silence between requests | hyper's `header_read_timeout` |
//! | a body | `bodies_in_time` |
//! | reading the answer | `GuardedStream` |

use crate::address::{neighbourhood_of, network_of};
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum_server::accept::Accept;
use futures_util::StreamExt as _;
use futures_util::stream::unfold;
use futures_util::task::AtomicWaker;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use std::collections::{HashMap, VecDeque};
use std::future::{Ready, ready};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready as ready_or_pending};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

/// What a connection may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections to one port.
    pub in_all: usize,
    /// Connections of one address to one port; an IPv6 /64 is one address.
    pub per_address: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From there until the head of the first request is whole.
    pub first_request: Duration,
    /// From an answer until the head of the next request is whole.
    pub next_request: Duration,
    /// For a body, and as much again for what `BODY_RATE` carries in it.
    pub body: Duration,
    /// For the client to take anything at all of what is being sent to it.
    pub stalled: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            in_all: 8192,
            per_address: 256,
            handshake: Duration::from_secs(10),
            first_request: Duration::from_secs(15),
            // Longer than proxies keep an idle connection: who closes it while the
            // other sends loses a request.
            next_request: Duration::from_secs(75),
            body: Duration::from_secs(20),
            stalled: Duration::from_secs(20),
        }
    }
}

/// A body that is larger gets a second more for each so many bytes of it that have
/// come, so that a large photo may take longer than a small form.
const BODY_RATE: u32 = 64 * 1024;
/// Largest head of a request, in bytes.
pub(crate) const MAX_HEAD: usize = 32 * 1024;
/// Files that the process needs besides its connections.
const OTHER_FILES: u64 = 200;

impl Limits {
    /// No more connections than the system gives files for.
    fn within_open_files(self) -> Limits {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let room = files.map_or(usize::MAX, |n| {
            usize::try_from(n.saturating_sub(OTHER_FILES).max(16)).unwrap_or(usize::MAX)
        });
        if room < self.in_all {
            tracing::warn!(
                room,
                wanted = self.in_all,
                "fewer connections than asked for: the limit of open files (ulimit -n) is lower"
            );
        }
        Limits {
            in_all: self.in_all.min(room),
            ..self
        }
    }
}

/// Connections that were closed at once, by why.
pub(crate) type Refused = Family<[(&'static str, &'static str); 1], Counter>;

/// Admits connections to one port.
#[derive(Clone)]
pub(crate) struct Admission(Arc<Port>);

struct Port {
    limits: Limits,
    /// Who may hold as many as there are: a proxy speaks for many.
    unlimited: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
    refused: Refused,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    in_all: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Of each neighbourhood, the oldest first; without those of proxies.
    by_neighbourhood: HashMap<IpAddr, VecDeque<Arc<Ending>>>,
}

/// Tells a connection to end.
#[derive(Default)]
struct Ending {
    told: AtomicBool,
    waker: AtomicWaker,
}

impl Ending {
    fn tell(&self) {
        self.told.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// An error once it was told; otherwise the task is woken then.
    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.waker.register(cx.waker());
        if self.told.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl Open {
    /// Ends the oldest connection of the neighbourhood that holds the most, unless
    /// that is the newcomer's own.
    fn displace(&mut self, newcomer: IpAddr) -> bool {
        let of_newcomer = self
            .by_neighbourhood
            .get(&newcomer)
            .map_or(0, VecDeque::len);
        let most = self.by_neighbourhood.values_mut().max_by_key(|n| n.len());
        let oldest = most
            .filter(|n| n.len() > of_newcomer + 1)
            .and_then(VecDeque::pop_front);
        oldest.inspect(|o| o.tell()).is_some()
    }
}

/// One admitted connection. Dropping it makes room.
struct Place {
    port: Arc<Port>,
    address: IpAddr,
    neighbourhood: IpAddr,
    ending: Arc<Ending>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.port.open();
        if let Some(n) = open.by_address.get_mut(&self.address) {
            *n -= 1;
            if *n == 0 {
                open.by_address.remove(&self.address);
            }
        }
        if let Some(them) = open.by_neighbourhood.get_mut(&self.neighbourhood) {
            them.retain(|e| !Arc::ptr_eq(e, &self.ending));
            if them.is_empty() {
                open.by_neighbourhood.remove(&self.neighbourhood);
            }
        }
        // The place of a connection that was told to end went to another at once.
        if !self.ending.told.load(Ordering::Acquire) {
            open.in_all -= 1;
        }
    }
}

impl Port {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    pub(crate) fn new(
        limits: Limits,
        refused: Refused,
        unlimited: impl Fn(IpAddr) -> bool + Send + Sync + 'static,
    ) -> Admission {
        Admission(Arc::new(Port {
            limits: limits.within_open_files(),
            unlimited: Box::new(unlimited),
            refused,
            open: Mutex::default(),
        }))
    }

    fn admit(&self, from: IpAddr) -> Option<Place> {
        let port = &self.0;
        let (address, neighbourhood) = (network_of(from), neighbourhood_of(from));
        let unlimited = (port.unlimited)(from);
        let mut open = port.open();
        let of_address = open.by_address.get(&address).copied().unwrap_or_default();
        let full = open.in_all >= port.limits.in_all;
        let refused = |why| port.refused.get_or_create(&[("limit", why)]).inc();
        if of_address >= port.limits.per_address && !unlimited {
            refused("address");
            return None;
        }
        if full {
            // This connection, or the one whose place it takes.
            refused("all");
            if !open.displace(neighbourhood) {
                return None;
            }
        } else {
            open.in_all += 1;
        }
        open.by_address.insert(address, of_address + 1);
        let ending = Arc::new(Ending::default());
        if !unlimited {
            let them = open.by_neighbourhood.entry(neighbourhood).or_default();
            them.push_back(ending.clone());
        }
        Some(Place {
            port: port.clone(),
            address,
            neighbourhood,
            ending,
        })
    }
}

impl<S> Accept<TcpStream, S> for Admission {
    type Stream = GuardedStream;
    type Service = S;
    type Future = Ready<io::Result<(GuardedStream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let guarded = stream.peer_addr().and_then(|from| {
            // An answer goes out at once, not when the next packet is full.
            stream.set_nodelay(true)?;
            let place = self.admit(from.ip());
            place.ok_or_else(|| io::Error::other("too many connections"))
        });
        ready(guarded.map(|place| {
            let stream = GuardedStream {
                stream,
                patience: self.0.limits.stalled,
                stalled: None,
                place,
            };
            (stream, service)
        }))
    }
}

/// A connection that holds its place, and ends when its client takes nothing of
/// what is sent to it.
pub(crate) struct GuardedStream {
    stream: TcpStream,
    patience: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    place: Place,
}

impl GuardedStream {
    /// Passes a result on; an error when the client has taken nothing for too long.
    fn unless_stalled<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + patience)));
        ready_or_pending!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.place.ending.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.place.ending.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.unless_stalled(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.place.ending.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.unless_stalled(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Answers 408 to a request whose body takes too long.
///
/// The handler is what reads the body, and what says why it could not: it is told of
/// an error, and its answer is replaced.
pub(crate) async fn bodies_in_time(
    State(limit): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let late = Arc::new(AtomicBool::new(false));
    let in_time = |body: Body| {
        let begun = Instant::now();
        let late = late.clone();
        let parts = unfold(
            (body.into_data_stream(), 0u32, late),
            move |(mut body, had, late)| async move {
                let until = begun + limit + limit_of(had);
                let part: io::Result<Bytes> = match timeout_at(until, body.next()).await {
                    Ok(part) => part?.map_err(io::Error::other),
                    Err(_) if late.swap(true, Ordering::Relaxed) => return None,
                    Err(_) => Err(io::ErrorKind::TimedOut.into()),
                };
                let more = part.as_ref().map_or(0, Bytes::len);
                let had = had.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
                Some((part, (body, had, late)))
            },
        );
        Body::from_stream(parts)
    };
    let response = next.run(request.map(in_time)).await;
    if !late.load(Ordering::Relaxed) {
        return response;
    }
    let mut response = StatusCode::REQUEST_TIMEOUT.into_response();
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// How much longer a body may take of which so many bytes have come.
fn limit_of(had: u32) -> Duration {
    Duration::from_secs(1) * (had / BODY_RATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(in_all: usize, per_address: usize) -> Admission {
        let limits = Limits {
            in_all,
            per_address,
            ..Limits::default()
        };
        let proxy: IpAddr = "203.0.113.7".parse().unwrap();
        Admission::new(limits, Refused::default(), move |from| from == proxy)
    }

    fn told(place: &Place) -> bool {
        place.ending.told.load(Ordering::Acquire)
    }

    #[test]
    fn attack_53_a_stranger_with_a_48_of_addresses_displaces_himself_alone() {
        let admission = admission(40, 8);
        let of = |n: u16| IpAddr::from([0x2001, 0xdb8, 7, n, 0, 0, 0, 1]);
        let home: Vec<Place> = (0..8u16)
            .map(|n| IpAddr::from([0x2001, 0xdb8, 9, 9, 0, 0, 0, n]))
            .map(|a| admission.admit(a).unwrap())
            .collect();
        let same = IpAddr::from([0x2001, 0xdb8, 9, 9, 0, 0, 0, 99]);
        assert!(admission.admit(same).is_none(), "a /64 is one address");
        let crowd: Vec<Place> = (0..500).filter_map(|n| admission.admit(of(n))).collect();
        assert_eq!(crowd.len(), 32);
        // Others come, as many as the crowd has places.
        let others: Vec<Place> = (0..16u8)
            .map(|n| IpAddr::from([198, 51, n, 1]))
            .map(|a| admission.admit(a).unwrap())
            .collect();
        assert_eq!(crowd.iter().filter(|p| told(p)).count(), 16);
        assert!(told(&crowd[0]) && !told(&crowd[31]), "the oldest first");
        assert!(!home.iter().chain(&others).any(told));
        assert!(admission.admit(of(501)).is_none(), "it comes back in vain");
        drop(crowd);
        assert!(admission.admit(of(502)).is_some());
        drop((home, others));
        let open = admission.0.open();
        assert_eq!(open.in_all, 0, "every place is given back once");
        assert!(open.by_address.is_empty() && open.by_neighbourhood.is_empty());
    }

    #[test]
    fn who_comes_through_a_proxy_is_displaced_by_nobody() {
        let admission = admission(40, 8);
        let proxy: IpAddr = "203.0.113.7".parse().unwrap();
        let through: Vec<Place> = (0..40).filter_map(|_| admission.admit(proxy)).collect();
        assert_eq!(through.len(), 40);
        assert!(admission.admit([198, 51, 100, 1].into()).is_none());
        assert!(!through.iter().any(told));
    }
}

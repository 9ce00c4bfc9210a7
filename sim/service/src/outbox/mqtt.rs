//! Orders to an MQTT 3.1.1 broker: a topic a device, quality of service 1, the
//! same signed bytes that a check-in carries. An order has its authority in
//! itself; the broker needs none and can forge nothing. It may lose, repeat
//! and reorder: the device judges each order by itself, and the poll goes on.

use super::{LOOK, OutboxWorker, pause, put_back, take_due, taken};
use crate::Service;
use crate::store::{Outbox, OutboxMessage};
use crate::tls_client::TlsFiles;
use rumqttc::{
    Client, Connection, Event, MqttOptions, Outgoing, Packet, Publish, QoS, RecvTimeoutError,
    TlsConfiguration, Transport,
};
use rustls::ClientConfig;
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Orders on their way at once.
const BATCH: u32 = 64;
/// How long the broker may take to acknowledge them.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest order, in bytes, and some room.
const MAX_PACKET: usize = 4096;

/// Where a broker is.
#[derive(Clone)]
pub struct Broker {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
}

impl Broker {
    /// Reads `mqtt://host:port`, or `mqtts://host:port` with the root of the
    /// broker's certificate (`ca`) and, where it asks for one, the client's
    /// certificate and key in one file (`identity`), all PEM.
    pub fn parse(url: &str, ca: Option<&Path>, identity: Option<&Path>) -> Result<Broker, String> {
        let bad = || {
            format!(
                "`{url}` is no address of a broker; mqtt://host:1883 or mqtts://host:8883 is expected"
            )
        };
        let (rest, secure) = match url.strip_prefix("mqtts://") {
            Some(rest) => (rest, true),
            None => (url.strip_prefix("mqtt://").ok_or_else(bad)?, false),
        };
        let rest = rest.trim_end_matches('/');
        let usual = if secure { 8883 } else { 1883 };
        // A colon within brackets belongs to an IPv6 address.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| bad())?),
            _ => (rest, usual),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains(['/', '@']) {
            return Err(bad());
        }
        let tls = match (secure, ca) {
            (true, Some(ca)) => {
                let identity = identity.map(|file| (file.to_owned(), file.to_owned()));
                let ca = ca.to_owned();
                Some(Arc::new(TlsFiles { ca, identity }.client_config()?))
            }
            (true, None) => return Err("mqtts needs the broker's root: --mqtt-ca FILE".to_owned()),
            (false, None) if identity.is_none() => None,
            (false, _) => return Err("certificates are used with mqtts:// alone".to_owned()),
        };
        Ok(Broker {
            host: host.to_owned(),
            port,
            tls,
        })
    }

    /// `keep`: the broker keeps what arrives while this client is away.
    fn connect(&self, id: &str, keep: bool) -> (Client, Connection) {
        let mut options = MqttOptions::new(id, &self.host, self.port);
        options
            .set_keep_alive(Duration::from_secs(15))
            .set_clean_session(!keep)
            .set_max_packet_size(MAX_PACKET, MAX_PACKET)
            .set_inflight(BATCH as u16);
        if let Some(tls) = &self.tls {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(
                tls.clone(),
            )));
        }
        Client::new(options, 2 * BATCH as usize)
    }
}

/// The topic of a device: what may not stand in a topic is escaped.
pub fn topic(device_id: &str) -> String {
    let mut out = "nrd/1/order/".to_owned();
    for b in device_id.bytes() {
        match b {
            b if b.is_ascii_alphanumeric() || b"-_.".contains(&b) => out.push(char::from(b)),
            b => out += &format!("%{b:02X}"),
        }
    }
    out
}

/// Starts to hand orders over.
pub fn start(service: Arc<Service>, broker: Broker) -> std::io::Result<OutboxWorker> {
    OutboxWorker::start("orders", move |stop| {
        let mut failures = 0;
        while !stop.load(Ordering::SeqCst) {
            let began = Instant::now();
            let why = session(&service, &broker, stop);
            if began.elapsed() > PATIENCE {
                failures = 0;
            }
            if stop.load(Ordering::SeqCst) {
                return;
            }
            failures += 1;
            service.metrics.handed(Outbox::Orders, "broker away");
            tracing::warn!(failures, %why, "the broker is away; devices hear orders at their next check-in");
            // Half a second doubling to half a minute.
            let cap = (250u64 << failures.min(7)).min(30_000);
            // Without randomness it waits the shortest time: safe as well.
            let draw = getrandom::u64().unwrap_or(0);
            pause(stop, Duration::from_millis(cap / 2 + draw % cap / 2));
        }
    })
}

/// One connection to the broker, until it breaks.
fn session(service: &Service, broker: &Broker, stop: &AtomicBool) -> String {
    // Two clients of one id would throw each other out.
    let id = match getrandom::u64() {
        Ok(n) => format!("nrd-service-{n:016x}"),
        Err(e) => return e.to_string(),
    };
    let (client, mut connection) = broker.connect(&id, false);
    let mut connected = false;
    let until = Instant::now() + PATIENCE;
    while !stop.load(Ordering::SeqCst) {
        match connection.recv_timeout(LOOK) {
            Ok(Ok(Event::Incoming(Packet::ConnAck(_)))) => connected = true,
            Ok(Ok(_)) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Err(e)) => return e.to_string(),
            Err(RecvTimeoutError::Disconnected) => return "the connection ended".to_owned(),
        }
        if !connected {
            if Instant::now() > until {
                return "no answer".to_owned();
            }
            continue;
        }
        // More of them may come than one turn carries.
        loop {
            let due = take_due(service, Outbox::Orders, BATCH, stop);
            if due.is_empty() || stop.load(Ordering::SeqCst) {
                break;
            }
            if let Err(why) = publish(service, &client, &mut connection, due) {
                return why;
            }
        }
    }
    // A courtesy: a broker that does not hear it sees the connection end.
    #[expect(
        clippy::let_underscore_must_use,
        reason = "without this the device's poll brings its orders"
    )]
    let _ = client.disconnect();
    "stopping".to_owned()
}

/// Publishes rows and waits until the broker has each.
fn publish(
    service: &Service,
    client: &Client,
    connection: &mut Connection,
    due: Vec<OutboxMessage>,
) -> Result<(), String> {
    // Published in order, so numbered in order.
    let mut unnumbered: VecDeque<i64> = VecDeque::new();
    let mut unacknowledged: HashMap<u16, i64> = HashMap::new();
    let mut tries: HashMap<i64, u32> = HashMap::new();
    for row in due {
        tries.insert(row.id, row.tries);
        let sent = client.try_publish(topic(&row.topic), QoS::AtLeastOnce, false, row.body);
        if sent.is_ok() {
            unnumbered.push_back(row.id);
        }
    }
    let until = Instant::now() + PATIENCE;
    let mut why = "not acknowledged in time".to_owned();
    while !(unnumbered.is_empty() && unacknowledged.is_empty()) && Instant::now() < until {
        match connection.recv_timeout(LOOK) {
            Ok(Ok(Event::Outgoing(Outgoing::Publish(number)))) => {
                if let Some(id) = unnumbered.pop_front() {
                    unacknowledged.insert(number, id);
                }
            }
            Ok(Ok(Event::Incoming(Packet::PubAck(ack)))) => {
                if let Some(id) = unacknowledged.remove(&ack.pkid) {
                    tries.remove(&id);
                    taken(service, Outbox::Orders, id);
                }
            }
            Ok(Ok(_)) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Err(e)) => {
                why = e.to_string();
                break;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    for (id, n) in &tries {
        put_back(service, Outbox::Orders, *id, *n);
    }
    if tries.is_empty() { Ok(()) } else { Err(why) }
}

/// The device's side: receives orders for `device_id`, and hands each to
/// `take`, until that says false.
pub fn listen(broker: &Broker, device_id: &str, take: impl Fn(Vec<u8>) -> bool) {
    let mine = topic(device_id);
    loop {
        let (client, mut connection) = broker.connect(&mine.replace('/', "-"), true);
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    // It fails when the queue of requests is full, and nothing
                    // else was asked on this connection yet. Without the
                    // subscription the device's poll brings its orders.
                    #[expect(
                        clippy::let_underscore_must_use,
                        reason = "without this the device's poll brings its orders"
                    )]
                    let _ = client.try_subscribe(&mine, QoS::AtLeastOnce);
                }
                Ok(Event::Incoming(Packet::Publish(Publish { topic, payload, .. })))
                    if topic == mine =>
                {
                    if !take(payload.to_vec()) {
                        return;
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_id_cannot_leave_its_topic() {
        assert_eq!(topic("NRD-STB-1"), "nrd/1/order/NRD-STB-1");
        assert_eq!(topic("a/#+b"), "nrd/1/order/a%2F%23%2Bb");
        assert_ne!(topic("a%2Fb"), topic("a/b"));
    }

    #[test]
    fn an_address_of_a_broker_is_read_or_refused() {
        let read = |url: &str| Broker::parse(url, None, None).map(|b| (b.host, b.port));
        assert_eq!(
            read("mqtt://127.0.0.1:1884").unwrap(),
            ("127.0.0.1".into(), 1884)
        );
        assert_eq!(read("mqtt://broker").unwrap(), ("broker".into(), 1883));
        assert_eq!(read("mqtt://[::1]").unwrap(), ("::1".into(), 1883));
        assert_eq!(read("mqtt://[::1]:1885/").unwrap(), ("::1".into(), 1885));
        for bad in [
            "http://x",
            "mqtt://",
            "mqtt://x:y",
            "mqtt://u@x:1",
            "x",
            "mqtts://x",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let file = Path::new("/no/such");
        for (url, ca, identity, says) in [
            ("mqtts://x", None, None, "--mqtt-ca"),
            ("mqtts://x", None, Some(file), "--mqtt-ca"),
            ("mqtts://x", Some(file), None, "/no/such"),
            ("mqtt://x", Some(file), None, "mqtts:// alone"),
            ("mqtt://x", None, Some(file), "mqtts:// alone"),
        ] {
            let why = Broker::parse(url, ca, identity).err().unwrap();
            assert!(why.contains(says), "{why}");
        }
    }
}

//! TLS to a real PostgreSQL and a real broker: everything over it, nothing
//! without it, and nobody else at the other end.

mod common;

use common::pki::Authority;
use common::{EXE, activate, click_remove, skip};
use nrd_sim::demo::{Browser, Child};
use nrd_sim::load::broker::Mosquitto;
use nrd_sim::load::postgres::{Server, free_port};
use nrd_sim::load::process::ServiceProcess;
use nrd_sim::service::outbox::mqtt::topic;
use rumqttc::{
    Client, ConnectionError, Event, MqttOptions, Packet, QoS, TlsConfiguration, Transport,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

fn signed_in(service: &ServiceProcess) -> Browser {
    let browser = Browser::new(&format!("http://127.0.0.1:{}", service.pages_port));
    browser
        .sign_in("alexandra@example.com", "correct horse battery", false)
        .unwrap();
    browser
}

fn television(home: &Path, keys: &Path, service: &ServiceProcess, serial: u64) -> Child {
    let url = format!("https://localhost:{}", service.device_port);
    let dir = home.join(format!("tv-{serial}"));
    Child::new(
        Path::new(EXE),
        &dir,
        &url,
        &keys.join("ca.pem"),
        "stb",
        serial,
    )
}

/// What a start says that fails.
fn refusal(dir: &Path, args: &[&str]) -> String {
    let out = Command::new(EXE)
        .args(["serve", "--port", "0", "--pages-port", "0", "--dir"])
        .arg(dir)
        .args(args)
        .output()
        .unwrap();
    assert!(!out.status.success(), "{args:?} started");
    String::from_utf8(out.stderr).unwrap()
}

#[test]
fn everything_to_postgresql_is_over_tls_and_nobody_else_is_taken_for_it() {
    let Some(mut server) = Server::start() else {
        return skip("PostgreSQL", "TLS to the database");
    };
    let home = tempfile::tempdir().unwrap();
    let ours = Authority::new(home.path(), "ours");
    let here = ours.leaf("db", &["127.0.0.1"]);
    let client = ours.leaf("nrd", &[]);
    server.sql("CREATE ROLE nrd LOGIN SUPERUSER");
    server.sql("CREATE ROLE scram LOGIN SUPERUSER PASSWORD 'correct-horse'");
    let hba = "hostnossl all postgres 127.0.0.1/32 trust\n\
               hostssl all nrd 127.0.0.1/32 cert\n\
               hostssl all scram 127.0.0.1/32 scram-sha-256\n";
    server.use_tls(&ours.ca, &here.cert, &here.key, hba);

    let port = server.port;
    let ca = ours.ca.display();
    let by_certificate = format!(
        "postgres://nrd@127.0.0.1:{port}/postgres?sslmode=verify-full&sslrootcert={ca}&sslcert={}&sslkey={}",
        client.cert.display(),
        client.key.display()
    );
    let keys = home.path().join("keys");
    let keys_dir = keys.to_str().unwrap();
    let start = |name: &str, database: &str| {
        let more = ["--keys", keys_dir, "--database", database];
        ServiceProcess::start(Path::new(EXE), &home.path().join(name), &more).unwrap()
    };
    let first = start("one", &by_certificate);
    let by_password = format!(
        "postgres://scram:correct-horse@127.0.0.1:{port}/postgres\
         ?channel_binding=require&sslmode=verify-full&sslrootcert={ca}"
    );
    let second = start("two", &by_password);

    // The device waits at one process, the click comes at the other: NOTIFY,
    // over the listening connection, is what wakes it.
    let people = signed_in(&first);
    let mut tv = television(home.path(), &keys, &second, 1);
    tv.start(false).unwrap();
    activate(&mut tv, &people);
    click_remove(&people);
    tv.wait_state("clean").unwrap();
    people.wait_state("/receipt", "Proven wiped").unwrap();
    let connections = |ssl: bool| -> u32 {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
             WHERE application_name = 'nrd-sim' AND ssl = {ssl}"
        );
        server.sql(&sql).parse().unwrap()
    };
    assert_eq!(connections(false), 0, "a connection without TLS");
    assert!(
        connections(true) >= 4,
        "each process has a pool and listens"
    );

    // Another root, another name, no certificate, no TLS.
    let other = Authority::new(home.path(), "other");
    let with = |more: &str| format!("postgres://nrd@127.0.0.1:{port}/postgres?{more}");
    let identity = format!(
        "sslcert={}&sslkey={}",
        client.cert.display(),
        client.key.display()
    );
    let stranger = with(&format!(
        "sslmode=verify-full&sslrootcert={}&{identity}",
        other.ca.display()
    ));
    let misnamed = by_certificate.replace("127.0.0.1", "localhost");
    let nobody = with(&format!("sslmode=verify-full&sslrootcert={ca}"));
    let wrong = by_password.replace("correct-horse", "incorrect-horse");
    let clear = with("sslmode=disable");
    for (database, says) in [
        (&stranger, "UnknownIssuer"),
        (&misnamed, "not valid for name"),
        (&nobody, "valid client certificate"),
        (&wrong, "password authentication failed"),
        (&clear, "no encryption"),
    ] {
        let refused = home.path().join("refused");
        let said = refusal(&refused, &["--keys", keys_dir, "--database", database]);
        assert!(said.contains(says), "{says}: {said}");
        assert!(!said.contains("incorrect-horse"), "{said}");
    }
}

/// The configuration that `docs/deploy` gives, with the paths of this test.
fn documented_broker(home: &Path, authority: &Authority, port: u16) -> String {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/deploy");
    let broker = authority.leaf("broker", &["127.0.0.1", "localhost"]);
    let acl = home.join("mosquitto.acl");
    std::fs::copy(deploy.join("mosquitto.acl"), &acl).unwrap();
    let mut text = std::fs::read_to_string(deploy.join("mosquitto.conf")).unwrap();
    for (there, here) in [
        ("listener 8883", format!("listener {port} 127.0.0.1")),
        ("/etc/nrd/mqtt-ca.pem", authority.ca.display().to_string()),
        ("/etc/nrd/broker.pem", broker.cert.display().to_string()),
        ("/etc/nrd/broker.key", broker.key.display().to_string()),
        ("/etc/nrd/mosquitto.acl", acl.display().to_string()),
    ] {
        assert!(text.contains(there), "{there}");
        text = text.replace(there, &here);
    }
    // The broker gives up root's rights, and must read them all the same.
    text + "user root\n"
}

#[test]
fn a_broker_over_tls_lets_the_service_write_and_each_device_read_its_own() {
    let home = tempfile::tempdir().unwrap();
    let ours = Authority::new(home.path(), "ours");
    let port = free_port();
    let config = documented_broker(home.path(), &ours, port);
    let Some(_broker) = Mosquitto::start_with(port, config) else {
        return skip("mosquitto", "TLS to the broker");
    };
    let url = format!("mqtts://localhost:{port}");
    let ca = ours.ca.to_str().unwrap();
    let own = ours.leaf("nrd-service", &[]);
    let dir = home.path().join("service");
    let more = [
        "--mqtt",
        &url,
        "--mqtt-ca",
        ca,
        "--mqtt-identity",
        own.both.to_str().unwrap(),
        "--check-in",
        "3600",
    ];
    let service = ServiceProcess::start(Path::new(EXE), &dir, &more).unwrap();
    let people = signed_in(&service);
    let id = "NRD-TLS-1";
    let device = ours.leaf(id, &[]);
    let mut tv = television(home.path(), &dir, &service, 1)
        .option("--id", Some(id))
        .option("--wait", Some("0"))
        .option("--mqtt", Some(&url))
        .option("--mqtt-ca", Some(ca))
        .option("--mqtt-identity", Some(device.both.to_str().unwrap()));

    // Another device, with a certificate of the same authority, listens for it.
    let thief = ours.leaf("NRD-TLS-2", &[]);
    let (thief, thief_hears) = client(port, &ours.ca, &thief.both);
    subscribed(&thief, &thief_hears, &topic(id));

    tv.start(false).unwrap();
    activate(&mut tv, &people);
    std::thread::sleep(Duration::from_millis(500));
    click_remove(&people);
    // By check-ins alone it would take an hour.
    let applied = tv.wait("order", |_| true).unwrap();
    assert_eq!(applied["result"], "applied");
    tv.wait_state("clean").unwrap();
    people.wait_state("/receipt", "Proven wiped").unwrap();
    // A device may not write: what it publishes reaches nobody, though the
    // broker acknowledges it (MQTT 3.1.1 has no way to say no).
    let (reader, reader_hears) = client(port, &ours.ca, &device.both);
    subscribed(&reader, &reader_hears, &topic(id));
    let publish = |from: &Client, text: &str| {
        from.publish(topic(id), QoS::AtLeastOnce, false, text.as_bytes())
            .unwrap();
    };
    publish(&thief, "forged");
    wait_for(&thief_hears, |p| matches!(p, Packet::PubAck(_)));
    let (writer, _writer_hears) = client(port, &ours.ca, &own.both);
    publish(&writer, "allowed");
    let seen = wait_for(&reader_hears, |p| matches!(p, Packet::Publish(_)));
    let Packet::Publish(seen) = seen else {
        unreachable!("it was waited for")
    };
    assert_eq!(seen.payload.as_ref(), b"allowed");
    let overheard = thief_hears.try_iter().flatten();
    let overheard = overheard.filter(|p| matches!(p, Packet::Publish(_)));
    assert_eq!(overheard.count(), 0, "another device's order was heard");

    // With another authority's certificate nobody is let in, and a broker of
    // another root is none.
    let other = Authority::new(home.path(), "other");
    let foreign = other.leaf("nrd-service", &[]);
    for (ca, identity) in [(&ours.ca, &foreign.both), (&other.ca, &own.both)] {
        let (_client, hears) = client(port, ca, identity);
        let first = hears.recv_timeout(PATIENCE).unwrap();
        assert!(first.is_err(), "let in: {first:?}");
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

/// What a client hears, and why it ended.
type Hears = Receiver<Result<Packet, ConnectionError>>;

fn client(port: u16, ca: &Path, identity: &Path) -> (Client, Hears) {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let chain = vec![CertificateDer::from_pem_file(identity).unwrap()];
    let key = PrivateKeyDer::from_pem_file(identity).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    let name = format!("test-{:08x}", getrandom::u32().unwrap());
    let mut options = MqttOptions::new(name, "localhost", port);
    let tls = TlsConfiguration::Rustls(Arc::new(config));
    options.set_transport(Transport::tls_with_config(tls));
    let (client, mut connection) = Client::new(options, 16);
    let (tell, hears) = channel();
    std::thread::spawn(move || {
        for event in connection.iter() {
            let heard = match event {
                Ok(Event::Incoming(packet)) => Ok(packet),
                Ok(Event::Outgoing(_)) => continue,
                Err(e) => Err(e),
            };
            let ended = heard.is_err();
            if tell.send(heard).is_err() || ended {
                return;
            }
        }
    });
    (client, hears)
}

fn wait_for(hears: &Hears, fits: impl Fn(&Packet) -> bool) -> Packet {
    loop {
        let packet = hears.recv_timeout(PATIENCE).unwrap().unwrap();
        if fits(&packet) {
            return packet;
        }
    }
}

fn subscribed(client: &Client, hears: &Hears, topic: &str) {
    client.subscribe(topic, QoS::AtLeastOnce).unwrap();
    wait_for(hears, |p| matches!(p, Packet::SubAck(_)));
}

//! The service's connections to PostgreSQL when the database behind them changes, and
//! through a real PgBouncer.

mod common;

use common::{EXE, eventually, skip};
use nrd_sim::demo::Browser;
use nrd_sim::load::postgres::{Server, free_port};
use nrd_sim::load::process::ServiceProcess;
use nrd_sim::service::Error;
use nrd_sim::service::store::{Sealed, Store};
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// An address that leads to one server or another, as a name or a virtual address does
/// at a fail-over.
struct Switch {
    port: u16,
    to: Arc<AtomicU16>,
}

impl Switch {
    fn new(to: u16) -> Switch {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let to = Arc::new(AtomicU16::new(to));
        let target = to.clone();
        std::thread::spawn(move || {
            for line in listener.incoming() {
                let (Ok(line), to) = (line, target.load(Ordering::SeqCst)) else {
                    continue;
                };
                if let Ok(server) = TcpStream::connect(("127.0.0.1", to)) {
                    carry(&line, &server);
                    carry(&server, &line);
                }
            }
        });
        Switch { port, to }
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

/// Carries what one side sends to the other, until it sends no more.
fn carry(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || -> io::Result<()> {
        let mut part = [0; 8192];
        loop {
            match from.read(&mut part)? {
                0 => return to.shutdown(Shutdown::Write),
                n => to.write_all(&part[..n])?,
            }
        }
    });
}

/// Works on as many connections as the pool has.
fn at_once(work: impl Fn(u8) -> Result<(), Error> + Sync) -> Vec<Error> {
    let start = std::sync::Barrier::new(32);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..32)
            .map(|n| {
                let (work, start) = (&work, &start);
                scope.spawn(move || {
                    start.wait();
                    work(n)
                })
            })
            .collect();
        let done = threads.into_iter().map(|t| t.join().unwrap());
        done.filter_map(Result::err).collect()
    })
}

/// FINDINGS S17: 503 until a restart, because the pool kept its read-only connections.
#[test]
fn after_a_fail_over_connections_to_the_old_server_are_thrown_away() {
    let (Some(old), Some(new)) = (Server::start(), Server::start()) else {
        return skip("PostgreSQL", "a fail-over");
    };
    let switch = Switch::new(old.port);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::postgres(&switch.url(), dir.path()).unwrap();
    drop(Store::postgres(&new.url(), dir.path()).unwrap());
    assert!(at_once(|_| store.healthy()).is_empty());
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'nrd-sim'";
    let made: u32 = old.sql(connections).parse().unwrap();
    assert!(made > 4, "more of them than a request tries");

    // The old server becomes a standby; the address leads to the new one.
    old.sql("ALTER SYSTEM SET default_transaction_read_only = on");
    old.sql("SELECT pg_reload_conf()");
    eventually("a read-only server", || {
        old.sql("SHOW default_transaction_read_only") == "on"
    });
    switch.to.store(new.port, Ordering::SeqCst);
    let add = |n| {
        let sealed = |_| Ok(Sealed::default());
        store.add_account(&[n; 32], "*", 1, sealed).map(drop)
    };
    // Alone it meets one connection after the other.
    add(99).unwrap();
    let failed = at_once(add);
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(new.sql("SELECT count(*) FROM accounts"), "33");
    assert_eq!(old.sql("SELECT count(*) FROM accounts"), "0");
    assert!(at_once(|_| store.healthy()).is_empty());
}

/// A PgBouncer before a server; it ends with its test.
struct PgBouncer {
    process: Child,
    port: u16,
    _home: tempfile::TempDir,
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl PgBouncer {
    fn before(server: &Server, pool_mode: &str) -> Option<PgBouncer> {
        let home = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = format!(
            "[databases]\npostgres = host=127.0.0.1 port={} dbname=postgres user=postgres\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = {pool_mode}\nuser = postgres\n",
            server.port
        );
        let file = home.path().join("pgbouncer.ini");
        std::fs::write(&file, config).unwrap();
        let started = ["pgbouncer", "/usr/sbin/pgbouncer"]
            .iter()
            .find_map(|name| {
                let mut program = Command::new(name);
                program.arg("-q").arg(&file);
                program
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .ok()
            });
        let Some(process) = started else {
            skip("pgbouncer", "PostgreSQL through a pooler");
            return None;
        };
        let bouncer = PgBouncer {
            process,
            port,
            _home: home,
        };
        eventually("PgBouncer", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Some(bouncer)
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

/// FINDINGS S21: refused at the start, or 28 of 30 sign-ins failed while `/readyz` said
/// ready.
#[test]
fn pgbouncer_by_session_works_and_by_transaction_is_refused_with_what_helps() {
    let Some(server) = Server::start() else {
        return skip("PostgreSQL", "PostgreSQL through a pooler");
    };
    let Some(bouncer) = PgBouncer::before(&server, "session") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("service");
    let url = bouncer.url();
    let service = ServiceProcess::start(Path::new(EXE), &dir, &["--database", &url]).unwrap();
    let pages = format!("http://127.0.0.1:{}", service.pages_port);
    // Four at once: a fifth try of one account may have to wait.
    for round in 0..8 {
        let failed: Vec<String> = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| {
                scope.spawn(|| {
                    let browser = Browser::new(&pages);
                    browser.sign_in("alexandra@example.com", "correct horse battery", false)
                })
            });
            let done = threads.into_iter().map(|t| t.join().unwrap());
            done.filter_map(Result::err).collect()
        });
        assert!(failed.is_empty(), "round {round}: {failed:?}");
    }
    assert_eq!(service.ops("/readyz").unwrap().0, 200);
    drop(service);
    drop(bouncer);

    for mode in ["transaction", "statement"] {
        let bouncer = PgBouncer::before(&server, mode).unwrap();
        for _ in 0..5 {
            let refused = Store::postgres(&bouncer.url(), home.path()).err();
            let refused = refused.expect("refused").to_string();
            assert!(refused.contains("pool_mode = session"), "{mode}: {refused}");
        }
    }
}

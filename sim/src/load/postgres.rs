//! A PostgreSQL server of a run's own: its data in a folder that goes away, its
//! port free, `fsync` on, killed at will.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running server. Dropping it stops it.
pub struct Server {
    home: TempDir,
    bin: PathBuf,
    /// Where it listens, on loopback.
    pub port: u16,
    process: Option<Child>,
}

/// Where Debian keeps the newest server's programs.
pub fn programs() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|e| Some(e.ok()?.path().join("bin")))
        .filter(|p| p.join("postgres").exists() && p.join("initdb").exists())
        .collect();
    found.sort();
    found.pop()
}

/// A free port of this machine.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().map_or(0, |a| a.port())
}

fn succeed(command: &mut Command) {
    let done = command.stdout(Stdio::null()).status();
    assert!(done.is_ok_and(|s| s.success()), "{command:?}");
}

fn am_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|o| o.stdout.starts_with(b"0\n"))
}

impl Server {
    /// A new server; `None` where the machine has no PostgreSQL.
    pub fn start() -> Option<Server> {
        let bin = programs()?;
        let home = tempfile::tempdir().expect("a folder for the server");
        let mut server = Server {
            bin,
            port: free_port(),
            process: None,
            home,
        };
        // It refuses root: everything of it belongs to Debian's own user.
        if am_root() {
            let open = fs::Permissions::from_mode(0o755);
            fs::set_permissions(server.home.path(), open).ok()?;
            let mut chown = Command::new("chown");
            succeed(chown.arg("postgres").arg(server.home.path()));
        }
        let data = server.data();
        succeed(
            server
                .program("initdb")
                .args(["--auth=trust", "--username=postgres", "--encoding=UTF8"])
                .args(["--locale=C", "--no-instructions", "-D"])
                .arg(&data),
        );
        server.switch_on();
        Some(server)
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// One of the server's own programs, as the user that may run it.
    pub fn program(&self, name: &str) -> Command {
        let path = self.bin.join(name);
        if !am_root() {
            return Command::new(path);
        }
        let mut c = Command::new("setpriv");
        c.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
            .arg(path)
            .current_dir(self.home.path());
        c
    }

    /// Where a service finds its database.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts it, and waits until it answers.
    ///
    /// # Panics
    /// When it does not within a minute.
    pub fn switch_on(&mut self) {
        let data = self.data();
        let port = self.port.to_string();
        let log = fs::File::create(self.home.path().join("log")).expect("a log file");
        let process = self
            .program("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-p", &port, "-h", "127.0.0.1", "-k", ""])
            .args(["-c", "fsync=on", "-c", "max_connections=100"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("postgres starts");
        self.process = Some(process);
        let until = Instant::now() + Duration::from_secs(60);
        while !self.answers() {
            assert!(Instant::now() < until, "{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts it again with TLS, these PEM files and these lines as its
    /// `pg_hba.conf`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn use_tls(&mut self, ca: &Path, cert: &Path, key: &Path, hba: &str) {
        let data = self.data();
        let auth = self.home.path().join("pg_hba.conf");
        fs::write(&auth, hba).expect("a file of rules");
        let owner: &[&str] = if am_root() { &["-o", "postgres"] } else { &[] };
        for (from, name) in [
            (ca, "root.crt"),
            (cert, "server.crt"),
            (key, "server.key"),
            (&auth, "pg_hba.conf"),
        ] {
            let mut install = Command::new("install");
            install.args(owner).args(["-m", "600"]);
            succeed(install.arg(from).arg(data.join(name)));
        }
        let on = "ALTER SYSTEM SET ssl = on; ALTER SYSTEM SET ssl_ca_file = 'root.crt'";
        for line in on.split("; ") {
            self.sql(line);
        }
        self.stop_at_once();
        self.switch_on();
    }

    /// Starts it again so that nobody is heard without TLS; gives the address
    /// that verifies its certificate.
    ///
    /// # Panics
    /// When it does not start.
    pub fn over_tls_alone(&mut self) -> String {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
        let made = made.expect("a certificate");
        let [cert, key] = ["tls.crt", "tls.key"].map(|name| self.home.path().join(name));
        fs::write(&cert, made.cert.pem()).expect("a certificate's file");
        fs::write(&key, made.signing_key.serialize_pem()).expect("a key's file");
        self.use_tls(&cert, &cert, &key, "hostssl all all 127.0.0.1/32 trust\n");
        format!(
            "{}?sslmode=verify-full&sslrootcert={}",
            self.url(),
            cert.display()
        )
    }

    fn answers(&self) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
            && self
                .program("pg_isready")
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status()
                .is_ok_and(|s| s.success())
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// `SIGKILL` to the server and everything of it: the power went.
    pub fn kill(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        // Its children are ours as well; it dies first, so that it cannot tidy up.
        let backends = children(process.id());
        #[expect(
            clippy::let_underscore_must_use,
            reason = "what is left is removed with its folder"
        )]
        let _ = process.kill();
        for child in backends {
            signal(child, "KILL");
        }
        #[expect(
            clippy::let_underscore_must_use,
            reason = "what is left is removed with its folder"
        )]
        let _ = process.wait();
        // What `SIGKILL` leaves behind; nobody uses it any more.
        #[expect(
            clippy::let_underscore_must_use,
            reason = "what is left is removed with its folder"
        )]
        let _ = fs::remove_file(self.data().join("postmaster.pid"));
    }

    /// `pg_ctl stop -m immediate`.
    pub fn stop_at_once(&mut self) {
        let data = self.data();
        succeed(
            self.program("pg_ctl")
                .args(["stop", "-m", "immediate", "-w", "-D"])
                .arg(&data),
        );
        if let Some(mut process) = self.process.take() {
            #[expect(
                clippy::let_underscore_must_use,
                reason = "what is left is removed with its folder"
            )]
            let _ = process.wait();
        }
    }

    /// Runs SQL by `psql`; gives what it prints.
    pub fn sql(&self, text: &str) -> String {
        let out = self
            .program("psql")
            .args(["-X", "-A", "-t", "-q", "-h", "127.0.0.1", "-U", "postgres"])
            .args(["-p", &self.port.to_string(), "-d", "postgres", "-c", text])
            // Where this user may look for a certificate, and finds none.
            .env("HOME", self.home.path())
            .output()
            .expect("psql starts");
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// The folder that goes away with it.
    pub fn home(&self) -> &Path {
        self.home.path()
    }
}

fn children(of: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{of}/task/{of}/children"));
    let words = listed.unwrap_or_default();
    words.split_whitespace().flat_map(str::parse).collect()
}

/// Sends a signal to one process that this run started.
pub fn signal(pid: u32, name: &str) {
    #[expect(
        clippy::let_underscore_must_use,
        reason = "what is left is removed with its folder"
    )]
    let _ = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .stderr(Stdio::null())
        .status();
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

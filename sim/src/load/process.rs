//! A service as a child process.

use super::postgres::signal;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A running `nrd-sim serve`. Dropping it kills it.
pub struct ServiceProcess {
    child: Child,
    /// Where devices call.
    pub device_port: u16,
    /// The account pages.
    pub pages_port: u16,
    /// Metrics and health.
    pub ops_port: u16,
    log: PathBuf,
}

impl ServiceProcess {
    /// Starts `exe serve --dir DIR` on free ports and waits until it serves;
    /// its log goes to `DIR/log`.
    pub fn start(exe: &Path, dir: &Path, more: &[&str]) -> Result<ServiceProcess, String> {
        ServiceProcess::start_under(&[], exe, dir, more)
    }

    /// The same under another program, such as `taskset -c 0`.
    pub fn start_under(
        under: &[&str],
        exe: &Path,
        dir: &Path,
        more: &[&str],
    ) -> Result<ServiceProcess, String> {
        std::fs::create_dir_all(dir).map_err(|e| e.to_string())?;
        let log = dir.join("log");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(|e| e.to_string())?;
        let mut command = match under.split_first() {
            Some((program, args)) => {
                let mut c = Command::new(program);
                c.args(args).arg(exe);
                c
            }
            None => Command::new(exe),
        };
        command.arg("serve");
        if !more.contains(&"--connections") {
            // Thousands of devices call from this machine's one address.
            command.args(["--connections", "100000"]);
            command.args(["--connections-per-address", "100000"]);
        }
        let mut child = command
            .args(["--port", "0", "--pages-port", "0"])
            .args(["--ops-port", "0", "--log", "json", "--dir"])
            .arg(dir)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .map_err(|e| format!("the service does not start: {e}"))?;
        let mut ports = [0; 3];
        let mut out = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut line = String::new();
        while out.read_line(&mut line).is_ok_and(|n| n > 0) {
            for (at, word) in ["devices", "pages", "ops"].iter().enumerate() {
                if line.starts_with(word) {
                    ports[at] = port(&line).unwrap_or(0);
                }
            }
            if line.starts_with("Ctrl-C") {
                break;
            }
            line.clear();
        }
        // Read on, so that it is never stopped by a full pipe.
        std::thread::spawn(move || out.read_to_end(&mut Vec::new()));
        let [device_port, pages_port, ops_port] = ports;
        let process = ServiceProcess {
            child,
            device_port,
            pages_port,
            ops_port,
            log,
        };
        match process.device_port {
            0 => Err(format!("the service does not start: {}", process.log())),
            _ => Ok(process),
        }
    }

    /// The most memory that it had so far, in bytes.
    pub fn peak_memory(&self) -> Option<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).ok()?;
        let peak = status.lines().find(|l| l.starts_with("VmHWM:"))?;
        let kib: u64 = peak.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `SIGKILL`.
    pub fn kill(&mut self) {
        #[expect(
            clippy::let_underscore_must_use,
            reason = "it may have ended by itself"
        )]
        let _ = self.child.kill();
        #[expect(
            clippy::let_underscore_must_use,
            reason = "it may have ended by itself"
        )]
        let _ = self.child.wait();
    }

    /// `SIGTERM`, and how it ended.
    pub fn end(&mut self) -> Result<ExitStatus, String> {
        signal(self.child.id(), "TERM");
        self.child.wait().map_err(|e| e.to_string())
    }

    /// What its operator's port says: status and text.
    pub fn ops(&self, path: &str) -> Result<(u16, String), String> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(std::time::Duration::from_secs(20)));
        let agent: ureq::Agent = config.build().into();
        let url = format!("http://127.0.0.1:{}{path}", self.ops_port);
        let mut answer = agent.get(url).call().map_err(|e| e.to_string())?;
        let text = answer.body_mut().read_to_string();
        Ok((answer.status().as_u16(), text.map_err(|e| e.to_string())?))
    }

    /// The value of a metric, by the beginning of its line.
    pub fn metric(&self, begins: &str) -> Option<f64> {
        let (_, text) = self.ops("/metrics").ok()?;
        let line = text.lines().find(|l| l.starts_with(begins))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    /// Processor time it used so far, in seconds, and its resident memory in
    /// bytes.
    pub fn used(&self) -> Option<(f64, u64)> {
        used(self.child.id())
    }
}

/// Processor seconds and resident bytes of a process of this machine.
pub fn used(pid: u32) -> Option<(f64, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let rss = status.lines().find(|l| l.starts_with("VmRSS:"))?;
    let kib: u64 = rss.split_whitespace().nth(1)?.parse().ok()?;
    // Linux counts in hundredths of a second for every program.
    Some((ticks as f64 / 100.0, kib * 1024))
}

fn port(line: &str) -> Option<u16> {
    let rest = line.split("localhost:").nth(1)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

impl Drop for ServiceProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

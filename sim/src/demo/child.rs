//! A device as a child process.

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A device process. Dropping it kills it, as pulling the plug does.
pub struct Child {
    exe: PathBuf,
    args: Vec<String>,
    /// The device's folder.
    pub dir: PathBuf,
    running: Option<Running>,
    starts: u64,
    seed: u64,
}

struct Running {
    process: std::process::Child,
    events: Receiver<Value>,
    /// Events that have not been waited for yet.
    kept: Vec<Value>,
}

impl Child {
    /// A device in `dir` that calls `service`; not switched on yet.
    pub fn new(exe: &Path, dir: &Path, service: &str, ca: &Path, kind: &str, seed: u64) -> Child {
        let text = |p: &Path| p.display().to_string();
        let args = [
            "device",
            "--dir",
            &text(dir),
            "--service",
            service,
            "--ca",
            &text(ca),
        ];
        let mut args: Vec<String> = args.map(String::from).to_vec();
        // Short waits: the story lets time pass, and a wait holds the line.
        args.extend(["--kind", kind, "--json", "--wait", "2"].map(String::from));
        Child {
            exe: exe.to_owned(),
            args,
            dir: dir.to_owned(),
            running: None,
            starts: 0,
            seed,
        }
    }

    /// Starts with another option, or with another value of it.
    pub fn option(mut self, name: &str, value: Option<&str>) -> Child {
        if let Some(at) = self.args.iter().position(|a| a == name) {
            let values = usize::from(value.is_some());
            self.args.drain(at..=at + values);
        }
        self.args.push(name.to_owned());
        self.args.extend(value.map(str::to_owned));
        self
    }

    /// Switches it on.
    pub fn start(&mut self, idle: bool) -> Result<(), String> {
        self.starts += 1;
        let mut command = Command::new(&self.exe);
        command
            .args(&self.args)
            .args(["--seed", &(self.seed + self.starts).to_string()])
            .args(idle.then_some("--idle"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = command
            .spawn()
            .map_err(|e| format!("the device does not start: {e}"))?;
        let (tell, events) = channel();
        if let Some(out) = process.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    if let Ok(event) = serde_json::from_str(&line)
                        && tell.send(event).is_err()
                    {
                        return;
                    }
                }
            });
        }
        self.running = Some(Running {
            process,
            events,
            kept: Vec::new(),
        });
        Ok(())
    }

    /// Kills the process at once (`SIGKILL`).
    pub fn pull_the_plug(&mut self) {
        if let Some(mut r) = self.running.take() {
            #[expect(
                clippy::let_underscore_must_use,
                reason = "it may have ended by itself"
            )]
            let _ = r.process.kill();
            #[expect(
                clippy::let_underscore_must_use,
                reason = "it may have ended by itself"
            )]
            let _ = r.process.wait();
        }
    }

    /// The process's id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|r| r.process.id())
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) -> Result<(), String> {
        let r = self.running.as_mut().ok_or("the device is off")?;
        let keys = r
            .process
            .stdin
            .as_mut()
            .ok_or("the device has no keyboard")?;
        writeln!(keys, "{line}").map_err(|e| format!("the device does not listen: {e}"))
    }

    /// Types the sequence that opens the device menu.
    pub fn open_menu(&mut self) -> Result<(), String> {
        self.type_line("up up down down left right left right up up up up")?;
        self.wait("menu", |_| true).map(drop)
    }

    /// Waits for an event of this kind that `fits`; earlier ones of other kinds
    /// stay for later.
    pub fn wait(&mut self, event: &str, fits: impl Fn(&Value) -> bool) -> Result<Value, String> {
        let until = Instant::now() + PATIENCE;
        let r = self.running.as_mut().ok_or("the device is off")?;
        let good = |v: &Value| v["event"] == event && fits(v);
        if let Some(at) = r.kept.iter().position(good) {
            return Ok(r.kept.remove(at));
        }
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match r.events.recv_timeout(left) {
                Ok(v) if good(&v) => return Ok(v),
                Ok(v) => r.kept.push(v),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!(
                        "the device did not show `{event}` in time; seen: {:?}",
                        r.kept
                    ));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!(
                        "the device ended before it showed `{event}`; seen: {:?}",
                        r.kept
                    ));
                }
            }
        }
    }

    /// Waits for a state.
    pub fn wait_state(&mut self, state: &str) -> Result<Value, String> {
        self.wait("state", |v| v["state"] == state)
    }

    /// Every byte of its flash.
    pub fn flash(&self) -> Result<Vec<u8>, String> {
        std::fs::read(self.dir.join("flash.bin")).map_err(|e| e.to_string())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.pull_the_plug();
    }
}

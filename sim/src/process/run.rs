//! The main loop of a device, as a firmware's: step the agent until it is
//! idle, post what is due, show what changed, take keys.

use super::cable::{self, Brought};
use super::command::{Command, parse};
use super::net::{Answer, EXCHANGE_MS, Net};
use super::screen::{Screen, Show};
use super::wipe_cost::{Mark, cost, mark};
use nrd_agent::agent::CheckStep;
use nrd_agent::keypad::MenuSequence;
use nrd_agent::tls::{AgentTime, HttpsClient, HttpsConfig, KnownTime, TlsError};
use nrd_agent::wire::storage::MAX_MESSAGE;
use nrd_agent::wire::{LockReason, MAX_FRAME, OrderResult, Receipt};
use nrd_agent::{Agent, Config, Error, Next, State};
use nrd_sim_base::device_kind;
use nrd_sim_base::pictogram;
use nrd_sim_base::sample::Sample;
use nrd_sim_base::unhex;
use nrd_sim_device::{AgentBuffers, cache_samples};
use nrd_sim_hw::{Board, Folder, Identity, VirtualClock, VirtualRng};
use nrd_sim_service::desk::photo::PhotoReader;
use nrd_sim_service::desk::{Challenge, Condition};
use nrd_sim_service::outbox::mqtt::{self, Broker};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::io::BufRead as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How a device is run.
pub struct Options {
    /// Host and port of the service.
    pub authority: String,
    /// Ask for a code at the first start.
    pub activate: bool,
    /// Account holders whose data the product's own software would cache.
    pub samples: Vec<Sample>,
    /// Seconds a check-in may wait for an order.
    pub wait_s: u16,
    /// Spread the first exchange of a boot over this many seconds.
    pub spread_s: u32,
    /// Listen for a returns desk on this port of the loopback interface.
    pub link: Option<u16>,
    /// Orders come from here as well.
    pub broker: Option<Broker>,
    /// Feeds the random generator; the system's unless said.
    pub seed: Option<u64>,
    /// End when nobody can type any more: for a device that a program runs.
    pub ends_with_input: bool,
    /// Flash operations take their modelled time.
    pub real_time: bool,
}

/// What wakes the main loop.
enum Wake {
    Line(String),
    Answer(u64, Answer),
    /// An order by the broker.
    Order(Vec<u8>),
    /// A returns desk, by cable.
    Cable(Brought),
    /// The keyboard is gone.
    NoMoreLines,
}

/// Why a boot ended.
enum End {
    Restart,
    Quit,
}

/// Runs the device until somebody types `quit`. An error says why it cannot
/// run at all.
pub fn run(folder: Folder, options: &Options, screen: &mut Screen) -> Result<(), String> {
    let ca = CertificateDer::from_pem_slice(folder.ca_pem.as_bytes())
        .map_err(|_| TlsError::Root.to_string())?;
    let client = HttpsClient::new(&HttpsConfig {
        roots: &[&ca],
        authority: &options.authority,
        // What a device knows: a console its clock, a box what was signed.
        time: Arc::new(AgentTime::new(0)),
        exchange_ms: EXCHANGE_MS,
    })
    .map_err(|e| e.to_string())?;
    let (wakes, inbox) = channel();
    listen(wakes.clone());
    if let Some(broker) = options.broker.clone() {
        let (id, wakes) = (folder.made.device_id.clone(), wakes.clone());
        std::thread::spawn(move || {
            mqtt::listen(&broker, &id, |order| wakes.send(Wake::Order(order)).is_ok());
        });
    }
    if let Some(port) = options.link {
        let wakes = wakes.clone();
        let port = cable::listen(port, move |brought| {
            wakes.send(Wake::Cable(brought)).is_ok()
        })
        .map_err(|e| format!("no desk can be heard on port {port}: {e}"))?;
        screen.show(&Show::Link { port });
    }
    let net = Net::start(client, options.authority.clone(), move |id, answer| {
        #[expect(
            clippy::let_underscore_must_use,
            reason = "the main loop has ended: nobody is left to wake"
        )]
        let _ = wakes.send(Wake::Answer(id, answer));
    });
    let mut first = options.activate;
    let mut posted = 0;
    let mut boots = 0;
    loop {
        boots += 1;
        let seed = options.seed.map(|s| s << 16 | boots);
        let activate = std::mem::take(&mut first);
        let wires = (&net, &inbox, &mut posted);
        let ended = one_boot(&folder, options, screen, seed, activate, wires)?;
        // What a platform reset does for the memory of a device.
        scrub_stack();
        match ended {
            End::Restart => {}
            End::Quit => return Ok(()),
        }
    }
}

/// Overwrites what the frames of a boot have left below: moved-out values, a
/// grant among them, which later frames would carry along.
#[inline(never)]
fn scrub_stack() {
    let mut below = [0u8; 1 << 20];
    std::hint::black_box(&mut below);
}

type Wires<'a> = (&'a Net, &'a Receiver<Wake>, &'a mut u64);

/// One boot in a frame of its own, which [`scrub_stack`] reaches.
#[inline(never)]
fn one_boot(
    folder: &Folder,
    options: &Options,
    screen: &mut Screen,
    seed: Option<u64>,
    activate: bool,
    (net, inbox, posted): Wires<'_>,
) -> Result<End, String> {
    let mut ram = AgentBuffers::default();
    let board = board(folder, seed)?;
    let clock = board.clock();
    let config = Config {
        service_root: unhex(&folder.made.service_root)
            .ok_or("device.json: service_root is not 64 hexadecimal digits")?,
        root_version: 0,
        factory_epoch: 0,
        wait_s: options.wait_s,
    };
    let agent = Agent::new(board, config, ram.lend())
        .map_err(|e| format!("the agent cannot be built: {e:?}"))?;
    screen.show(&Show::Boot {
        device_id: &folder.made.device_id,
        model: &folder.made.model,
    });
    let mut boot = Boot {
        agent,
        folder,
        options,
        net,
        clock,
        last: Instant::now(),
        posted,
        in_flight: None,
        menu: MenuSequence::default(),
        menu_open: false,
        shown: None,
        shown_code: None,
        wipe: None,
        check_shown: None,
        failure: None,
    };
    boot.run(inbox, screen, activate)
}

fn board(folder: &Folder, seed: Option<u64>) -> Result<Board, String> {
    let certificate = hex_bytes(&folder.made.certificate)
        .ok_or("device.json: the certificate is not hexadecimal")?;
    let rng = seed.map_or_else(VirtualRng::system, VirtualRng::new);
    let identity = Identity::new(&folder.root, &folder.made.device_id, certificate);
    let board = Board::assemble(&folder.hw, folder.root, rng, identity)
        .map_err(|e| format!("device.json: the flash sizes make no sense ({e:?})"))?;
    if device_kind::has_battery_clock(folder.made.kind)
        && let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH)
    {
        board.clock().set_wall_s(now.as_secs());
    }
    Ok(board)
}

fn hex_bytes(hex: &str) -> Option<Vec<u8>> {
    let byte = |i: usize| u8::from_str_radix(hex.get(i..i + 2)?, 16).ok();
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn listen(wakes: Sender<Wake>) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if wakes.send(Wake::Line(line)).is_err() {
                return;
            }
        }
        #[expect(
            clippy::let_underscore_must_use,
            reason = "the main loop has ended: nobody is left to wake"
        )]
        let _ = wakes.send(Wake::NoMoreLines);
    });
}

/// One boot.
struct Boot<'a, 'm> {
    agent: Agent<'m, Board>,
    folder: &'a Folder,
    options: &'a Options,
    net: &'a Net,
    clock: VirtualClock,
    last: Instant,
    /// Number of the request posted last, over all boots.
    posted: &'a mut u64,
    /// The request whose answer is still to come.
    in_flight: Option<u64>,
    menu: MenuSequence,
    menu_open: bool,
    shown: Option<State>,
    shown_code: Option<String>,
    /// A wipe under way, and where it began.
    wipe: Option<Mark>,
    /// Progress of a storage check that was shown last, in 64ths.
    check_shown: Option<u64>,
    failure: Option<TlsError>,
}

impl Boot<'_, '_> {
    fn run(
        &mut self,
        inbox: &Receiver<Wake>,
        screen: &mut Screen,
        first: bool,
    ) -> Result<End, String> {
        self.settle(screen)?;
        self.agent.spread_first_contact(self.options.spread_s);
        if first && self.agent.state() == State::Clean {
            self.try_it(screen, |agent| agent.start_activation());
        }
        loop {
            if self.settle(screen)? {
                return Ok(End::Restart);
            }
            self.fill_cache(screen);
            let Some(pause) = self.post_what_is_due() else {
                return Ok(End::Restart);
            };
            match inbox.recv_timeout(pause) {
                Ok(Wake::Line(line)) => match parse(&line) {
                    Ok(None) => {}
                    Ok(Some(Command::Quit)) => return Ok(End::Quit),
                    Ok(Some(Command::Restart)) => return Ok(End::Restart),
                    Ok(Some(command)) => self.obey(command, screen),
                    Err(text) => screen.show(&Show::Refused { text }),
                },
                Ok(Wake::Order(frame)) => self.order(&frame, screen),
                Ok(Wake::Cable(brought)) => {
                    if self.hear_desk(brought, screen)? {
                        return Ok(End::Restart);
                    }
                }
                Ok(Wake::Answer(id, answer)) => self.take(id, answer, screen),
                Ok(Wake::NoMoreLines) if self.options.ends_with_input => return Ok(End::Quit),
                // Without a keyboard the device goes on, as one in a cupboard.
                Ok(Wake::NoMoreLines) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(End::Quit),
            }
        }
    }

    fn tick(&mut self) {
        let elapsed = self.last.elapsed();
        self.last += elapsed;
        self.clock.advance_ms(elapsed.as_millis() as u64);
    }

    /// Works until it rests, showing what changes; true when a wipe has ended and
    /// the platform should restart.
    fn settle(&mut self, screen: &mut Screen) -> Result<bool, String> {
        let mut reset = false;
        loop {
            self.tick();
            let before = mark(&self.folder.hw);
            let next = self.agent.poll_work();
            if let Some(why) = self.folder.hw.chip().mirror_failure() {
                return Err(format!(
                    "the device's files cannot be written ({why}): make room, then start it again; nothing is lost"
                ));
            }
            if self.options.real_time {
                std::thread::sleep(before.busy_since(&self.folder.hw));
            }
            self.note_wipe(before);
            self.show_state(screen);
            match next {
                Next::Again => {}
                Next::Reset => reset = true,
                Next::Post(_) | Next::WaitUntil(_) => break,
            }
        }
        if let (State::Clean | State::WipeFailed, Some(from)) =
            (self.agent.state(), self.wipe.take())
        {
            let cost = cost(&self.folder.hw, &from);
            screen.show(&Show::Wiped { cost });
        }
        Ok(reset)
    }

    /// Remembers where a wipe began.
    fn note_wipe(&mut self, before: Mark) {
        if self.wipe.is_none() && self.agent.state() == State::Wiping {
            self.net.forget_session();
            self.wipe = Some(before);
        }
    }

    fn show_state(&mut self, screen: &mut Screen) {
        let status = self.agent.status();
        if let Some((done, total)) = status.wipe {
            screen.show(&Show::Wipe { done, total });
        }
        let check =
            (status.fill).map(|(done, all)| (done, all, 64 * u64::from(done) / u64::from(all)));
        if let Some((done, total, part)) = check
            && self.check_shown != Some(part)
        {
            screen.show(&Show::Fill { done, total });
        }
        self.check_shown = check.map(|(.., part)| part);
        if self.shown != Some(status.state) && status.state != State::Booting {
            self.shown = Some(status.state);
            let name = match status.state {
                State::Active => self.display_name(),
                _ => None,
            };
            let (state, reason) = words(status.state);
            screen.show(&Show::State {
                state,
                reason,
                name,
            });
        }
        let code = status.code.map(|(code, picture)| {
            let split = code.len().min(4);
            let (a, b) = code.split_at(split);
            (format!("{a}-{b}"), picture)
        });
        if let Some((code, picture)) = &code
            && self.shown_code.as_ref() != Some(code)
        {
            let pictogram = pictogram::words(*picture);
            screen.show(&Show::Code { code, pictogram });
        }
        self.shown_code = code.map(|(code, _)| code);
    }

    fn display_name(&mut self) -> Option<String> {
        let mut buf = [0; 32];
        let n = self.agent.display_name(&mut buf).ok()?;
        String::from_utf8(buf[..n].to_vec()).ok()
    }

    fn fill_cache(&mut self, screen: &mut Screen) {
        if let Some(filled) = cache_samples(&mut self.agent, &self.options.samples) {
            if let Some(e) = filled.refused {
                screen.show(&Show::Refused {
                    text: format!("the cache took no more: {e}"),
                });
            }
            screen.show(&Show::Cached {
                records: filled.records,
                bytes: filled.bytes,
            });
        }
    }

    /// Posts the next request if one is due; returns how long to sleep, or
    /// `None` when the platform should restart.
    fn post_what_is_due(&mut self) -> Option<Duration> {
        const LONGEST: Duration = Duration::from_millis(500);
        self.tick();
        let mut request = [0; MAX_FRAME];
        let before = mark(&self.folder.hw);
        let next = self.agent.poll(&mut request);
        self.note_wipe(before);
        match next {
            // What is in flight was given up by the agent: its reply is dropped.
            Next::Post(n) => {
                *self.posted += 1;
                self.in_flight = Some(*self.posted);
                let time = KnownTime::of(&mut self.agent);
                self.net.post(*self.posted, request[..n].to_vec(), time);
                Some(LONGEST)
            }
            Next::Again => Some(Duration::ZERO),
            Next::Reset => None,
            Next::WaitUntil(None) => Some(LONGEST),
            Next::WaitUntil(Some(at_ms)) => {
                let left_ms = at_ms.saturating_sub(self.clock_ms());
                Some(Duration::from_millis(left_ms).min(LONGEST))
            }
        }
    }

    fn take(&mut self, id: u64, answer: Answer, screen: &mut Screen) {
        // An answer to a request of the boot before is nobody's.
        if self.in_flight != Some(id) {
            return;
        }
        self.in_flight = None;
        self.tick();
        let generation = self.agent.status().generation;
        let before = mark(&self.folder.hw);
        let failed = match answer {
            Ok(frame) => match self.agent.handle_reply(&frame) {
                // The request was withdrawn meanwhile, by a wipe for example.
                Ok(()) | Err(Error::WrongState) => None,
                Err(e) => Some(TlsError::Agent(e)),
            },
            Err(e) => {
                self.agent.exchange_failed();
                Some(e)
            }
        };
        self.note_wipe(before);
        if let Some(e) = failed
            && self.failure != failed
        {
            screen.show(&Show::Failed {
                code: e.code(),
                text: e.to_string(),
            });
        }
        self.failure = failed;
        let now = self.agent.status().generation;
        if let (Some(before), Some(now)) = (generation, now)
            && now > before
        {
            screen.show(&Show::Renewed { generation: now });
        }
    }

    fn try_it(
        &mut self,
        screen: &mut Screen,
        act: impl FnOnce(&mut Agent<'_, Board>) -> Result<(), Error>,
    ) {
        let before = mark(&self.folder.hw);
        if let Err(e) = act(&mut self.agent) {
            screen.show(&Show::Refused {
                text: e.to_string(),
            });
        }
        self.note_wipe(before);
    }

    fn obey(&mut self, command: Command, screen: &mut Screen) {
        self.tick();
        match command {
            Command::Keys(keys) => {
                for key in keys {
                    self.menu_open = false;
                    // Typed in one line: no pause between them.
                    let now = self.clock_ms();
                    if self.menu.press(key, now) {
                        self.menu_open = true;
                        screen.show(&Show::Menu);
                    }
                }
            }
            Command::SignOut | Command::Deactivate if !self.menu_open => {
                screen.show(&Show::Refused {
                    text: "open the device menu first: up up down down left right left right up up up up".into(),
                });
            }
            Command::SignOut => {
                self.menu_open = false;
                self.try_it(screen, |agent| agent.sign_out());
            }
            Command::Deactivate => {
                self.menu_open = false;
                self.try_it(screen, |agent| agent.deactivate());
            }
            Command::Activate => self.try_it(screen, |agent| agent.start_activation()),
            Command::Cancel => self.try_it(screen, |agent| agent.cancel_activation()),
            Command::Advance(s) => self.clock.advance_ms(s.saturating_mul(1000)),
            Command::LoseAnswers(n) => self.net.faults.lose.store(n, Ordering::SeqCst),
            Command::Network(on) => {
                self.net.faults.unplugged.store(!on, Ordering::SeqCst);
                if on {
                    self.agent.network_up();
                }
            }
            Command::TryAgain => self.agent.try_again(),
            Command::Status => self.say_status(screen),
            Command::Order(frame) => self.order(&frame, screen),
            Command::Receipt(file) => self.write(screen, &file, |a, out| a.newest_receipt(out)),
            Command::ProveClean(question, file) => {
                match Challenge::given(&question, &PhotoReader::of_this_program()) {
                    Ok(c) => self.write(screen, &file, |a, out| a.prove_clean(c.nonce, out)),
                    Err(e) => screen.show(&Show::Refused {
                        text: e.to_string(),
                    }),
                }
            }
            Command::Restart | Command::Quit => {}
        }
    }

    /// Takes what a desk's cable brings and answers it; true when a wipe has ended
    /// meanwhile and the platform should restart.
    fn hear_desk(&mut self, brought: Brought, screen: &mut Screen) -> Result<bool, String> {
        let Brought::Message(message, answers) = brought else {
            self.agent.end_storage_check();
            return Ok(false);
        };
        let mut out = [0; MAX_MESSAGE];
        let mut message = &message[..];
        let mut reset = false;
        loop {
            self.tick();
            let before = mark(&self.folder.hw);
            let step = self.agent.storage_check(message, &mut out);
            if self.options.real_time {
                std::thread::sleep(before.busy_since(&self.folder.hw));
            }
            match step {
                // Where the desk has gone meanwhile, the cable says so next.
                CheckStep::Send(n) => drop(answers.send(out[..n].to_vec())),
                CheckStep::Again => reset |= self.settle(screen)?,
                CheckStep::Wait => return Ok(reset),
            }
            message = &[];
        }
    }

    fn clock_ms(&mut self) -> u64 {
        nrd_hal::Clock::uptime_ms(&mut self.clock)
    }

    fn order(&mut self, frame: &[u8], screen: &mut Screen) {
        let before = mark(&self.folder.hw);
        let mut out = [0; 192];
        let result = match self.agent.apply_order(frame, &mut out) {
            Ok((OrderResult::Applied, _)) => "applied".to_owned(),
            Ok((OrderResult::AlreadyApplied, _)) => "already applied".to_owned(),
            Ok((OrderResult::NotApplicable, _)) => "not applicable".to_owned(),
            Ok((OrderResult::Stale, _)) => "stale".to_owned(),
            Err(e) => e.to_string(),
        };
        screen.show(&Show::Order { result });
        self.note_wipe(before);
    }

    fn write(
        &mut self,
        screen: &mut Screen,
        file: &str,
        make: impl FnOnce(&mut Agent<'_, Board>, &mut [u8]) -> Result<usize, Error>,
    ) {
        let mut out = [0; <Receipt<'_> as nrd_agent::wire::Body<'_>>::MAX];
        match make(&mut self.agent, &mut out) {
            Ok(n) => save(screen, file, &out[..n]),
            Err(e) => {
                // What a desk can read in the place of the answer.
                let said = Condition::of_refusal(e, self.agent.state());
                let text = said.text().unwrap_or_default();
                screen.show(&Show::Refused {
                    text: format!("{e}; it says to the desk {text}"),
                });
                save(screen, file, text.as_bytes());
            }
        }
    }

    fn say_status(&mut self, screen: &mut Screen) {
        let s = self.agent.status();
        let (state, reason) = words(s.state);
        let mut text = format!(
            "{state}{}",
            reason.map_or(String::new(), |r| format!(": {r}"))
        );
        match s.lease {
            Some(nrd_agent::lease::LeaseStatus::Open { left_s, .. }) => {
                text += &format!("; access for {} more powered hours", left_s / 3600);
            }
            Some(nrd_agent::lease::LeaseStatus::Expired {
                dead_man_in_s: Some(left),
            }) => text += &format!("; wipes itself in {} powered hours", left / 3600),
            _ => {}
        }
        let lost = s.losses;
        for (is, what) in [
            (lost.session, "its session was lost"),
            (lost.receipt, "a receipt could not be read"),
            (lost.delegation, "the service's keys are asked for again"),
            (lost.snapshot, "its memory was damaged"),
        ] {
            if is {
                text += &format!("; {what}");
            }
        }
        if s.receipts > 0 {
            text += &format!("; {} receipts to deliver", s.receipts);
        }
        screen.show(&Show::Note { text });
    }
}

fn save(screen: &mut Screen, file: &str, bytes: &[u8]) {
    match std::fs::write(file, bytes) {
        Ok(()) => screen.show(&Show::Written {
            file,
            bytes: bytes.len(),
        }),
        Err(e) => screen.show(&Show::Refused {
            text: format!("{file}: {e}"),
        }),
    }
}

/// A state in words, and why.
fn words(state: State) -> (&'static str, Option<&'static str>) {
    match state {
        State::Clean => ("clean", Some("no account here; type `activate` to begin")),
        State::Activating => ("activating", None),
        State::Active => ("active", None),
        State::Locked(reason) => (
            "locked",
            Some(match reason {
                LockReason::LeaseExpired => "no word from the service for too long: connect it",
                LockReason::Revoked => "this device was taken off the account",
                LockReason::ConsentDue => "the privacy policy changed: see your account page",
                LockReason::TheftSuspected => "a copied token was used: see your account page",
                LockReason::JournalLost => "its memory was damaged: deactivate it here",
                LockReason::SessionLost => {
                    "its session was lost, nothing else was: type `activate` to sign in again"
                }
                LockReason::NotStored => {
                    "its memory takes no writes: it opens by itself as soon as it does"
                }
                LockReason::NotAnswering => "a part of it does not answer; it is asked again",
            }),
        ),
        State::SignedOut => ("signed-out", Some("type `activate` to sign in again")),
        State::Wiping => ("wiping", None),
        State::WipeFailed => ("wipe-failed", Some("do not hand this device on")),
        State::Filling => ("filling", Some("its storage is being checked, or erased")),
        State::Booting => ("starting", None),
    }
}

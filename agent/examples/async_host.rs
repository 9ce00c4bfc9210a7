//! The agent in an async task, beside a task that stands for the person.
//!
//! ```text
//! cargo run -p nrd-agent --example async_host
//! ```
//!
//! The agent has no `async` of its own: its calls are short and bounded. Keep
//! it in one task, and await the timer, the network and the other tasks'
//! messages between its calls. `embassy-futures` runs the tasks here; on a
//! microcontroller `embassy-executor` would, with `embassy_time::Timer` in the
//! place of [`sleep_until`], a channel of `embassy-sync` in the place of
//! [`Inbox`], and your HTTPS in the place of [`Link`].

use embassy_futures::select::{Either, Either3, select, select3};
use embassy_futures::{block_on, yield_now};
use nrd_agent::wire::{MAX_FRAME, OrderKind};
use nrd_agent::{Agent, Error, Next, State};
use nrd_agent_testkit::{StubService, TestClock, TestMemory, TestPlatform};
use nrd_hal::Clock;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::Display;
use std::future::poll_fn;
use std::io::{self, Write};
use std::task::Poll;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    run(&mut io::stdout().lock())
}

/// Runs both tasks until the service has the receipt; prints what happened.
pub(crate) fn run(out: &mut impl Write) -> Outcome {
    let service = RefCell::new(StubService::new(1));
    let config = service.borrow().config();
    let device = TestPlatform::builder().build(&service.borrow());
    let mut memory = TestMemory::default();
    let mut agent = Agent::new(device.clone(), config, memory.lend())
        .map_err(|e| format!("the device's flash or memory does not do: {e:?}"))?;

    let diary = Diary {
        clock: &device.clock,
        lines: RefCell::default(),
    };
    let link = Link {
        service: &service,
        clock: &device.clock,
        // The cable is out when the device is switched on.
        failures: Cell::new(2),
    };
    let inbox = Inbox::default();
    let screen = Cell::new(State::Booting);

    // The agent's task runs for ever; the story ends with the person's.
    let ended = block_on(select3(
        person_task(&device.clock, &service, &inbox, &screen, &diary),
        agent_task(&mut agent, &device.clock, &link, &inbox, &screen, &diary),
        an_hour(&device.clock),
    ));

    for line in diary.lines.borrow().iter() {
        writeln!(out, "{line}")?;
    }
    match ended {
        Either3::First(()) => Ok(()),
        Either3::Third(()) => Err("the story did not end within an hour".into()),
    }
}

/// The one task that calls the agent.
async fn agent_task(
    agent: &mut Agent<'_, TestPlatform>,
    clock: &TestClock,
    link: &Link<'_>,
    inbox: &Inbox,
    screen: &Cell<State>,
    diary: &Diary<'_>,
) -> ! {
    let mut request = [0; MAX_FRAME];
    loop {
        let next = agent.poll(&mut request);
        let state = agent.state();
        if screen.replace(state) != state {
            diary.note(format_args!("device: {state:?}"));
        }
        match next {
            // Let the other tasks run between two pieces of work.
            Next::Again => yield_now().await,
            // A firmware whose check-ins may wait for an order (`wait_s` > 0)
            // awaits the link and the inbox together here.
            Next::Post(n) => match link.post(&request[..n]).await {
                Ok(reply) => {
                    if let Err(e) = agent.handle_reply(&reply) {
                        diary.note(format_args!("device: a reply was refused: {e}"));
                    }
                }
                Err(NoNetwork) => {
                    diary.note("device: no network");
                    agent.exchange_failed();
                }
            },
            Next::WaitUntil(uptime_ms) => {
                match select(sleep_until(clock, uptime_ms), inbox.receive()).await {
                    Either::First(()) => {}
                    Either::Second(message) => {
                        if let Err(e) = obey(agent, message) {
                            diary.note(format_args!("device: refused: {e}"));
                        }
                    }
                }
            }
            // A product resets its processor here. The receipt is on flash,
            // and delivered in this boot or the next.
            Next::Reset => diary.note("device: (reset the processor now)"),
        }
    }
}

/// What other tasks may ask of the agent's task.
enum Message {
    SignIn,
    /// A signed order that came over another channel than a check-in, such as
    /// MQTT or a local network. It has its authority in itself.
    Order(Vec<u8>),
}

fn obey(agent: &mut Agent<'_, TestPlatform>, message: Message) -> Result<(), Error> {
    match message {
        Message::SignIn => agent.start_activation(),
        Message::Order(frame) => {
            // The signed outcome, for the channel that the order came by. The
            // receipt of the wipe goes to the service in any case.
            let mut outcome = [0; 192];
            agent.apply_order(&frame, &mut outcome).map(drop)
        }
    }
}

/// A person who signs in, and later removes the device on the account page.
async fn person_task(
    clock: &TestClock,
    service: &RefCell<StubService>,
    inbox: &Inbox,
    screen: &Cell<State>,
    diary: &Diary<'_>,
) {
    until(|| screen.get() == State::Clean).await;
    diary.note("person: signs in");
    inbox.send(Message::SignIn);
    until(|| screen.get() == State::Active).await;

    let now = clock.clone().uptime_ms();
    sleep_until(clock, Some(now + 60_000)).await;
    diary.note("person: removes the device on the account page");
    service.borrow_mut().send_order(OrderKind::Deactivate);
    let order = service.borrow().pending.clone();
    inbox.send(Message::Order(order.unwrap_or_default()));

    until(|| !service.borrow().receipts.is_empty()).await;
    diary.note("person: sees on the page that it is clean");
}

/// A line for each thing that happens, with the second in which it did.
struct Diary<'a> {
    clock: &'a TestClock,
    lines: RefCell<Vec<String>>,
}

impl Diary<'_> {
    fn note(&self, what: impl Display) {
        let at_s = self.clock.clone().uptime_ms() / 1000;
        self.lines.borrow_mut().push(format!("{at_s:5} s  {what}"));
    }
}

/// The request was not answered.
struct NoNetwork;

/// A stand-in for an async HTTPS client.
struct Link<'a> {
    service: &'a RefCell<StubService>,
    clock: &'a TestClock,
    failures: Cell<u32>,
}

impl Link<'_> {
    async fn post(&self, request: &[u8]) -> Result<Vec<u8>, NoNetwork> {
        let now = self.clock.clone().uptime_ms();
        sleep_until(self.clock, Some(now + 200)).await; // there and back
        if self.failures.get() > 0 {
            self.failures.set(self.failures.get() - 1);
            return Err(NoNetwork);
        }
        Ok(self.service.borrow_mut().answer(request))
    }
}

/// A stand-in for a channel.
#[derive(Default)]
struct Inbox(RefCell<VecDeque<Message>>);

impl Inbox {
    fn send(&self, message: Message) {
        self.0.borrow_mut().push_back(message);
    }

    async fn receive(&self) -> Message {
        poll_fn(|_| match self.0.borrow_mut().pop_front() {
            Some(message) => Poll::Ready(message),
            None => Poll::Pending,
        })
        .await
    }
}

/// A stand-in for a timer; `None` never ends.
async fn sleep_until(clock: &TestClock, uptime_ms: Option<u64>) {
    let mut clock = clock.clone();
    until(move || uptime_ms.is_some_and(|at| clock.uptime_ms() >= at)).await;
}

/// `block_on` of `embassy-futures` polls without end, so that a future that is
/// not ready needs no waker.
async fn until(mut ready: impl FnMut() -> bool) {
    poll_fn(|_| {
        if ready() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// An hour, of which a tenth of a second passes each time that all tasks have
/// had their turn.
async fn an_hour(clock: &TestClock) {
    for _ in 0..36_000 {
        clock.advance_ms(100);
        yield_now().await;
    }
}

//! The run loop of every simulated host, over [`Agent::poll`].
//!
//! What failed, and when it is tried again, is the agent's business
//! (`agent/src/agent/run.rs`). No host here has an error budget of its own; the
//! one bound is [`MAX_CALLS`], against an agent that never rests.

use nrd_agent::agent::CheckStep;
use nrd_agent::wire::MAX_FRAME;
use nrd_agent::wire::storage::MAX_MESSAGE;
use nrd_agent::{Agent, Error, Next};
use nrd_hal::Platform;
use nrd_sim_hw::PowerCut;

/// Most calls of an agent in a row before it is said never to rest: several
/// times what the longest boot or wipe of the virtual parts takes.
pub const MAX_CALLS: u32 = 20_000;
/// Most exchanges in a row before the conversation is said never to end. No
/// device has ever needed half of it.
pub const MAX_EXCHANGES: u32 = 64;

/// Why a device did not come to rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The power was cut.
    Off,
    /// Something that must not be.
    Wrong(String),
}

/// How a device rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing is left to do until this uptime in milliseconds; `None` until a
    /// call.
    Until(Option<u64>),
    /// A part of it does not answer, and the agent pauses before it tries again.
    Fault(Error),
    /// The power was cut.
    Off,
    /// It was called [`MAX_CALLS`] times and still has something to do.
    Never,
}

/// Whatever answers a device's requests.
pub trait ServiceEndpoint {
    /// The reply frame; `None` when the answer is lost.
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>>;
}

impl ServiceEndpoint for nrd_agent_testkit::StubService {
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        Some(nrd_agent_testkit::StubService::answer(self, request))
    }
}

/// A function that answers.
impl<F: FnMut(&[u8]) -> Option<Vec<u8>>> ServiceEndpoint for F {
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        self(request)
    }
}

/// Lets the agent work until it rests; `seen` is called after each piece of
/// work. It does not talk. A reset that the agent advises is not made: virtual
/// parts share the memory of their host.
pub fn rest<P: Platform>(
    agent: &mut Agent<'_, P>,
    mut is_off: impl FnMut(&mut Agent<'_, P>) -> bool,
    mut seen: impl FnMut(&mut Agent<'_, P>),
) -> Rest {
    for _ in 0..MAX_CALLS {
        let next = agent.poll_work();
        if is_off(agent) {
            return Rest::Off;
        }
        seen(agent);
        match next {
            Next::Again | Next::Reset => {}
            Next::Post(_) | Next::WaitUntil(_) => return resting(agent, next),
        }
    }
    Rest::Never
}

/// What a wait means: the agent's own work may have failed.
fn resting<P: Platform>(agent: &mut Agent<'_, P>, next: Next) -> Rest {
    match (agent.work_fault(), next) {
        (Some(e), _) => Rest::Fault(e),
        (None, Next::WaitUntil(at)) => Rest::Until(at),
        (None, Next::Again | Next::Reset | Next::Post(_)) => Rest::Until(Some(0)),
    }
}

/// Works until nothing is left to do, and does not talk.
///
/// # Errors
/// When the power goes, and when a part of the device does not answer.
pub fn settle<P: PowerCut>(agent: &mut Agent<'_, P>) -> Result<(), Stop> {
    match rest(agent, |agent| agent.platform().is_off(), |_| {}) {
        Rest::Until(_) => Ok(()),
        Rest::Off => Err(Stop::Off),
        Rest::Fault(e) => Err(Stop::Wrong(format!("the agent cannot go on: {e:?}"))),
        Rest::Never => Err(Stop::Wrong("the agent does not come to rest".into())),
    }
}

/// Hands a desk's message of a storage check to the device and lets it work until
/// it waits for the next; what it answers meanwhile.
pub fn say<P: Platform>(agent: &mut Agent<'_, P>, message: &[u8]) -> Vec<Vec<u8>> {
    let (mut out, mut answers) = ([0; MAX_MESSAGE], Vec::new());
    let mut message = message;
    for _ in 0..MAX_CALLS {
        match agent.storage_check(message, &mut out) {
            CheckStep::Send(n) => answers.push(out[..n].to_vec()),
            // A part that fails is in what the device signs, or in its silence.
            CheckStep::Again => match rest(agent, |_| false, |_| {}) {
                Rest::Until(_) => {}
                Rest::Fault(_) | Rest::Off | Rest::Never => break,
            },
            CheckStep::Wait => break,
        }
        message = &[];
    }
    answers
}

/// Talks to the service until nothing is due now.
///
/// # Errors
/// As [`exchange`], and when the conversation does not end.
pub fn talk<P: PowerCut>(
    service: &mut impl ServiceEndpoint,
    agent: &mut Agent<'_, P>,
) -> Result<(), Stop> {
    for _ in 0..MAX_EXCHANGES {
        if !exchange(service, agent)? {
            return Ok(());
        }
    }
    Err(Stop::Wrong("the conversation does not end".into()))
}

/// One request and its reply, if one is due now; false when there was nothing
/// to say or the answer was lost.
///
/// # Errors
/// When the power goes, when the agent does not rest or makes no request, and
/// when it refuses a reply: these hosts have good services.
pub fn exchange<P: PowerCut>(
    service: &mut impl ServiceEndpoint,
    agent: &mut Agent<'_, P>,
) -> Result<bool, Stop> {
    let mut request = [0u8; MAX_FRAME];
    let known = agent.status().fault;
    for _ in 0..MAX_CALLS {
        let next = agent.poll(&mut request);
        if agent.platform().is_off() {
            return Err(Stop::Off);
        }
        match next {
            Next::Again | Next::Reset => {}
            Next::WaitUntil(_) => {
                // A reply refused earlier was said then; a request that cannot be
                // made is news.
                let news = agent.status().fault.filter(|e| Some(*e) != known);
                return match agent.work_fault().or(news) {
                    None => Ok(false),
                    Some(e) => Err(Stop::Wrong(format!("the agent cannot go on: {e:?}"))),
                };
            }
            Next::Post(n) => {
                let Some(reply) = service.answer(&request[..n]) else {
                    agent.exchange_failed();
                    return Ok(false);
                };
                let handled = agent.handle_reply(&reply);
                if agent.platform().is_off() {
                    return Err(Stop::Off);
                }
                return match handled {
                    Ok(()) => Ok(true),
                    Err(e) => Err(Stop::Wrong(format!("a good reply was refused: {e:?}"))),
                };
            }
        }
    }
    Err(Stop::Wrong("the agent does not come to rest".into()))
}

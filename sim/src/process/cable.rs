//! A desk's cable: a loopback socket that brings one message after the other
//! (SPEC §9, Storage check), from one desk at a time.

use embedded_io_adapters::std::FromStd;
use nrd_agent::wire::storage::MAX_MESSAGE;
use nrd_hal::messages::Messages;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};

/// What the cable brings.
pub(super) enum Brought {
    /// A message. What the device answers goes into the channel; the next message
    /// is read when the device has dropped it.
    Message(Vec<u8>, Sender<Vec<u8>>),
    /// The desk has gone.
    Gone,
}

/// Listens on this port of the loopback interface, 0 for any; the port. `bring` is
/// false when nobody takes anything any more.
pub(super) fn listen(
    port: u16,
    bring: impl Fn(Brought) -> bool + Send + 'static,
) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for desk in listener.incoming().map_while(Result::ok) {
            if !serve(desk, &bring) || !bring(Brought::Gone) {
                return;
            }
        }
    });
    Ok(port)
}

/// Serves one desk until it goes; false when nobody takes anything any more.
fn serve(desk: TcpStream, bring: &impl Fn(Brought) -> bool) -> bool {
    // Length and message are two writes. Without it a message may only be late.
    drop(desk.set_nodelay(true));
    let mut cable = Messages::new(FromStd::new(desk));
    let mut buffer = [0; MAX_MESSAGE];
    while let Ok(message) = cable.receive(&mut buffer) {
        let (answers, said) = channel();
        if !bring(Brought::Message(message.to_vec(), answers)) {
            return false;
        }
        for answer in said {
            if cable.send(&answer).is_err() {
                return true;
            }
        }
    }
    true
}

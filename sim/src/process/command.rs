//! What a person types at the device: a remote control, and a service menu.

use nrd_agent::keypad::RemoteKey;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// Keys of the remote, one after the other.
    Keys(Vec<RemoteKey>),
    /// Ask for a code.
    Activate,
    /// Give up asking.
    Cancel,
    /// Sign out, from the menu.
    SignOut,
    /// Deactivate, from the menu, confirmed.
    Deactivate,
    /// Switch off and on.
    Restart,
    /// Wait no longer: talk to the service now.
    TryAgain,
    /// Say how things stand.
    Status,
    /// Time passes.
    Advance(u64),
    /// Lose the next answers.
    LoseAnswers(u32),
    /// Pull or put in the network plug.
    Network(bool),
    /// A signed order by another channel.
    Order(Vec<u8>),
    /// `prove_clean` for a desk's question, itself or its file, into a file.
    ProveClean(String, String),
    /// The newest receipt, into a file.
    Receipt(String),
    /// End the process.
    Quit,
}

/// What can be typed.
pub(super) const HELP: &str = "\
  remote:   up down left right (several in a line); up up down down left right
            left right up up up up opens the device menu
  menu:     sign-out | deactivate yes | close
  device:   activate | cancel | try-again | restart | status | quit
  desk:     receipt FILE | prove-clean QUESTION FILE (the question as the desk
            shows it, its 64 digits, or a file or picture that holds it)
  faults:   network off | network on | lose-answers N | advance SECONDS
  order:    order HEX (a signed order from a USB stick, say)";

/// Reads a line; the error says what is expected.
pub(super) fn parse(line: &str) -> Result<Option<Command>, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let Some((first, rest)) = words.split_first() else {
        return Ok(None);
    };
    if let Some(keys) = words.iter().map(|w| key(w)).collect::<Option<Vec<_>>>() {
        return Ok(Some(Command::Keys(keys)));
    }
    let command = match (*first, rest) {
        ("activate", []) => Command::Activate,
        ("cancel", []) => Command::Cancel,
        ("close", []) => Command::Keys(vec![RemoteKey::Other]),
        ("sign-out", []) => Command::SignOut,
        ("deactivate", ["yes"]) => Command::Deactivate,
        ("deactivate", _) => return Err("type `deactivate yes`: it cannot be undone".into()),
        ("restart", []) => Command::Restart,
        ("status", []) => Command::Status,
        ("try-again", []) => Command::TryAgain,
        ("quit", []) => Command::Quit,
        ("network", ["off"]) => Command::Network(false),
        ("network", ["on"]) => Command::Network(true),
        ("advance", [s]) => Command::Advance(number(s)?),
        ("lose-answers", [n]) => Command::LoseAnswers(number(n)?),
        ("order", [hex]) => Command::Order(bytes(hex)?),
        ("receipt", [file]) => Command::Receipt((*file).to_owned()),
        // The text of a code has spaces inside, which are digits of it.
        ("prove-clean", [_, .., file]) => {
            let rest = line.trim().strip_prefix("prove-clean").unwrap_or_default();
            let question = rest.trim().strip_suffix(*file).unwrap_or_default();
            Command::ProveClean(question.trim().to_owned(), (*file).to_owned())
        }
        ("help" | "?", _) => return Err(HELP.to_owned()),
        (other, _) => {
            return Err(format!(
                "`{other}` is not understood here; it may be:\n{HELP}"
            ));
        }
    };
    Ok(Some(command))
}

fn key(word: &str) -> Option<RemoteKey> {
    Some(match word {
        "up" | "u" | "↑" => RemoteKey::Up,
        "down" | "d" | "↓" => RemoteKey::Down,
        "left" | "l" | "←" => RemoteKey::Left,
        "right" | "r" | "→" => RemoteKey::Right,
        "ok" | "back" => RemoteKey::Other,
        _ => return None,
    })
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let digits = hex.len().is_multiple_of(2) && hex.bytes().all(|b| b.is_ascii_hexdigit());
    if !digits {
        return Err("an order is an even number of hexadecimal digits".into());
    }
    let byte = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).unwrap_or_default();
    Ok((0..hex.len()).step_by(2).map(byte).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_commands_and_nonsense_are_told_apart() {
        assert_eq!(
            parse("up ↓ l").unwrap(),
            Some(Command::Keys(vec![
                RemoteKey::Up,
                RemoteKey::Down,
                RemoteKey::Left
            ]))
        );
        assert_eq!(parse("  ").unwrap(), None);
        assert_eq!(
            parse("order 0aFf").unwrap(),
            Some(Command::Order(vec![10, 255]))
        );
        let prove = |question: &str| Command::ProveClean(question.to_owned(), "a.bin".to_owned());
        for question in ["a7a7", "question.txt", "NRD:1:CLEAN:A  B C"] {
            let line = format!(" prove-clean  {question}  a.bin ");
            assert_eq!(parse(&line).unwrap(), Some(prove(question)));
        }
        for bad in [
            "order abc",
            "order zz",
            "advance x",
            "deactivate",
            "up sideways",
            "order é0",
            "prove-clean",
            "prove-clean a.bin",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}

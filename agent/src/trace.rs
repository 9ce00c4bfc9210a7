//! Events for a developer's log: features `log` and `defmt`, both off
//! unless asked for. Names of states, phases and error codes; never a secret,
//! never personal data.

/// Logs one event: a literal, or a literal and integers.
macro_rules! event {
    ($text:literal $(, $value:expr)*) => {{
        $(let _ = &$value;)*
        #[cfg(feature = "log")]
        log::info!($text $(, $value)*);
        #[cfg(feature = "defmt")]
        defmt::info!($text $(, $value)*);
    }};
}
pub(crate) use event;

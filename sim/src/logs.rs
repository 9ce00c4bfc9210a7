//! The service's log: one line an event, on standard error. It holds no name,
//! no address and no secret; an activation goes by the head of its random id.

use std::io;

/// How the log reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people: warnings and errors.
    Text,
    /// For machines: JSON lines, everything from `info` on.
    Json,
}

/// Starts the log; only the first call of a process does anything.
pub fn start(format: LogFormat) {
    let builder = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(false);
    #[expect(
        clippy::let_underscore_must_use,
        reason = "a test may have set one before"
    )]
    let _ = match format {
        LogFormat::Text => tracing::subscriber::set_global_default(
            builder.with_max_level(tracing::Level::WARN).finish(),
        ),
        LogFormat::Json => tracing::subscriber::set_global_default(
            builder
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .with_max_level(tracing::Level::INFO)
                .finish(),
        ),
    };
}

//! Logs: as text, as JSON, or to journald in its own protocol.

use std::fmt;
use std::os::unix::fs::MetadataExt;

use tracing::field::Field;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::LogFormat;

/// What a line of text says in words already.
const IN_WORDS: [&str; 5] = ["event", "subject", "number", "cause", "by"];

/// Starts logging. `ANYCAST_LOG` takes what tracing's EnvFilter takes, in place of `usual`. Without
/// a format: to journald if standard error leads there, else text on standard error.
///
/// # Errors
/// In words: journald was asked for and cannot be reached.
pub(crate) fn start(usual: &str, format: Option<LogFormat>) -> Result<(), String> {
    let filter = EnvFilter::try_from_env("ANYCAST_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let registry = tracing_subscriber::registry().with(filter);
    let text = || {
        tracing_subscriber::fmt::layer()
            .with_target(false)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .fmt_fields(debug_fn(field))
            .with_writer(std::io::stderr)
    };
    let asked = format == Some(LogFormat::Journald);
    match format {
        Some(LogFormat::Json) => {
            let json = tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .with_writer(std::io::stderr);
            registry.with(json).init();
        }
        Some(LogFormat::Text) => registry.with(text()).init(),
        None if !leads_to_journald() => registry.with(text()).init(),
        Some(LogFormat::Journald) | None => match tracing_journald::layer() {
            Ok(journald) => {
                // syslog(3): an event is informational, as it is for whoever reads text.
                let priorities = PriorityMappings {
                    info: Priority::Informational,
                    debug: Priority::Debug,
                    ..PriorityMappings::new()
                };
                let journald = journald.with_priority_mappings(priorities);
                let journald = journald.with_field_prefix(Some("ANYCAST".to_owned()));
                registry.with(journald.with_syslog_identifier("anycast".to_owned())).init();
            }
            Err(error) if asked => return Err(format!("cannot reach journald: {error}")),
            Err(_) => registry.with(text()).init(),
        },
    }
    Ok(())
}

/// Whether standard error is what systemd has connected to journald (systemd.exec(5),
/// $JOURNAL_STREAM): then each line would be a message, but without its fields.
fn leads_to_journald() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let stderr = std::fs::metadata("/proc/self/fd/2");
    stderr.is_ok_and(|stderr| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
}

/// One field of a line of text; the message comes first.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        "message" => write!(writer, "{value:?}"),
        known if IN_WORDS.contains(&known) => Ok(()),
        name => write!(writer, " {name}={value:?}"),
    }
}

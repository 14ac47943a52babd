//! The `log` crate's messages in the host's log.

use std::cell::Cell;

use proxy_wasm::types::LogLevel;

use super::hostcalls;
use super::status::Status;

struct HostLog;

thread_local! {
    /// Whether the host has no log, or does not allow it: Envoy writes a line of its own for each call then.
    static REFUSED: Cell<bool> = const { Cell::new(false) };
}

impl log::Log for HostLog {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        !REFUSED.get()
    }

    fn log(&self, record: &log::Record<'_>) {
        let level = match record.level() {
            log::Level::Trace => LogLevel::Trace,
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Error => LogLevel::Error,
        };
        if !REFUSED.get() {
            let logged = hostcalls::log(level, &format!("portcullis: {}", record.args()));
            REFUSED.set(logged.is_err_and(Status::is_missing));
        }
    }

    fn flush(&self) {}
}

/// Sends log messages to the host, and a panic's message too: otherwise a trap leaves no trace.
pub(super) fn install() {
    // A second VM start in one process finds the logger there already.
    let _ = log::set_logger(&HostLog);
    log::set_max_level(log::LevelFilter::Debug);
    #[cfg(target_family = "wasm")]
    std::panic::set_hook(Box::new(|panic| {
        let _ = hostcalls::log(LogLevel::Critical, &format!("portcullis: {panic}"));
    }));
}

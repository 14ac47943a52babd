//! The `log` crate's messages in the host's log.

use super::hostcalls;

struct HostLog;

impl log::Log for HostLog {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        hostcalls::log(record.level(), &format!("portcullis: {}", record.args()));
    }

    fn flush(&self) {}
}

/// Sends log messages to the host, and a panic's message too: otherwise a trap leaves no trace.
pub(super) fn install() {
    // A second VM start in one process finds the logger there already.
    let _ = log::set_logger(&HostLog);
    log::set_max_level(log::LevelFilter::Debug);
    #[cfg(target_family = "wasm")]
    std::panic::set_hook(Box::new(|panic| hostcalls::log_critical(&format!("portcullis: {panic}"))));
}

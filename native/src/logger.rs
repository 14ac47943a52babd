//! The `log` crate's messages in Envoy's log.

use crate::abi;

struct EnvoyLog;

impl log::Log for EnvoyLog {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // Envoy's numbers.
        let level = match record.level() {
            log::Level::Trace => 0,
            log::Level::Debug => 1,
            log::Level::Info => 2,
            log::Level::Warn => 3,
            log::Level::Error => 4,
        };
        abi::log(level, &format!("portcullis: {}", record.args()));
    }

    fn flush(&self) {}
}

/// Sends log messages to Envoy, and a panic's message too.
pub(crate) fn install() {
    // It is there already where the module is loaded a second time.
    let _ = log::set_logger(&EnvoyLog);
    log::set_max_level(log::LevelFilter::Debug);
    std::panic::set_hook(Box::new(|panic| {
        const CRITICAL: u32 = 5;
        abi::log(CRITICAL, &format!("portcullis: {panic}"));
    }));
}

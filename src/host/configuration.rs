//! A configuration as the host hands it over, and the gate of it.

use std::hash::{BuildHasher, Hasher, RandomState};

use proxy_wasm::types::Bytes;

use super::capabilities::Missing;
use super::hostcalls;
use super::plugin::clock;
use super::status::Status;
use super::wasi;
use crate::config::{Config, Problem};
use crate::gate::{Environment, Gate};

/// Reads a configuration as the host handed it over, or did not.
pub(super) fn read(bytes: &Result<Bytes, Status>) -> Result<Config, Vec<Problem>> {
    if !wasi::has_random() {
        return Err(vec![problem(NO_RANDOM.to_owned())]);
    }
    match bytes {
        Ok(bytes) => parse(bytes),
        Err(Status::NOT_FOUND) => parse(b""),
        Err(status) => Err(vec![problem(format!(
            "the host did not hand it over: proxy_get_buffer_bytes failed ({status}); let the plugin call it"
        ))]),
    }
}

fn parse(bytes: &[u8]) -> Result<Config, Vec<Problem>> {
    Config::parse(bytes, &|name| wasi::variable(name)?.ok())
}

/// What is wrong with the configuration as a whole.
fn problem(message: String) -> Problem {
    Problem { path: String::new(), message }
}

/// Without them tables could be flooded with keys that collide, and instances not be distinguished.
const NO_RANDOM: &str = "the host gives no random numbers (random_get), without which nothing can be judged; let the plugin call it";

/// Says what is wrong with a configuration.
pub(super) fn tell(problems: Vec<Problem>) {
    let count = problems.len();
    log::error!("configuration rejected: {count} error{}", if count == 1 { "" } else { "s" });
    for problem in problems {
        log::error!("  {problem}");
    }
}

/// The gate of a configuration. Says what is dangerous in it, and what the filter cannot see.
pub(super) fn gate_of(config: Config, missing: Missing) -> Gate {
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    log::info!(
        "version {}: {} providers, {} rules",
        env!("CARGO_PKG_VERSION"),
        config.providers.len(),
        config.rules.iter().count()
    );
    log::info!("{UNSEEN}");
    let backend = super::crypto::backend(missing);
    log::info!("{backend}");
    let world = Environment {
        backend,
        store: super::store::store(missing),
        random: RandomState::new().build_hasher().finish(),
        stopwatch: || hostcalls::now().unwrap_or_default(),
    };
    // Without a time nothing can be judged; the first request and the first tick say so.
    Gate::new(config, world, clock().unwrap_or_default())
}

/// What no filter can see and the operator must know.
const UNSEEN: &str = "not visible to this filter, and assumed to be set in the connection manager: normalize_path, \
    merge_slashes, path_with_escaped_slashes_action, strip_any_host_port, strip_trailing_host_dot; nor does it see \
    whether filters before it change what routes are chosen by (docs/operations.md)";

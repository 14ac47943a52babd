//! What the filter takes besides time on the processor: memory, and time to start.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use super::load::Load;
use super::measure::Estimate;
use super::plan::Variant;
use super::stage::{listener, requests};
use crate::envoy::{Envoy, Listener, Wasm};
use crate::idp::{Alg, Key};

/// Memory and time that an Envoy takes more with the filter than without.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// Milliseconds from the start of the process until it is ready.
    pub start_ms: Estimate,
    /// Milliseconds of the processor until then, on all cores together: to compile the module is nearly all of it.
    pub start_cpu_ms: Estimate,
    /// Kilobytes for the first worker, V8 itself and the instance of the main thread with it.
    pub first_kb: f64,
    /// Kilobytes for each further worker.
    pub worker_kb: f64,
    /// Kilobytes for each further virtual machine of the same module with two workers, as Envoy Gateway makes one for each
    /// policy.
    pub policy_kb: f64,
    /// Bytes for each token in the cache.
    pub token_bytes: f64,
}

/// How often Envoy is started for each figure.
const STARTS: usize = 7;
/// How many workers more tell what one takes.
const WORKERS: u32 = 8;
/// How many policies more tell what one takes.
const POLICIES: u32 = 4;
/// How many tokens tell what one takes.
const TOKENS: usize = 10_000;

impl Footprint {
    /// Starts a few Envoys and looks at them.
    ///
    /// # Errors
    /// One does not start or does not answer.
    pub(super) fn measure() -> Result<Self, String> {
        let key = Key::generate(Alg::ES256, "key");
        let keys = std::slice::from_ref(&key);
        let filter = || listener(&Variant::Portcullis, keys);
        let bare = || listener(&Variant::None, keys);
        let (mut late, mut busy) = (Vec::new(), Vec::new());
        for _ in 0..STARTS {
            let (without, idle) = start(1, bare())?;
            let (with, envoy) = start(1, filter())?;
            late.push((with.as_secs_f64() - without.as_secs_f64()) * 1e3);
            busy.push((envoy.cpu_time().as_secs_f64() - idle.cpu_time().as_secs_f64()) * 1e3);
        }
        let grown = |workers| {
            let (_, without) = start(workers, bare())?;
            let (_, with) = start(workers, filter())?;
            Ok::<_, String>(resident(&with)? - resident(&without)?)
        };
        let (one, many) = (grown(1)?, grown(1 + WORKERS)?);

        let policies = |count: u32| {
            let policy = |listener: Listener, number| {
                let nothing = json!({ "providers": {}, "rules": [{ "match": { "prefix": "/" } }] });
                listener.filter(Wasm::portcullis(nothing).vm_id(&format!("policy-{number}")))
            };
            let (_, envoy) = start(2, (0..count).fold(filter(), policy))?;
            resident(&envoy)
        };
        let policy_kb = (policies(POLICIES)? - policies(0)?) / f64::from(POLICIES);

        let variant = Variant::Cache(TOKENS);
        let (_, envoy) = start(1, listener(&variant, keys))?;
        let failed = |error| format!("{}: {error}", variant.title());
        let mut load = Load::open(envoy.addr_of(&variant.name()), 4, "200").map_err(failed)?;
        // One token first, often enough for everything else to have grown as far as it will.
        load.drive(&requests(&key, 1), TOKENS).map_err(failed)?;
        let before = resident(&envoy)?;
        load.drive(&requests(&key, TOKENS), TOKENS).map_err(failed)?;
        let token_bytes = (resident(&envoy)? - before) * 1024.0 / TOKENS as f64;
        Ok(Self {
            start_ms: Estimate::of(&late),
            start_cpu_ms: Estimate::of(&busy),
            first_kb: one,
            worker_kb: (many - one) / f64::from(WORKERS),
            policy_kb,
            token_bytes,
        })
    }
}

/// An Envoy of one listener, and how long it took until it was ready.
fn start(workers: u32, listener: Listener) -> Result<(Duration, Envoy), String> {
    let builder = Envoy::builder()
        .log_level("warn", "")
        .concurrency(workers)
        .main(|_| listener)
        .patch(|bootstrap| bootstrap["stats_flush_interval"] = json!("60s"));
    let start = Instant::now();
    let envoy = builder.start().map_err(|error| error.to_string())?;
    Ok((start.elapsed(), envoy))
}

/// Memory of the process, in kilobytes.
fn resident(envoy: &Envoy) -> Result<f64, String> {
    let file = format!("/proc/{}/status", envoy.pid());
    let text = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).ok_or(format!("{file} has no VmRSS"))
}

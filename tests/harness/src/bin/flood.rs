//! The benchmark behind `make bench-flood`: what good requests cost Envoy while somebody makes up key ids.
//!
//! One Envoy with one worker has two listeners with the same filter: one stays quiet; on the other, each slice of good
//! requests follows a slice of requests whose tokens name keys that nobody has. What counts is the processor time of
//! Envoy's worker thread for the good slices alone, in interleaved rounds; the median of the rounds' ratios is told,
//! with the interval in which the true one lies with 95 % confidence.
//!
//! `--rounds N` rounds (default 60) of `--requests N` good requests (default 400) and as many bad ones.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::arguments::number;
use harness::bench::{Estimate, Load, Pinned, Processor};
use harness::idp::{b64, now};
use harness::{Alg, Envoy, Idp, Listener, Request, Wasm};
use serde_json::json;

const COOLDOWN: u64 = 30;
/// More than the filter remembers of kids that are missing.
const WARM_UP: usize = 2000;
const CONNECTIONS: usize = 8;

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), String> {
    let (rounds, count): (usize, usize) = (number("--rounds", 60)?, number("--requests", 400)?);
    let idp =
        Idp::builder().algs([Alg::ES256]).cache_control(None).start().map_err(|error| error.to_string())?;
    let listener = |name: &str| {
        let config = json!({
            "providers": { "corp": {
                "issuer": idp.issuer(),
                "audiences": [idp.audience()],
                "remote_jwks": {
                    "http_uri": { "uri": idp.jwks_uri(), "cluster": "idp", "timeout": "5s" },
                    "cache_duration": "86400s",
                    "unknown_kid_cooldown": format!("{COOLDOWN}s"),
                    // Each listener has keys of its own.
                    "max_bytes": if name == "flooded" { 100_000 } else { 100_001 },
                },
            } },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } }],
        });
        Listener::new(name)
            .without_access_log()
            .routes(json!([{ "match": { "prefix": "/" }, "direct_response": { "status": 200 } }]))
            .filter(Wasm::portcullis(config))
    };
    let envoy = Envoy::builder()
        .log_level("warn", "")
        .idp("idp", &idp)
        .main(|_| listener("quiet"))
        .listener(listener("flooded"))
        .start()
        .map_err(|error| error.to_string())?;
    let processor = Processor::of(envoy.pid())?;
    let _pinned = Pinned::new(&[&processor])?;

    let token = idp.token(json!({ "exp": now() + 24 * 3600 }));
    let good = vec![Request::get("/orders/7").bearer(&token).to_bytes()];
    let rest = token.split_once('.').ok_or("a token has three parts")?.1;
    let bad = |number: usize| {
        let header =
            json!({ "alg": "ES256", "kid": format!("made-up-{number:x}"), "typ": "JWT" }).to_string();
        Request::get("/orders/7").bearer(&format!("{}.{rest}", b64(header)))
    };
    let failed = |error: std::io::Error| error.to_string();
    let mut quiet = Load::open(envoy.addr_of("quiet"), CONNECTIONS, "200").map_err(failed)?;
    let mut flooded = Load::open(envoy.addr_of("flooded"), CONNECTIONS, "200").map_err(failed)?;
    let mut attackers = Load::open(envoy.addr_of("flooded"), CONNECTIONS, "401").map_err(failed)?;
    let mut sent = 0;
    let mut flood = |count: usize| {
        let requests: Vec<_> = (sent..sent + count).map(|number| bad(number).to_bytes()).collect();
        sent += count;
        attackers.drive(&requests, count)
    };
    for load in [&mut quiet, &mut flooded] {
        load.drive(&good, 2000).map_err(failed)?;
    }
    let began = Instant::now();
    flood(WARM_UP).map_err(failed)?;
    let (mut ratios, mut costs, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let refused = processor.slice(|| flood(count)).map_err(failed)?.cpu;
        let mut one = || processor.slice(|| quiet.drive(&good, count)).map_err(failed);
        let mut other = || processor.slice(|| flooded.drive(&good, count)).map_err(failed);
        // Whichever comes first in one round comes last in the next.
        let (calm, busy) = if round.is_multiple_of(2) {
            let calm = one()?;
            (calm, other()?)
        } else {
            let busy = other()?;
            (one()?, busy)
        };
        let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
        ratios.push(busy.cpu.as_secs_f64() / calm.cpu.as_secs_f64());
        costs.push(each(calm.cpu));
        refusals.push(each(refused));
    }
    let fetches = idp.fetches();
    let [ratio, cost, refusal] = [ratios, costs, refusals].map(|values| Estimate::of(&values));
    println!("{}: {rounds} rounds of {count} good requests, {sent} made-up key ids", envoy.version());
    println!("a good request, nothing else going on   {:7.2} µs of Envoy's processor time", cost.median);
    println!("a request with a made-up key id         {:7.2} µs", refusal.median);
    println!(
        "a good request among made-up key ids    {:7.3} times as much ({:.3} to {:.3})",
        ratio.median, ratio.low, ratio.high
    );
    println!(
        "requests to the identity provider       {fetches} in {:.0} s: one for each listener, 3, and 1 in {COOLDOWN} s",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

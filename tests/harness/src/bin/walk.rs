//! The demonstration behind `make run`.
//!
//! Brings up an identity provider, an upstream and Envoy with the filter, walks through what the filter allows and
//! what it refuses, and stays until Ctrl-C. With `ONCE=1` or `--once` it stops after the walk, and fails if any
//! step came out otherwise than it says. `MCP_SERVERS` (`name=host:port`, several with commas) puts more MCP servers behind
//! the gate, each as the demo's own is. With `GATEWAY` and `IDP` (`host:port`) it walks through what runs there.

use std::env;
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;

use harness::walk::{Paint, Stage, Tally, Target, run};

fn main() -> ExitCode {
    let paint = Paint::detect();
    match demonstrate(paint) {
        Ok(Tally { different: 0, .. }) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}", paint.bad(&error));
            ExitCode::FAILURE
        }
    }
}

fn demonstrate(paint: Paint) -> Result<Tally, String> {
    if let Some(gateway) = address("GATEWAY")? {
        let idp = address("IDP")?.ok_or("GATEWAY is set, so IDP must say where its identity provider is")?;
        let tally = run(&Target { gateway, idp, mcp: None, access_log: None }, paint)?;
        summarise(tally, paint);
        return Ok(tally);
    }
    let once = env::args().any(|argument| argument == "--once")
        || env::var("ONCE").is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
    println!("Starting an identity provider, an upstream, and Envoy with the filter …");
    let stage = Stage::start(&mcp_servers()?)?;
    let tally = stage.walk(paint)?;
    summarise(tally, paint);
    if !once {
        println!("{}\nCtrl-C stops it all.", stage.guide(paint));
        harness::wait::until_stopped();
    }
    Ok(tally)
}

fn summarise(tally: Tally, paint: Paint) {
    let Tally { steps, different } = tally;
    match different {
        0 => println!("\n{}\n", paint.good(&format!("All {steps} steps came out as they say."))),
        _ => println!(
            "\n{}\n",
            paint.bad(&format!("{different} of {steps} steps came out otherwise than they say."))
        ),
    }
}

/// The MCP servers of `MCP_SERVERS`.
fn mcp_servers() -> Result<Vec<(String, SocketAddr)>, String> {
    let text = env::var("MCP_SERVERS").unwrap_or_default();
    let read = |one: &str| {
        let (name, addr) = one.split_once('=')?;
        Some((name.to_owned(), addr.parse().ok()?))
    };
    let all = text.split(',').filter(|one| !one.is_empty());
    all.map(|one| read(one).ok_or_else(|| format!("MCP_SERVERS: {one:?} is no name=address:port"))).collect()
}

/// An address from an environment variable: `host:port`, with or without `http://`.
fn address(variable: &str) -> Result<Option<SocketAddr>, String> {
    let Ok(text) = env::var(variable) else { return Ok(None) };
    let host = text.trim_start_matches("http://").trim_end_matches('/');
    let mut found = host.to_socket_addrs().map_err(|error| format!("{variable}={text}: {error}"))?;
    found.next().map(Some).ok_or_else(|| format!("{variable}={text}: no address"))
}

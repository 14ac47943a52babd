//! The demo identity provider as a program of its own.
//!
//! `LISTEN` is its address (default 127.0.0.1:8081), `ISSUER` its name, `AUDIENCE` the audience of its tokens,
//! `ALGS` the algorithms of its keys (default RS256,ES256), `BACKCHANNEL_LOGOUT_URI` whom it tells of logouts. A first
//! argument stands for `LISTEN`.

use std::env;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use harness::{Alg, Idp};

fn main() -> ExitCode {
    match start() {
        Ok(idp) => {
            println!("identity provider: {} (issuer {})", idp.url(), idp.issuer());
            harness::wait::until_stopped();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("identity provider: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<Idp, String> {
    let listen =
        env::args().nth(1).or_else(|| env::var("LISTEN").ok()).unwrap_or_else(|| "127.0.0.1:8081".to_owned());
    let addr = listen.parse().map_err(|error| format!("{listen:?} is no address: {error}"))?;
    // Whoever knows the keys of an earlier run must not take these for them.
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs());
    let mut idp = Idp::builder().addr(addr).first_generation(usize::try_from(started).unwrap_or(1));
    if let Ok(issuer) = env::var("ISSUER") {
        idp = idp.issuer(&issuer);
    }
    if let Ok(audience) = env::var("AUDIENCE") {
        idp = idp.audience(&audience);
    }
    if let Ok(uri) = env::var("BACKCHANNEL_LOGOUT_URI") {
        idp = idp.backchannel_logout_uri(&uri);
    }
    if let Ok(names) = env::var("ALGS") {
        let algs: Result<Vec<Alg>, String> = names.split(',').map(|name| name.trim().parse()).collect();
        idp = idp.algs(algs?);
    }
    idp.start().map_err(|error| format!("{addr}: {error}"))
}

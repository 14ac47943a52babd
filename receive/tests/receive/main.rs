//! What an operator gets of a receiver: a process of its own, as it would run, and real gates where they matter.
#![allow(missing_docs)]

mod common;
mod durable;
mod gates;
mod polls;
mod real;
mod served;
mod taken;

use std::path::Path;

/// Not a test of its own: the receiver that the others start, in a process that they can kill.
#[test]
fn receiver() {
    let Ok(config) = std::env::var(common::CONFIG) else { return };
    let now = std::env::var(common::NOW).ok().and_then(|now| now.parse().ok());
    match portcullis_receive::run(Path::new(&config), now.map(portcullis::Timestamp::from_secs)) {
        Ok(()) => std::process::exit(0),
        Err(failure) => {
            eprintln!("{failure}");
            std::process::exit(2);
        }
    }
}

//! `portcullis receive`: a small server for the fleet's revocations.
//!
//! It takes logout tokens (OpenID Connect Back-Channel Logout 1.0), Security Event Tokens that are pushed (RFC 8935) or asked
//! for (RFC 8936), and entries by hand; checks them with the gate's own code; keeps what they say in an embedded database;
//! and serves it as the list that gates poll. [`run`] does all of it. What has been acknowledged is on the disk.

#![deny(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::too_many_lines))]

mod admin;
mod client;
mod clock;
mod config;
mod entry;
mod event;
mod intake;
mod keys;
mod list;
mod log;
mod metrics;
#[cfg(test)]
mod page_tests;
mod poll;
mod routes;
mod server;
mod store;

use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use config::{Config, Variables};
use portcullis::{Problem, Timestamp};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::LocalSet;

use clock::Clock;
use intake::Receiver;
use keys::KeySource;
use list::Lists;
use store::{Opened, Store};

/// What bounds the work and the memory of the receiver.
pub mod limits {
    pub use crate::entry::MAX_NAME;
    pub use crate::list::{MAX_JSON_BYTES, MAX_JSON_ENTRIES, MAX_RETIRED_BYTES};
    pub use crate::poll::MAX_ANSWER;
    pub use crate::routes::MAX_BODY;
    pub use crate::server::MAX_CONNECTIONS;
    pub use crate::store::{MAX_ENTRIES, MAX_SEEN};
}

/// Why the receiver does not run.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is wrong: each problem with its path, never none.
    Configuration(Vec<Problem>),
    /// It cannot be read, the database cannot be opened, or the address cannot be had; says which and why.
    CannotRun(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CannotRun(why) => f.write_str(why),
            Self::Configuration(problems) => {
                let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
        }
    }
}

impl std::error::Error for Failure {}

/// Runs a receiver with the configuration in a file, until SIGTERM or SIGINT: then what has begun is answered, and it
/// returns within ten seconds. `now` is where its clock begins, for tests; none: the machine's.
///
/// # Errors
/// [`Failure`]: it has not begun.
pub fn run(config: &Path, now: Option<Timestamp>) -> Result<(), Failure> {
    let text = std::fs::read_to_string(config)
        .map_err(|error| Failure::CannotRun(format!("{}: {error}", config.display())))?;
    let config = Config::parse(&text, &|name| std::env::var(name).ok()).map_err(Failure::Configuration)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build();
    let runtime = runtime.map_err(|error| Failure::CannotRun(error.to_string()))?;
    let local = LocalSet::new();
    let writer = local.block_on(&runtime, serve(config, Clock::new(now)))?;
    // The database is closed once nobody has it any more; all that was answered is on the disk already.
    drop(local);
    drop(runtime);
    let _ = writer.join();
    log::info("stopped", &[]);
    Ok(())
}

/// Serves; the thread that writes the database ends once everything else is gone.
async fn serve(config: Config, clock: Clock) -> Result<JoinHandle<()>, Failure> {
    let cannot = |why: String| Failure::CannotRun(why);
    for warning in &config.warnings {
        log::warn(
            "configuration",
            &[("path", warning.path.clone().into()), ("why", warning.message.clone().into())],
        );
    }
    let (stop, stopping) = watch::channel(false);
    let mut stops = Stops::new().map_err(|error| cannot(error.to_string()))?;
    let Opened { store, writer } = Store::open(&config.database, clock).map_err(cannot)?;
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| cannot(format!("{}: {error}", config.listen)))?;
    let address = listener.local_addr().map_err(|error| cannot(error.to_string()))?;
    let keys: Option<Vec<KeySource>> =
        config.issuers.iter().map(|own| KeySource::new(&own.issuer, &own.keys, clock)).collect();
    let keys = keys.ok_or_else(|| cannot("an issuer has no keys".to_owned()))?;
    let lists = Lists::new(store.clone(), clock);
    let receiver = Rc::new(Receiver {
        config,
        keys,
        clock,
        store,
        lists,
        client: Rc::default(),
        metrics: Rc::default(),
        apart: Arc::new(Semaphore::new(server::MAX_CONNECTIONS)),
    });
    for source in &receiver.keys {
        if let KeySource::Remote(remote) = source {
            let (client, metrics) = (Rc::clone(&receiver.client), Rc::clone(&receiver.metrics));
            tokio::task::spawn_local(Rc::clone(remote).drive(client, metrics));
        }
    }
    let pollers: Vec<_> = (0..receiver.config.polls.len())
        .map(|at| {
            let poller = poll::Poller::new(Rc::clone(&receiver), at);
            tokio::task::spawn_local(poller.run(stopping.clone()))
        })
        .collect();
    log::info("listening", &[("address", address.to_string().into())]);
    tokio::task::spawn_local(async move {
        stops.wait().await;
        log::info("stopping", &[]);
        let _ = stop.send(true);
    });
    server::serve(listener, receiver, stopping).await;
    let polled = async {
        for poller in pollers {
            let _ = poller.await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), polled).await;
    Ok(writer)
}

/// SIGTERM and SIGINT.
struct Stops {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Stops {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    async fn wait(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}

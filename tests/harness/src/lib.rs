//! What the tests, the demo and the benchmarks of Portcullis stand on.
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`idp`] | an identity provider that signs real tokens, publishes its keys, rotates them, and misbehaves when told to |
//! | [`upstream`] | a service that answers with the request it got, and remembers it |
//! | [`documents`] | a web server for documents of any kind |
//! | [`mcp`] | a small MCP server with two tools |
//! | [`envoy`] | finds an Envoy, writes its bootstrap, starts it, reads its logs and statistics |
//! | [`client`] | HTTP requests in which every byte can be chosen |
//! | [`prometheus`] | finds a Prometheus, starts it beside an Envoy, asks it |
//! | [`vectors`] | where shared test data lies, and how a test says that it was skipped |
//! | [`walk`] | the numbered demonstration behind `make run` |
//! | [`compose`] | the test of the stack under Docker Compose, behind `make compose-test` |
//! | [`hostile`] | requests that no client should send, and the run of ten million of them behind `make hostile` |
//! | [`mod@bench`] | the benchmark behind `make bench` |
//!
//! Everything is blocking, so that a test reads from top to bottom; the servers run on one hidden runtime.
//! Every wait has a deadline, and a wait that fails says what it waited for.
//!
//! ```no_run
//! use harness::{Envoy, Idp, Request, Upstream, Wasm};
//! use serde_json::json;
//!
//! let idp = Idp::start();
//! let upstream = Upstream::start();
//! let envoy = Envoy::builder()
//!     .upstream(&upstream)
//!     .idp("idp", &idp)
//!     .filter(Wasm::portcullis(json!({ "providers": {}, "rules": [] })))
//!     .start()
//!     .expect("Envoy starts");
//! let token = idp.token(json!({ "scope": "orders:read" }));
//! let response = Request::get("/orders/7").bearer(&token).send(envoy.addr());
//! assert_eq!(response.status, 200);
//! ```

pub mod arguments;
pub mod bench;
pub mod client;
pub mod compose;
pub mod documents;
mod door;
pub mod envoy;
pub mod hostile;
pub mod idp;
pub mod mcp;
mod port;
pub mod prometheus;
mod runtime;
pub mod upstream;
pub mod vectors;
pub mod wait;
pub mod walk;
mod wire;

pub use client::{Connection, Next, Request, Response, Streams, burst, get};
pub use documents::Documents;
pub use envoy::{Cluster, Envoy, EnvoyBuilder, FailPolicy, Filter, Listener, PluginConfig, StartError, Wasm};
pub use idp::{Alg, Behaviour, Endpoint, Idp, Introspection, Key, TokenBuilder};
pub use port::Port;
pub use prometheus::{Prometheus, Tools};
pub use upstream::{Endless, Record, Upstream};
pub use vectors::{missing, shared, skip, workspace};
pub use wait::{SOON, eventually};

//! The gate as an Envoy dynamic module: a second host beside the wasm plugin, over the same core and the same
//! configuration.
//!
//! Envoy makes one `plugin` of each filter configuration, on its main thread. There a gate of its own fetches keys and
//! lists, by the clock, and puts them into the `store` of the process. Each worker has a `worker` for each plugin,
//! with a gate that judges requests. The main thread's gate carries out the fetches of keys and polled lists that those
//! begin; what only they can use is sent by the main thread, and the answer comes back. Each request is a `stream`.
//!
//! | question | module |
//! | --- | --- |
//! | Which functions does Envoy call, and which does it offer? | `abi` |
//! | What does a filter configuration consist of? | `plugin` |
//! | What happens on the main thread? | `main_thread` |
//! | What does a worker keep? | `worker` |
//! | What happens to one request? | `stream` |
//! | What does Envoy know of a request? | `properties` |
//! | What does a route say? | `route` |
//! | Who wakes the main thread and waiting requests? | `ticker` |
//! | Where is what all threads share? | `store` |
//! | How are signatures verified? | `crypto` |
//! | How are counts handed to Envoy? | `metrics` |
//! | What happens after a panic? | `panics` |

#![deny(unsafe_code)]

mod abi;
mod call;
mod crypto;
mod logger;
mod main_thread;
mod metadata;
mod metrics;
mod panics;
mod plugin;
mod properties;
mod refused;
mod route;
mod store;
mod stream;
mod ticker;
mod worker;

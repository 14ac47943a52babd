//! The only folder that knows proxy-wasm: callbacks in, host calls out, no decisions.
//!
//! A panic would take down the VM of a whole worker and leave its waiting requests hanging. So every
//! status of a host call is a value here, and every failure ends in a refusal.
//!
//! | question | module |
//! | --- | --- |
//! | What happens to one request, from its headers to those of its response? | `stream` |
//! | How is what the gate decides carried out? | `apply` |
//! | Configuration, ticks, fetches, requests that wait | `root` |
//! | What do these two share? | `plugin` |
//! | How is a configuration read, and what is its gate given? | `configuration` |
//! | Which configuration serves where a new one is refused? | `refused` |
//! | Which callbacks are not the SDK's? | [`exports`] |
//! | Which host calls are not the SDK's? | `hostcalls` |
//! | What does this host lack, and what does that mean? | `capabilities` |

#![allow(clippy::disallowed_methods, reason = "the environment comes in here")]

mod apply;
mod call_response;
mod capabilities;
mod configuration;
mod crypto;
pub mod exports;
mod header_map;
mod hostcalls;
mod logger;
mod memory;
mod metrics;
mod plugin;
mod properties;
mod refused;
mod root;
mod status;
mod store;
mod stream;
#[cfg(feature = "trap-for-tests")]
mod trap;
mod wasi;

mod entry {
    #![allow(missing_docs, unsafe_code)]

    proxy_wasm::main! {{
        super::logger::install();
        proxy_wasm::set_root_context(|id| Box::new(super::root::RootHandle::new(id)));
    }}
}
pub use entry::_initialize;

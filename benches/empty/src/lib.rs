//! A filter that does nothing, for the benchmark: what it costs to enter a VM and to leave it.
//!
//! `make bench` builds it into `dist/empty.wasm`.

#![allow(missing_docs, unsafe_code, reason = "the SDK's macro exports functions")]

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Nothing));
}}

struct Nothing;

impl Context for Nothing {}
impl HttpContext for Nothing {}

impl RootContext for Nothing {
    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Nothing))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

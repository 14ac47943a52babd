//! A trap on demand, for the tests of what comes after one. Only with the feature `trap-for-tests`.

use proxy_wasm::types::MapType;

use super::hostcalls;

/// The field by which a request asks for it.
const TRIGGER: &str = "x-portcullis-trap-for-tests";

/// Takes the VM down where the request of the current context says so.
pub(super) fn if_asked() {
    let headers = hostcalls::header_map(MapType::HttpRequestHeaders).unwrap_or_default();
    if headers.fields().iter().any(|(name, _)| *name == TRIGGER.as_bytes()) {
        // Also what tells this module from the filter, by its bytes.
        log::warn!("a trap, because a request says {TRIGGER}");
        std::process::abort();
    }
}

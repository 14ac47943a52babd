//! What Envoy 1.40 offers beyond Envoy 1.38. The module looks these up at load.

use crate::envoy::callbacks::{Raw, config, filter, record};
use crate::envoy::hooks::Bytes;

macro_rules! metrics {
    ($($name:ident, $word:literal, $kind:literal;)*) => {
        $(#[unsafe(no_mangle)]
        unsafe extern "C" fn $name(raw: Raw, id: usize, start: *mut Bytes, count: usize, value: u64) -> u32 {
            // SAFETY: the module's for this call.
            unsafe {
                let (own, fault) = config(raw, $word);
                record(own, fault, $kind, id, (start, count), value)
            }
        })*
    };
}

metrics! {
    envoy_dynamic_module_callback_http_filter_config_increment_counter, "config_increment_counter", "counter";
    envoy_dynamic_module_callback_http_filter_config_set_gauge, "config_set_gauge", "gauge";
    envoy_dynamic_module_callback_http_filter_config_record_histogram_value, "config_record_histogram_value", "histogram";
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_set_dynamic_metadata_struct(
    raw: Raw,
    namespace: Bytes,
    serialized: Bytes,
) {
    // SAFETY: the module's for this call.
    unsafe {
        let (filter, fault) = filter(raw, "http_set_dynamic_metadata_struct");
        if fault.is_none() {
            filter.shared.written.borrow_mut().push((namespace.text(), serialized.to_vec()));
        }
    }
}

//! What becomes of a configuration that cannot be used.
//!
//! Envoy refuses what brings it, unless the environment of Envoy says that this module answers for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The environment variable that says so.
const VARIABLE: &str = "PORTCULLIS_REFUSED_CONFIGURATION";

/// Whether this module accepts it, serves by the last good one, and else refuses every request.
///
/// # Errors
/// What is wrong with the variable.
pub(crate) fn is_answered_for() -> Result<bool, String> {
    match std::env::var_os(VARIABLE) {
        None => Ok(false),
        Some(word) if word == "deny" => Ok(true),
        Some(word) if word == "reject" => Ok(false),
        Some(word) => {
            let word: String = word.to_string_lossy().chars().take(32).collect();
            Err(format!(
                "{VARIABLE}: is {word:?} in the environment of Envoy; write \"deny\" (accept a configuration that cannot be used, keep the last good one, else answer 503) or \"reject\" (let Envoy refuse it), or leave it out"
            ))
        }
    }
}

static GOOD: Mutex<Option<HashMap<String, Arc<[u8]>>>> = Mutex::new(None);

/// Keeps a configuration that serves, for the filters of this name.
pub(crate) fn keep(name: &str, text: &[u8]) {
    let mut good = GOOD.lock().unwrap_or_else(PoisonError::into_inner);
    good.get_or_insert_default().insert(name.to_owned(), Arc::from(text));
}

/// The last good configuration of the filters of this name.
pub(crate) fn last_good(name: &str) -> Option<Arc<[u8]>> {
    GOOD.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.get(name).cloned()
}

//! What all threads of the process share: keys, lists, and what was used up.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use portcullis::{CasVersion, Conflict, Store};

type Values = HashMap<String, (Vec<u8>, CasVersion)>;

static VALUES: Mutex<Option<Values>> = Mutex::new(None);

/// The store of this process.
pub(crate) struct ProcessStore;

fn with_values<R>(act: impl FnOnce(&mut Values) -> R) -> R {
    // Each change of it is one call: a panic elsewhere leaves nothing half done.
    act(VALUES.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

fn put(values: &mut Values, key: &str, value: &[u8]) {
    let next = values.get(key).map_or(1, |(_, stamp)| stamp.0.wrapping_add(1));
    values.insert(key.to_owned(), (value.to_vec(), CasVersion(next)));
}

impl Store for ProcessStore {
    fn get(&self, key: &str) -> Option<(Vec<u8>, CasVersion)> {
        with_values(|values| values.get(key).cloned())
    }

    fn replace(&self, key: &str, value: &[u8], stamp: Option<CasVersion>) -> Result<(), Conflict> {
        with_values(|values| {
            let present = values.get(key).map(|(_, stamp)| *stamp);
            if present != stamp {
                return Err(Conflict);
            }
            put(values, key, value);
            Ok(())
        })
    }

    fn put(&self, key: &str, value: &[u8]) -> Result<(), Conflict> {
        with_values(|values| put(values, key, value));
        Ok(())
    }
}

//! What all threads of the process share: keys, lists, and what was used up.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use portcullis::{CasVersion, Conflict, Parsed, ParsedStore, Store};

type Values = HashMap<String, (Vec<u8>, CasVersion)>;
type ParsedValues = HashMap<String, Parsed>;

static VALUES: Mutex<Option<Values>> = Mutex::new(None);
/// What was read of them, once for all workers.
static PARSED: Mutex<Option<ParsedValues>> = Mutex::new(None);

/// The store of this process.
pub(crate) struct ProcessStore;

fn with<T: Default, R>(all: &Mutex<Option<T>>, act: impl FnOnce(&mut T) -> R) -> R {
    // Each change of it is one call: a panic elsewhere leaves nothing half done.
    act(all.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

fn with_values<R>(act: impl FnOnce(&mut Values) -> R) -> R {
    with(&VALUES, act)
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

    fn parsed(&self) -> Option<&dyn ParsedStore> {
        Some(self)
    }
}

impl ParsedStore for ProcessStore {
    fn get(&self, key: &str) -> Option<Parsed> {
        with(&PARSED, |parsed| parsed.get(key).cloned())
    }

    fn put(&self, key: &str, value: Parsed) {
        // What was there before may be large: it goes when the lock is free.
        let before = with(&PARSED, |parsed| parsed.insert(key.to_owned(), value));
        drop(before);
    }

    fn release(&self, key: &str) {
        let before = with(&PARSED, |parsed| parsed.remove(key));
        drop(before);
    }
}

//! The host's shared data as the store of a proxy's instances.

use std::rc::Rc;

use super::hostcalls;
use super::status::Status;
use crate::fetch::{CasVersion, Conflict, InMemoryStore, Store};

/// The store of this host; one of this instance alone where the host shares nothing.
pub(super) fn store() -> Rc<dyn Store> {
    match hostcalls::shared_data("portcullis.probe") {
        Ok(_) | Err(Status::NOT_FOUND) => Rc::new(HostSharedData),
        Err(_) => {
            log::info!("the host shares no data: each worker fetches keys for itself");
            Rc::new(InMemoryStore::default())
        }
    }
}

struct HostSharedData;

/// No value has this number as long as fewer than four thousand million values were set. Setting with
/// it succeeds only where the key was never set: the host has no other way to create one atomically.
const NEVER: u32 = u32::MAX;

impl Store for HostSharedData {
    fn get(&self, key: &str) -> Option<(Vec<u8>, CasVersion)> {
        let (value, cas) = hostcalls::shared_data(key).ok()?;
        Some((value, CasVersion(cas)))
    }

    fn replace(&self, key: &str, value: &[u8], stamp: Option<CasVersion>) -> Result<(), Conflict> {
        let cas = stamp.map_or(NEVER, |stamp| stamp.0);
        hostcalls::set_shared_data(key, value, cas).map_err(|_| Conflict)
    }

    fn put(&self, key: &str, value: &[u8]) -> Result<(), Conflict> {
        hostcalls::set_shared_data(key, value, 0).map_err(|_| Conflict)
    }
}

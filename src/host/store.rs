//! The host's shared data as the store of a proxy's instances.

use std::rc::Rc;

use super::capabilities::{Missing, SHARED_DATA, TIMER};
use super::hostcalls;
use crate::fetch::{CasVersion, Conflict, InMemoryStore, Store};

/// The store of this host; one of this instance alone where the host shares nothing. So it is too where there is no
/// timer by which an instance would notice what another one fetched.
pub(super) fn store(missing: Missing) -> Rc<dyn Store> {
    match missing.has(&SHARED_DATA) || missing.has(&TIMER) {
        true => Rc::new(Unshared::default()),
        false => Rc::new(HostSharedData),
    }
}

/// The store of one instance among others that it knows nothing of.
#[derive(Default)]
struct Unshared(InMemoryStore);

impl Store for Unshared {
    fn get(&self, key: &str) -> Option<(Vec<u8>, CasVersion)> {
        self.0.get(key)
    }

    fn replace(&self, key: &str, value: &[u8], stamp: Option<CasVersion>) -> Result<(), Conflict> {
        self.0.replace(key, value, stamp)
    }

    fn put(&self, key: &str, value: &[u8]) -> Result<(), Conflict> {
        self.0.put(key, value)
    }

    fn is_shared(&self) -> bool {
        false
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

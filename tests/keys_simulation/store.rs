//! The data that the instances share, with what Envoy's has and lacks.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use portcullis::{CasVersion, Conflict, Store};

use crate::world::World;

/// A value and the number of its last change.
type Value = (Vec<u8>, u32);

/// The values of a proxy.
#[derive(Default)]
pub(crate) struct Shared {
    values: RefCell<HashMap<String, Value>>,
}

impl Shared {
    fn set(&self, key: &str, value: &[u8]) {
        let mut values = self.values.borrow_mut();
        let number = values.get(key).map_or(1, |(_, number)| number.wrapping_add(1));
        values.insert(key.to_owned(), (value.to_vec(), number));
    }

    /// Somebody else spoils a value: one that is chosen by `number`, in a way that is too.
    pub(crate) fn spoil(&self, number: u64) {
        let mut keys: Vec<String> = self.values.borrow().keys().cloned().collect();
        keys.sort_unstable();
        let Some(key) = keys.get(number as usize % keys.len().max(1)) else { return };
        let mut value = self.values.borrow().get(key).map(|(value, _)| value.clone()).unwrap_or_default();
        match (number >> 8) % 3 {
            0 => value.clear(),
            1 => value.truncate(value.len() / 2),
            _ => {
                let at = (number >> 16) as usize % value.len().max(1);
                if let Some(byte) = value.get_mut(at) {
                    *byte ^= 0x20;
                }
            }
        }
        self.set(key, &value);
    }
}

/// The store as one instance sees it. Before each call another instance may have its turn, as other threads do.
pub(crate) struct View {
    pub(crate) shared: Rc<Shared>,
    pub(crate) world: Weak<World>,
    pub(crate) instance: usize,
    /// What this instance sees for ever, if it looks away.
    pub(crate) frozen: Option<RefCell<HashMap<String, Value>>>,
}

impl View {
    fn others_may_act(&self) {
        if let Some(world) = self.world.upgrade() {
            world.interlude(self.instance);
        }
    }
}

impl Store for View {
    fn get(&self, key: &str) -> Option<(Vec<u8>, CasVersion)> {
        self.others_may_act();
        let current = self.shared.values.borrow().get(key).cloned();
        let seen = match &self.frozen {
            None => current,
            Some(frozen) => {
                let mut frozen = frozen.borrow_mut();
                if let (None, Some(value)) = (frozen.get(key), &current)
                    && self.shared.values.borrow().keys().any(|key| key.ends_with(".keys"))
                {
                    frozen.insert(key.to_owned(), value.clone());
                }
                frozen.get(key).cloned().or(current)
            }
        };
        seen.map(|(value, number)| (value, CasVersion(number)))
    }

    fn replace(&self, key: &str, value: &[u8], stamp: Option<CasVersion>) -> Result<(), Conflict> {
        self.others_may_act();
        let held = self.shared.values.borrow().get(key).map(|(_, number)| CasVersion(*number));
        // A key that was never set takes every stamp: there is no way to create one atomically.
        if held.is_some() && held != stamp {
            return Err(Conflict);
        }
        self.shared.set(key, value);
        Ok(())
    }

    fn put(&self, key: &str, value: &[u8]) -> Result<(), Conflict> {
        self.others_may_act();
        self.shared.set(key, value);
        Ok(())
    }
}

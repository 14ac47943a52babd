//! Where the instances of one proxy keep what they share.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Values that every worker and the main thread of a proxy see, each with a stamp that changes
/// whenever the value does. Others may write there too: nothing in it is to be believed unchecked.
pub trait Store {
    /// The value of a key and its stamp.
    fn get(&self, key: &str) -> Option<(Vec<u8>, CasVersion)>;

    /// Sets a key if it still has this stamp, or, with no stamp, if it was never set.
    ///
    /// # Errors
    /// Another instance was faster, or the store cannot be written.
    fn replace(&self, key: &str, value: &[u8], stamp: Option<CasVersion>) -> Result<(), Conflict>;

    /// Whether every instance of the proxy sees it. What may come once comes in vain where none sees what came to another.
    fn is_shared(&self) -> bool {
        true
    }

    /// Sets a key, whatever its value is.
    ///
    /// # Errors
    /// The store cannot be written.
    fn put(&self, key: &str, value: &[u8]) -> Result<(), Conflict>;

    /// What instances keep for each other in the memory that they have in common; none where each has its own.
    fn parsed(&self) -> Option<&dyn ParsedStore> {
        None
    }
}

/// Something that was read once and never changes, for all instances of a process.
pub type Parsed = Arc<dyn Any + Send + Sync>;

/// What was read once for all instances of a process. Whoever takes something compares it with what it needs.
pub trait ParsedStore {
    /// What was kept last under a key.
    fn get(&self, key: &str) -> Option<Parsed>;

    /// Keeps something under a key, in the place of what was there.
    fn put(&self, key: &str, parsed: Parsed);

    /// Keeps nothing under a key any more.
    fn release(&self, key: &str);
}

/// Tells one value of a key from the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CasVersion(pub u32);

/// A value could not be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conflict;

/// A store of one instance alone, for hosts that share nothing.
#[derive(Debug, Default)]
pub struct InMemoryStore {
    values: RefCell<HashMap<String, (Vec<u8>, CasVersion)>>,
}

impl InMemoryStore {
    /// The keys that were ever set, for tests and tools.
    pub fn names(&self) -> Vec<String> {
        self.values.borrow().keys().cloned().collect()
    }
}

impl Store for InMemoryStore {
    fn get(&self, key: &str) -> Option<(Vec<u8>, CasVersion)> {
        self.values.borrow().get(key).cloned()
    }

    fn replace(&self, key: &str, value: &[u8], stamp: Option<CasVersion>) -> Result<(), Conflict> {
        let present = self.values.borrow().get(key).map(|(_, stamp)| *stamp);
        if present == stamp { self.put(key, value) } else { Err(Conflict) }
    }

    fn put(&self, key: &str, value: &[u8]) -> Result<(), Conflict> {
        let mut values = self.values.borrow_mut();
        let next = values.get(key).map_or(1, |(_, stamp)| stamp.0.wrapping_add(1));
        values.insert(key.to_owned(), (value.to_vec(), CasVersion(next)));
        Ok(())
    }
}

//! What may come once: proofs, and tokens of rules that take each token one time.
//!
//! The instances of a proxy share one table of what came, of a fixed number of values: each is changed by
//! compare-and-swap, so that of several copies of a proof on several workers one is the first. An entry ends when what it
//! is of is not accepted any more in any case. Nothing is forgotten before: where there is no room, nothing is accepted.

use std::time::Duration;

use ::hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::fetch::Store;
use crate::time::Timestamp;

/// Something that is accepted once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SingleUse {
    id: [u8; 32],
    /// From when on it is not accepted in any case.
    until: Timestamp,
}

impl SingleUse {
    /// What has this name, among things of one kind; nothing that ends later than `until` may have it.
    pub fn new(kind: &str, name: &[&str], until: Timestamp) -> Self {
        let mut hash = Sha256::new();
        // Lengths first, so that no two names give one text.
        for part in [kind].iter().chain(name) {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(part);
        }
        Self { id: hash.finalize().into(), until }
    }

    /// Whether it is the same thing, whenever it ends.
    pub fn is(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// The same, where it may be accepted until then.
    #[must_use]
    pub fn until_at_least(self, until: Timestamp) -> Self {
        Self { until: self.until.max(until), ..self }
    }
}

/// What the table says of something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Used {
    /// It did not come before.
    First,
    /// It came before.
    Again,
    /// There is no room, or the table cannot be read or written: it must not be accepted.
    Full,
}

/// The table of one kind of thing.
#[derive(Debug)]
pub struct ReplayStore {
    label: String,
    buckets: usize,
    /// How many entries each bucket holds at most.
    capacity: usize,
    /// The longest time that an entry is kept for.
    window: Duration,
    secret: Vec<u8>,
}

/// An entry: the beginning of the name's hash, and the second in which it ends.
type Entry = ([u8; ID_SIZE], u64);

const ID_SIZE: usize = 16;
const ENTRY_SIZE: usize = 24;
const MAC_SIZE: usize = 32;
/// Bumped whenever the layout or meaning of a bucket changes.
const SCHEMA: u8 = 1;
/// How many entries a bucket has when the table holds what it was made for.
const MEAN: usize = 64;
/// How often another instance may be faster before it counts as no room.
const MAX_TRIES: usize = 256;
/// How much longer an entry is kept, should the clock be set back.
const GRACE: Duration = Duration::from_secs(5);

impl ReplayStore {
    /// A table for this many entries at least. `identity` tells it from the tables of others that share the store;
    /// `window` is the longest time that an entry lasts; `secret` seals what is shared.
    pub fn new(identity: &[&str], entries: usize, window: Duration, secret: Option<&str>) -> Self {
        let SingleUse { id, .. } = SingleUse::new("table", identity, Timestamp::default());
        let buckets = entries.div_ceil(MEAN).max(1);
        let mean = entries.div_ceil(buckets);
        // Names fall into buckets by chance: eight standard deviations more than the mean is as good as never.
        let spread = mean.isqrt().saturating_add(1).saturating_mul(8);
        Self {
            label: format!("portcullis.once.{SCHEMA}.{}.{entries}", base16ct::lower::encode_string(&id)),
            buckets,
            capacity: if buckets == 1 { entries.max(1) } else { mean.saturating_add(spread) },
            window: window.saturating_add(GRACE),
            secret: secret.unwrap_or("portcullis").as_bytes().to_vec(),
        }
    }

    /// Whether it came before, without a note that it comes now.
    pub fn look(&self, store: &dyn Store, what: &SingleUse, now: Timestamp) -> Used {
        let key = self.key(what);
        match store.get(&key).map(|(bytes, _)| self.open(&key, &bytes, now)) {
            None => Used::First,
            Some(None) => Used::Full,
            Some(Some(entries)) => self.find(&entries, what),
        }
    }

    /// Notes that it comes now, unless it came before or there is no room.
    pub fn burn(&self, store: &dyn Store, what: &SingleUse, now: Timestamp) -> Used {
        if !store.is_shared() {
            return Used::Full;
        }
        let key = self.key(what);
        for _ in 0..MAX_TRIES {
            let (entries, stamp) = match store.get(&key) {
                None => (Some(Vec::new()), None),
                Some((bytes, stamp)) => (self.open(&key, &bytes, now), Some(stamp)),
            };
            let Some(mut entries) = entries else {
                // Whatever was in it is lost. Nothing of this bucket is accepted until all of it had ended.
                let blocked = vec![([0; ID_SIZE], now.plus(self.window).as_secs()); self.capacity];
                let _ = store.replace(&key, &self.seal(&key, &blocked), stamp);
                return Used::Full;
            };
            match self.find(&entries, what) {
                Used::First => {}
                other => return other,
            }
            entries.push((id_of(what), what.until.plus(GRACE).as_secs().saturating_add(1)));
            if store.replace(&key, &self.seal(&key, &entries), stamp).is_ok() {
                return Used::First;
            }
        }
        Used::Full
    }

    fn find(&self, entries: &[Entry], what: &SingleUse) -> Used {
        let own = id_of(what);
        match entries.iter().any(|(id, _)| *id == own) {
            true => Used::Again,
            false if entries.len() >= self.capacity => Used::Full,
            false => Used::First,
        }
    }

    fn key(&self, what: &SingleUse) -> String {
        let [.., a, b, c, d] = what.id;
        let number = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or_default();
        format!("{}.{}", self.label, number.checked_rem(self.buckets).unwrap_or_default())
    }

    /// The entries of a bucket that have not ended; none where it is not as an instance wrote it.
    fn open(&self, key: &str, bytes: &[u8], now: Timestamp) -> Option<Vec<Entry>> {
        let (content, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC_SIZE)?)?;
        self.mac(key, content)?.verify_slice(mac).ok()?;
        let (entries, []) = content.strip_prefix(&[SCHEMA])?.as_chunks::<ENTRY_SIZE>() else { return None };
        let read = |entry: &[u8; ENTRY_SIZE]| {
            let (id, until) = entry.split_first_chunk::<ID_SIZE>()?;
            Some((*id, u64::from_le_bytes(until.try_into().ok()?)))
        };
        let mut entries = entries.iter().map(read).collect::<Option<Vec<Entry>>>()?;
        entries.retain(|(_, until)| *until >= now.as_secs());
        Some(entries)
    }

    fn seal(&self, key: &str, entries: &[Entry]) -> Vec<u8> {
        let mut bytes = vec![SCHEMA];
        for (id, until) in entries {
            bytes.extend(id);
            bytes.extend(until.to_le_bytes());
        }
        let mac = self.mac(key, &bytes).map(|mac| mac.finalize().into_bytes()).unwrap_or_default();
        bytes.extend(mac);
        bytes
    }

    fn mac(&self, key: &str, content: &[u8]) -> Option<Hmac<Sha256>> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.secret).ok()?;
        Some(mac.chain_update(key).chain_update([0]).chain_update(content))
    }
}

fn id_of(what: &SingleUse) -> [u8; ID_SIZE] {
    what.id.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::{CasVersion, Conflict, InMemoryStore};

    const NOW: u64 = 1_800_000_000;
    const WINDOW: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(NOW + seconds)
    }

    fn proof(number: usize, until: u64) -> SingleUse {
        SingleUse::new("proof", &["key", &number.to_string()], at(until))
    }

    fn table(entries: usize) -> ReplayStore {
        ReplayStore::new(&["p"], entries, WINDOW, None)
    }

    #[test]
    fn each_thing_is_the_first_once_and_until_it_ends() {
        let (store, table) = (InMemoryStore::default(), table(1000));
        for number in 0..1000 {
            let proof = proof(number, 60);
            assert_eq!(table.look(&store, &proof, at(0)), Used::First, "{number}");
            assert_eq!(table.burn(&store, &proof, at(0)), Used::First, "{number}");
            assert_eq!(table.look(&store, &proof, at(60)), Used::Again, "{number}");
            assert_eq!(table.burn(&store, &proof, at(60)), Used::Again, "{number}");
        }
        // Another instance with the same store.
        assert_eq!(
            ReplayStore::new(&["p"], 1000, WINDOW, None).burn(&store, &proof(7, 60), at(1)),
            Used::Again
        );
        // Another table, and another kind.
        assert_eq!(
            ReplayStore::new(&["q"], 1000, WINDOW, None).burn(&store, &proof(7, 60), at(1)),
            Used::First
        );
        assert_eq!(table.look(&store, &SingleUse::new("token", &["key", "7"], at(60)), at(1)), Used::First);
        assert_eq!(table.look(&store, &SingleUse::new("proof", &["key7", ""], at(60)), at(1)), Used::First);
        assert_eq!(table.look(&store, &proof(7, 60), at(66)), Used::Again);
        assert_eq!(table.look(&store, &proof(7, 60), at(67)), Used::First);
    }

    #[test]
    fn a_table_holds_what_it_was_made_for_and_a_full_one_accepts_nothing() {
        for entries in [1, 2, 63, 64, 65, 1000, 20_000] {
            let (store, table) = (InMemoryStore::default(), table(entries));
            let mut accepted = 0;
            for number in 0..entries * 4 {
                match table.burn(&store, &proof(number, 60), at(0)) {
                    Used::First => accepted += 1,
                    Used::Full => assert!(number >= entries, "{entries}: full at {number}"),
                    Used::Again => panic!("{entries}: {number} did not come before"),
                }
            }
            assert!(accepted < entries * 3, "{entries}: {accepted}");
            assert!(accepted > entries || entries <= MEAN, "{entries}: {accepted}");
            let keys = store.names();
            assert_eq!(keys.len(), entries.div_ceil(MEAN), "{entries}");
            let bytes: usize = keys.iter().map(|key| store.get(key).unwrap().0.len()).sum();
            assert!(bytes <= entries * 3 * ENTRY_SIZE + keys.len() * 64, "{entries}: {bytes} bytes");
            // All of them end, and the room is used again.
            assert_eq!(table.burn(&store, &proof(0, 130), at(70)), Used::First, "{entries}");
        }
    }

    #[test]
    fn memory_is_flat_over_many_times_its_entries() {
        let (store, table) = (InMemoryStore::default(), table(1000));
        let size = || store.names().iter().map(|key| store.get(key).unwrap().0.len()).sum::<usize>();
        let mut max = 0;
        for number in 0..1_000_000usize {
            let second = u64::try_from(number / 10).unwrap();
            let used = table.burn(&store, &proof(number, second + 60), at(second));
            assert_eq!(used, Used::First, "{number}");
            if number % 1000 == 0 {
                max = max.max(size());
            }
        }
        assert!(max <= 1000 * 2 * ENTRY_SIZE, "{max} bytes");
        assert_eq!(store.names().len(), 16);
    }

    #[test]
    fn a_bucket_that_somebody_else_wrote_accepts_nothing_for_a_while() {
        let written = |store: &InMemoryStore| store.names().first().cloned().unwrap();
        for spoil in [
            |_: Vec<u8>| Vec::new(),
            |bytes: Vec<u8>| bytes[1..].to_vec(),
            |mut bytes: Vec<u8>| {
                bytes[3] ^= 1;
                bytes
            },
            |_: Vec<u8>| b"something else, long enough to have a code at its end".to_vec(),
        ] {
            let (store, table) = (InMemoryStore::default(), table(10));
            assert_eq!(table.burn(&store, &proof(1, 60), at(0)), Used::First);
            let key = written(&store);
            let spoilt = spoil(store.get(&key).unwrap().0);
            store.put(&key, &spoilt).unwrap();
            assert_eq!(table.look(&store, &proof(1, 60), at(1)), Used::Full);
            assert_eq!(table.burn(&store, &proof(1, 60), at(1)), Used::Full);
            assert_eq!(table.burn(&store, &proof(2, 120), at(60)), Used::Full);
            assert_eq!(table.burn(&store, &proof(2, 180), at(70)), Used::First);
        }
        // What another secret sealed is not ours.
        let store = InMemoryStore::default();
        assert_eq!(table(10).burn(&store, &proof(1, 60), at(0)), Used::First);
        let secret = ReplayStore::new(&["p"], 10, WINDOW, Some("another"));
        assert_eq!(secret.burn(&store, &proof(1, 60), at(0)), Used::Full);
    }

    /// A store in which another instance is faster so many times.
    struct Contested(InMemoryStore, std::cell::Cell<usize>);

    impl Store for Contested {
        fn get(&self, key: &str) -> Option<(Vec<u8>, CasVersion)> {
            self.0.get(key)
        }

        fn replace(&self, key: &str, value: &[u8], stamp: Option<CasVersion>) -> Result<(), Conflict> {
            if self.1.get() == 0 {
                return self.0.replace(key, value, stamp);
            }
            self.1.set(self.1.get() - 1);
            let table = table(10);
            table.burn(&self.0, &proof(1, 60), at(0));
            self.0.replace(key, value, stamp)
        }

        fn put(&self, key: &str, value: &[u8]) -> Result<(), Conflict> {
            self.0.put(key, value)
        }

        fn is_shared(&self) -> bool {
            self.1.get() < 100
        }
    }

    #[test]
    fn where_instances_share_nothing_nothing_is_accepted() {
        let alone = Contested(InMemoryStore::default(), 100.into());
        assert_eq!(table(10).burn(&alone, &proof(1, 60), at(0)), Used::Full);
    }

    #[test]
    fn of_two_instances_one_is_the_first() {
        let contested = Contested(InMemoryStore::default(), 1.into());
        assert_eq!(table(10).burn(&contested, &proof(1, 60), at(0)), Used::Again);
        let contested = Contested(InMemoryStore::default(), 1.into());
        assert_eq!(table(10).burn(&contested, &proof(2, 60), at(0)), Used::First);
        assert_eq!(table(10).look(&contested, &proof(1, 60), at(0)), Used::Again);
    }
}

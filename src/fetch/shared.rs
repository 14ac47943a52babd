//! What the instances of one proxy share about a source: which of them fetches, what was fetched, and when the next try
//! may be.
//!
//! Three values a source. The small one, [`State`], is changed by compare-and-swap and read on every tick; the large
//! one, [`Copy`], has the answer itself; the third says what else the instances note: which key ids were looked for.
//! All are sealed: with a secret where the operator gave one, since every plugin of the proxy can write there; else
//! with a constant, which only finds damage. The seal covers the source, the kind of value, the schema version and the
//! generation. It does not keep a plugin from putting an earlier value there again: a reader takes only what is newer
//! than what it had.

use ::hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::store::{CasVersion, Conflict, Store};
use crate::time::Timestamp;

/// Bumped whenever the layout or meaning of a shared value changes.
const SCHEMA: u8 = 3;
/// The first byte of notes.
pub(crate) const NOTES_SCHEMA: u8 = SCHEMA;
const MAC_SIZE: usize = 32;

/// Who fetches and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct State {
    /// Counts the answers that were good; the number of the [`Copy`] that goes with this state.
    pub(crate) generation: u64,
    /// Counts the fetches that ended, well or not.
    pub(crate) attempts: u64,
    /// Which instance fetches; 0: none.
    pub(crate) owner: u64,
    /// Until when it alone may.
    pub(crate) lease_until: Timestamp,
    /// When it began.
    pub(crate) started: Timestamp,
    /// When the last fetch that was good began.
    pub(crate) looked: Timestamp,
    /// No instance starts a fetch before this: the last one failed.
    pub(crate) not_before: Timestamp,
    /// How many fetches failed in a row.
    pub(crate) failures: u64,
    /// No instance starts a fetch before this: the source asked for it.
    pub(crate) hold_until: Timestamp,
    /// When the bucket of fetches for unknown kids is full again.
    pub(crate) kids_full_at: Timestamp,
    /// When the reserve of fetches for unknown kids that come again is.
    pub(crate) reserve_full_at: Timestamp,
}

/// An answer that was good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Copy {
    /// Counts the good answers.
    pub(crate) generation: u64,
    /// When it came.
    pub(crate) fetched_at: Timestamp,
    /// `max-age` in seconds.
    pub(crate) max_age: Option<u64>,
    /// `ETag`
    pub(crate) etag: Option<String>,
    /// `Last-Modified`
    pub(crate) last_modified: Option<String>,
    /// The answer, or what was made of it.
    pub(crate) body: Vec<u8>,
}

/// The names of a source's values, and the seal on them.
#[derive(Clone, Debug)]
pub(crate) struct SharedSlot {
    /// The name of the source, which every seal covers.
    label: String,
    state: String,
    copy: String,
    notes: String,
    secret: Vec<u8>,
}

/// What a value is: the seal covers this, so that one cannot be put in another's place.
const STATE: &str = ".state";
const COPY: &str = ".keys";
const NOTES: &str = ".notes";

impl SharedSlot {
    /// The slot of a source: `identity` is everything that makes its answers what they are, so that
    /// a new configuration finds the keys of an old one and no other source's.
    pub(crate) fn new(identity: &[u8], secret: Option<&str>) -> Self {
        let label = Self::label(identity);
        Self::at(&label.clone(), label, secret)
    }

    /// The same in a place that several sources use in turn: a value of another one is none of this.
    pub(crate) fn in_slot(slot: &str, identity: &[u8], secret: Option<&str>) -> Self {
        Self::at(slot, Self::label(identity), secret)
    }

    /// The name of a source.
    pub(crate) fn label(identity: &[u8]) -> String {
        let digest = Sha256::digest(identity);
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("portcullis.{SCHEMA}.{name}")
    }

    fn at(place: &str, label: String, secret: Option<&str>) -> Self {
        Self {
            label,
            state: format!("{place}{STATE}"),
            copy: format!("{place}{COPY}"),
            notes: format!("{place}{NOTES}"),
            secret: secret.unwrap_or("portcullis").as_bytes().to_vec(),
        }
    }

    /// The state, and the stamp by which to replace it. What is missing or not ours is a state in
    /// which nothing has happened yet.
    pub(crate) fn state(&self, store: &dyn Store) -> (State, Option<CasVersion>) {
        match store.get(&self.state) {
            None => (State::default(), None),
            Some((bytes, stamp)) => {
                let state = self.open(STATE, &bytes).and_then(State::decode);
                (state.unwrap_or_default(), Some(stamp))
            }
        }
    }

    pub(crate) fn replace_state(
        &self,
        store: &dyn Store,
        state: &State,
        stamp: Option<CasVersion>,
    ) -> Result<(), Conflict> {
        store.replace(&self.state, &self.seal(STATE, state.encode()), stamp)
    }

    /// The copy of this generation, if it is there and whole.
    pub(crate) fn copy(&self, store: &dyn Store, generation: u64) -> Option<Copy> {
        let (bytes, _) = store.get(&self.copy)?;
        let copy = Copy::decode(self.open(COPY, &bytes)?)?;
        (copy.generation == generation).then_some(copy)
    }

    pub(crate) fn put_copy(&self, store: &dyn Store, copy: &Copy) -> Result<(), Conflict> {
        store.put(&self.copy, &self.seal(COPY, copy.encode()))
    }

    /// What is noted beside, where it is whole, and the stamp by which to replace it.
    pub(crate) fn notes(&self, store: &dyn Store) -> Option<(Option<Vec<u8>>, CasVersion)> {
        let (bytes, stamp) = store.get(&self.notes)?;
        Some((self.open(NOTES, &bytes).map(<[u8]>::to_vec), stamp))
    }

    pub(crate) fn replace_notes(
        &self,
        store: &dyn Store,
        bytes: Vec<u8>,
        stamp: Option<CasVersion>,
    ) -> Result<(), Conflict> {
        store.replace(&self.notes, &self.seal(NOTES, bytes), stamp)
    }

    /// Empties what there is: a name cannot be taken back.
    pub(crate) fn clear(&self, store: &dyn Store) {
        for name in [&self.state, &self.copy] {
            if store.get(name).is_some_and(|(bytes, _)| !bytes.is_empty()) {
                let _ = store.put(name, b"");
            }
        }
        if let Some(parsed) = store.parsed() {
            parsed.release(&self.parsed_key());
        }
    }

    /// The name of the state, for tests that spoil it.
    #[cfg(test)]
    pub(crate) fn state_name(&self) -> String {
        self.state.clone()
    }

    /// The key of one more value, which the copy must vouch for: it has no seal of its own.
    pub(crate) fn part_key(&self, at: usize) -> String {
        format!("{}.{at}", self.copy)
    }

    /// The key of what was read from the copy.
    pub(crate) fn parsed_key(&self) -> String {
        format!("{}.parsed", self.copy)
    }

    fn seal(&self, what: &str, mut bytes: Vec<u8>) -> Vec<u8> {
        let mac = self.mac(what, &bytes).map(|mac| mac.finalize().into_bytes()).unwrap_or_default();
        bytes.extend(mac);
        bytes
    }

    fn open<'b>(&self, what: &str, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let (content, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC_SIZE)?)?;
        self.mac(what, content)?.verify_slice(mac).ok()?;
        Some(content)
    }

    /// Source and kind go in, so that one value cannot be put in another's place.
    fn mac(&self, what: &str, content: &[u8]) -> Option<Hmac<Sha256>> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.secret).ok()?;
        Some(mac.chain_update(&self.label).chain_update(what).chain_update([0]).chain_update(content))
    }
}

impl State {
    fn encode(&self) -> Vec<u8> {
        let words = [
            self.generation,
            self.attempts,
            self.owner,
            self.lease_until.as_nanos(),
            self.started.as_nanos(),
            self.looked.as_nanos(),
            self.not_before.as_nanos(),
            self.failures,
            self.hold_until.as_nanos(),
            self.kids_full_at.as_nanos(),
            self.reserve_full_at.as_nanos(),
        ];
        let mut bytes = vec![SCHEMA];
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes)?;
        let state = Self {
            generation: reader.word()?,
            attempts: reader.word()?,
            owner: reader.word()?,
            lease_until: Timestamp::from_nanos(reader.word()?),
            started: Timestamp::from_nanos(reader.word()?),
            looked: Timestamp::from_nanos(reader.word()?),
            not_before: Timestamp::from_nanos(reader.word()?),
            failures: reader.word()?,
            hold_until: Timestamp::from_nanos(reader.word()?),
            kids_full_at: Timestamp::from_nanos(reader.word()?),
            reserve_full_at: Timestamp::from_nanos(reader.word()?),
        };
        reader.0.is_empty().then_some(state)
    }
}

impl Copy {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![SCHEMA];
        bytes.extend(self.generation.to_le_bytes());
        bytes.extend(self.fetched_at.as_nanos().to_le_bytes());
        bytes.extend(self.max_age.map_or(u64::MAX, |age| age.min(u64::MAX >> 1)).to_le_bytes());
        for text in [&self.etag, &self.last_modified] {
            let text = text.as_deref().unwrap_or_default();
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes.extend(&self.body);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes)?;
        let generation = reader.word()?;
        let fetched_at = Timestamp::from_nanos(reader.word()?);
        let max_age = Some(reader.word()?).filter(|age| *age != u64::MAX);
        let (etag, last_modified) = (reader.text()?, reader.text()?);
        Some(Self { generation, fetched_at, max_age, etag, last_modified, body: reader.0.to_vec() })
    }
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn new(bytes: &'b [u8]) -> Option<Self> {
        bytes.strip_prefix(&[SCHEMA]).map(Self)
    }

    fn word(&mut self) -> Option<u64> {
        let (word, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*word))
    }

    /// A text; none where it is empty.
    fn text(&mut self) -> Option<Option<String>> {
        let size = usize::try_from(self.word()?).ok()?;
        let (text, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        let text = std::str::from_utf8(text).ok()?.to_owned();
        Some((!text.is_empty()).then_some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::super::store::InMemoryStore;
    use super::*;

    fn copy() -> Copy {
        Copy {
            generation: 7,
            fetched_at: Timestamp::from_secs(5),
            max_age: Some(300),
            etag: Some("\"e\"".to_owned()),
            last_modified: None,
            body: b"{}".to_vec(),
        }
    }

    #[test]
    fn what_is_put_there_is_found_again() {
        let store = InMemoryStore::default();
        let slot = SharedSlot::new(b"source", None);
        assert_eq!(slot.state(&store), (State::default(), None));
        let state =
            State { generation: 7, owner: 9, lease_until: Timestamp::from_secs(3), ..State::default() };
        slot.replace_state(&store, &state, None).unwrap();
        slot.put_copy(&store, &copy()).unwrap();
        let (found, stamp) = slot.state(&store);
        assert_eq!(found, state);
        assert_eq!(slot.copy(&store, 7), Some(copy()));
        assert_eq!(slot.copy(&store, 8), None);
        slot.replace_state(&store, &State::default(), stamp).unwrap();
        assert_eq!(slot.replace_state(&store, &state, stamp), Err(Conflict));
        assert_eq!(slot.replace_state(&store, &state, None), Err(Conflict));
    }

    #[test]
    fn another_source_another_secret_and_damage_are_seen() {
        let store = InMemoryStore::default();
        let ours = SharedSlot::new(b"source", Some("secret"));
        ours.put_copy(&store, &copy()).unwrap();
        ours.replace_state(&store, &State { generation: 7, ..State::default() }, None).unwrap();
        assert!(SharedSlot::new(b"other", Some("secret")).copy(&store, 7).is_none());
        let forger = SharedSlot::new(b"source", None);
        assert!(forger.copy(&store, 7).is_none());
        assert_eq!(forger.state(&store).0, State::default());
        let (bytes, _) = store.get(&ours.copy).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            store.put(&ours.copy, &damaged).unwrap();
            assert!(ours.copy(&store, 7).is_none(), "byte {at}");
            store.put(&ours.copy, &bytes[..at]).unwrap();
            assert!(ours.copy(&store, 7).is_none(), "cut at {at}");
        }
        // One value in the place of the other.
        let (state, _) = store.get(&ours.state).unwrap();
        store.put(&ours.copy, &state).unwrap();
        assert!(ours.copy(&store, 7).is_none());
    }
}

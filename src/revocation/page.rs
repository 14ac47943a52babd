//! A page of a list: sorted keys in the form in which they are sent, shared and searched.
//!
//! A header of 16 bytes (`PRL1`, the number of entries, the number of cut-offs, zero), then 16 bytes an
//! entry (its key, its end) and 20 bytes a cut-off (its key, its moment, its end). Numbers are 32 bits,
//! little-endian; moments are Unix seconds; the last number stands for no end.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::identity::Key;

/// The SHA-256 of a page: its name and its seal.
pub type Digest = [u8; 32];

/// The most pages that a list may have.
pub const MAX_PAGES: usize = 4096;

/// No end.
pub(super) const NEVER: u32 = u32::MAX;

const MAGIC: [u8; 4] = *b"PRL1";
const HEADER: usize = 16;
const ENTRY: usize = 16;
const CUTOFF: usize = 20;

/// A sound page.
#[derive(PartialEq, Eq)]
pub struct Page {
    bytes: Vec<u8>,
    entries: usize,
    digest: Digest,
    /// Its number, and that of all pages of the list.
    place: (usize, usize),
}

/// Why bytes are no page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageError {
    /// Not of the form, or not of the size that the header says
    Malformed,
    /// Not sorted, or a key that belongs to another page
    OutOfOrder,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({} entries, {} cut-offs)", self.entries(), self.cutoffs())
    }
}

impl Page {
    /// Reads the page with the number `at` of `count`; the keys are spread by their first bits.
    ///
    /// # Errors
    /// Anything that a search could stumble over.
    pub fn parse(bytes: Vec<u8>, at: usize, count: usize) -> Result<Self, PageError> {
        let (header, body) = bytes.split_first_chunk::<HEADER>().ok_or(PageError::Malformed)?;
        let (magic, numbers) = header.split_first_chunk::<4>().ok_or(PageError::Malformed)?;
        let [entries, cutoffs, zero] = [number(numbers, 0), number(numbers, 4), number(numbers, 8)];
        let (entries, cutoffs) = (entries as usize, cutoffs as usize);
        let size = |count: usize, each: usize| count.checked_mul(each);
        let split = size(entries, ENTRY).ok_or(PageError::Malformed)?;
        let rest = size(cutoffs, CUTOFF).ok_or(PageError::Malformed)?;
        let (first, second) = body.split_at_checked(split).ok_or(PageError::Malformed)?;
        if *magic != MAGIC || zero != 0 || second.len() != rest {
            return Err(PageError::Malformed);
        }
        let entries_sorted = sorted(first.as_chunks::<ENTRY>().0.iter().map(key), at, count);
        let cutoffs_sorted = sorted(second.as_chunks::<CUTOFF>().0.iter().map(key), at, count);
        if !entries_sorted || !cutoffs_sorted {
            return Err(PageError::OutOfOrder);
        }
        let digest = Sha256::digest(&bytes).into();
        Ok(Self { bytes, entries, digest, place: (at, count) })
    }

    /// The page with the number `at` of `count`, of these entries and cut-offs, which are sorted and belong there.
    pub(super) fn build(
        entries: &[(Key, u32)],
        cutoffs: &[(Key, u32, u32)],
        at: usize,
        count: usize,
    ) -> Self {
        let size = entries.len().saturating_mul(ENTRY).saturating_add(cutoffs.len().saturating_mul(CUTOFF));
        let mut bytes = Vec::with_capacity(size.saturating_add(HEADER));
        bytes.extend(MAGIC);
        for number in [entries.len(), cutoffs.len(), 0] {
            bytes.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
        }
        for (key, end) in entries {
            bytes.extend(key.0);
            bytes.extend(end.to_le_bytes());
        }
        for (key, before, end) in cutoffs {
            bytes.extend(key.0);
            bytes.extend(before.to_le_bytes());
            bytes.extend(end.to_le_bytes());
        }
        let digest = Sha256::digest(&bytes).into();
        Self { bytes, entries: entries.len(), digest, place: (at, count) }
    }

    /// The page as it is sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its name and its seal.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Whether it is this one: its keys belong to a page of this number among as many, and it has this digest.
    pub(super) fn is(&self, at: usize, count: usize, digest: &Digest) -> bool {
        self.place == (at, count) && self.digest == *digest
    }

    /// How many entries there are.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// How many cut-offs there are.
    pub fn cutoffs(&self) -> usize {
        self.parts().1.len()
    }

    fn parts(&self) -> (&[[u8; ENTRY]], &[[u8; CUTOFF]]) {
        let body = self.bytes.get(HEADER..).unwrap_or_default();
        let split = self.entries.saturating_mul(ENTRY);
        let (entries, cutoffs) = body.split_at_checked(split).unwrap_or_default();
        (entries.as_chunks().0, cutoffs.as_chunks().0)
    }

    /// The end of the entry with this key.
    pub(super) fn entry(&self, wanted: Key) -> Option<u32> {
        let (entries, _) = self.parts();
        let at = entries.binary_search_by(|entry| key(entry).cmp(&wanted)).ok()?;
        Some(number(entries.get(at)?, 12))
    }

    /// The moment and the end of the cut-off with this key.
    pub(super) fn cutoff(&self, wanted: Key) -> Option<(u32, u32)> {
        let (_, cutoffs) = self.parts();
        let at = cutoffs.binary_search_by(|cutoff| key(cutoff).cmp(&wanted)).ok()?;
        let cutoff = cutoffs.get(at)?;
        Some((number(cutoff, 12), number(cutoff, 16)))
    }
}

/// Which of `count` pages, a power of two, a key is on.
pub(super) fn page_of(key: Key, count: usize) -> usize {
    let [first, second, ..] = key.0;
    let prefix = usize::from(u16::from_be_bytes([first, second]));
    let shift = 16u32.saturating_sub(count.max(1).ilog2());
    prefix.checked_shr(shift).unwrap_or(0)
}

/// Whether keys are on the page where they belong, each once and in order.
fn sorted(mut keys: impl Iterator<Item = Key>, at: usize, count: usize) -> bool {
    let mut last = None;
    keys.all(|key| {
        let fits = last < Some(key) && page_of(key, count) == at;
        last = Some(key);
        fits
    })
}

fn key<const N: usize>(record: &[u8; N]) -> Key {
    Key(record.first_chunk().copied().unwrap_or_default())
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

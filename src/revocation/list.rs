//! A whole list, and what it says of a token.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::identity::{Identity, Key};
use super::index::Index;
use super::page::{MAX_PAGES, NEVER, Page, page_of};
use crate::time::Timestamp;

/// The tokens that were revoked.
#[derive(Clone, Debug, Default)]
pub struct List {
    pages: Vec<Arc<Page>>,
}

/// Whether a token is revoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RevocationStatus {
    /// It is not, as far as this source knows.
    Good,
    /// It is; the entry that says so ends then.
    Revoked {
        /// The end, if there is one
        until: Option<Timestamp>,
    },
}

impl RevocationStatus {
    /// What two sources say together: a token that one of them revoked is revoked, for as long as
    /// any of them says.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Good, other) => other,
            (revoked, Self::Good) => revoked,
            (Self::Revoked { until: a }, Self::Revoked { until: b }) => {
                Self::Revoked { until: a.zip(b).map(|(a, b)| a.max(b)) }
            }
        }
    }

    fn until(end: u32, token: &Identity, now: Timestamp) -> Self {
        if end == NEVER {
            return Self::Revoked { until: None };
        }
        let end = Timestamp::from_secs(end.into());
        // Ends are whole seconds: one that was made of a token's `exp` lasts for the rest of that second
        // too, as the token does.
        let end = token.expires.filter(|expires| expires.as_secs() == end.as_secs()).unwrap_or(end);
        if now < end { Self::Revoked { until: Some(end) } } else { Self::Good }
    }
}

impl List {
    /// A list of these pages, whose number is a power of two.
    pub fn new(pages: Vec<Arc<Page>>) -> Self {
        Self { pages }
    }

    /// Its pages.
    pub fn pages(&self) -> &[Arc<Page>] {
        &self.pages
    }

    /// What stands for the whole list.
    pub fn index(&self) -> Index {
        Index::new(self.pages.iter().map(|page| *page.digest()).collect())
    }

    /// How many entries and cut-offs there are.
    pub fn len(&self) -> usize {
        let each = |page: &Arc<Page>| page.entries().saturating_add(page.cutoffs());
        self.pages.iter().map(each).fold(0, usize::saturating_add)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it says of a token, by entries that have not ended at `now`.
    pub fn standing(&self, token: &Identity, now: Timestamp) -> RevocationStatus {
        let mut standing = RevocationStatus::Good;
        for key in &token.own {
            if let Some(end) = self.page(*key).and_then(|page| page.entry(*key)) {
                standing = standing.and(RevocationStatus::until(end, token, now));
            }
        }
        for key in token.own.iter().chain(&token.wide) {
            if let Some((before, end)) = self.page(*key).and_then(|page| page.cutoff(*key)) {
                let before = Timestamp::from_secs(before.into());
                // It is not known when a token without `iat` was issued.
                if token.issued.is_none_or(|issued| issued < before) {
                    standing = standing.and(RevocationStatus::until(end, token, now));
                }
            }
        }
        standing
    }

    fn page(&self, key: Key) -> Option<&Page> {
        self.pages.get(page_of(key, self.pages.len())).map(|page| &**page)
    }
}

/// A list in the making.
#[derive(Debug, Default)]
pub struct Draft {
    entries: BTreeMap<Key, u32>,
    cutoffs: BTreeMap<Key, (u32, u32)>,
}

impl Draft {
    /// Revokes the tokens of this name. Of two ends the later counts; none is the latest.
    pub fn entry(&mut self, key: Key, until: Option<u64>) {
        self.end(key, seconds(until));
    }

    fn end(&mut self, key: Key, end: u32) {
        self.entries.entry(key).and_modify(|own| *own = end.max(*own)).or_insert(end);
    }

    /// Revokes the tokens of this name that were issued before a moment. Of two the later counts.
    pub fn cutoff(&mut self, key: Key, before: u64, until: Option<u64>) {
        self.cut(key, seconds(Some(before)), seconds(until));
    }

    fn cut(&mut self, key: Key, before: u32, end: u32) {
        let own = self.cutoffs.entry(key).or_insert((before, end));
        *own = (own.0.max(before), own.1.max(end));
    }

    /// Takes in everything that another draft says.
    pub fn add(&mut self, other: Self) {
        for (key, end) in other.entries {
            self.end(key, end);
        }
        for (key, (before, end)) in other.cutoffs {
            self.cut(key, before, end);
        }
    }

    /// How many entries and cut-offs there are.
    pub fn len(&self) -> usize {
        self.entries.len().saturating_add(self.cutoffs.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The list, without what has ended, on as few pages as leave no more than `max` on one on
    /// average.
    pub fn finish(self, max: usize, now: Timestamp) -> List {
        let lasts = |end: u32| end == NEVER || now < Timestamp::from_secs(end.into());
        let entries = self.entries.values().filter(|end| lasts(**end)).count();
        let cutoffs = self.cutoffs.values().filter(|(_, end)| lasts(*end)).count();
        let lasting = entries.saturating_add(cutoffs);
        let count = lasting.div_ceil(max.max(1)).max(1).next_power_of_two().min(MAX_PAGES);
        let mut parts: Vec<Part> = Vec::new();
        parts.resize_with(count, Part::default);
        for (key, end) in self.entries.into_iter().filter(|(_, end)| lasts(*end)) {
            if let Some(part) = parts.get_mut(page_of(key, count)) {
                part.entries.push((key, end));
            }
        }
        for (key, (before, end)) in self.cutoffs.into_iter().filter(|(_, (_, end))| lasts(*end)) {
            if let Some(part) = parts.get_mut(page_of(key, count)) {
                part.cutoffs.push((key, before, end));
            }
        }
        let pages = parts.iter().enumerate();
        let page = |(at, part): (usize, &Part)| Page::build(&part.entries, &part.cutoffs, at, count);
        List::new(pages.map(page).map(Arc::new).collect())
    }
}

#[derive(Default)]
struct Part {
    entries: Vec<(Key, u32)>,
    cutoffs: Vec<(Key, u32, u32)>,
}

/// Unix seconds in 32 bits: what lies beyond 2106 has no end.
fn seconds(moment: Option<u64>) -> u32 {
    moment.map_or(NEVER, |moment| u32::try_from(moment).unwrap_or(NEVER))
}

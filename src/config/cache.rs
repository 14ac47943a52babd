//! `token_cache`: how many verified tokens of a provider are remembered.

use super::fields::Item;

/// How much a cache holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheSize {
    /// How many tokens; 0 turns the cache off.
    pub entries: usize,
    /// The longest token that is kept, in bytes.
    pub max_token: usize,
}

impl Default for CacheSize {
    fn default() -> Self {
        Self { entries: 1000, max_token: 4096 }
    }
}

pub(super) fn read(item: &Item<'_>) -> Option<CacheSize> {
    let mut fields = item.fields()?;
    let default = CacheSize::default();
    let size =
        |value: Option<u64>, default| value.and_then(|value| usize::try_from(value).ok()).unwrap_or(default);
    let entries = size(fields.whole("jwt_cache_size", 0, 1_000_000), default.entries);
    let max_token = size(fields.whole("jwt_max_token_size", 1, 1 << 20), default.max_token);
    fields.finish();
    Some(CacheSize { entries, max_token })
}

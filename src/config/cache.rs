//! `jwt_cache_config`: how many verified tokens of a provider are remembered.

use super::fields::{Fields, Item};

/// How much a cache holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheSize {
    /// How many tokens; 0 turns the cache off.
    pub entries: usize,
    /// The longest token that is kept, in bytes.
    pub max_token: usize,
}

impl Default for CacheSize {
    /// A thousand tokens of any length that is accepted unless something else is configured.
    fn default() -> Self {
        Self { entries: 1000, max_token: MAX_TOKEN_SIZE }
    }
}

/// `max_token_size` where none is written, in bytes.
pub(super) const MAX_TOKEN_SIZE: usize = 8192;

/// More text of tokens than this, in bytes in each worker, is worth a warning: with what is made of it, it takes three
/// times as much memory.
const MUCH: usize = 256 << 20;

/// Reads it, of a provider whose tokens have at most so many bytes.
pub(super) fn read(fields: &mut Fields<'_>, max_token_size: usize) -> CacheSize {
    let default = CacheSize { max_token: max_token_size, ..CacheSize::default() };
    let size = fields.get("jwt_cache_config").and_then(|item| written(&item, default)).unwrap_or(default);
    if size.entries.saturating_mul(size.max_token.min(max_token_size)) > MUCH {
        fields.report.warning(
            &fields.path,
            format!(
                "up to {} tokens of up to {} bytes are remembered in each worker; a lower \"jwt_cache_size\" or \"jwt_max_token_size\" in \"jwt_cache_config\" bounds the memory",
                size.entries, size.max_token
            ),
        );
    }
    size
}

fn written(item: &Item<'_>, default: CacheSize) -> Option<CacheSize> {
    let mut fields = item.fields()?;
    let size =
        |value: Option<u64>, default| value.and_then(|value| usize::try_from(value).ok()).unwrap_or(default);
    let entries = size(fields.whole("jwt_cache_size", 0, 1_000_000), default.entries);
    let max_token = size(fields.whole("jwt_max_token_size", 1, 1 << 20), default.max_token);
    fields.finish();
    Some(CacheSize { entries, max_token })
}

//! Where status lists may come from.

use std::time::Duration;

use super::OnUnavailable;
use super::status::{StatusError, StatusList};
use crate::fetch::{Endpoint, SecretValue, Slots};
use crate::token::ProviderId;

/// The shortest `ttl` that counts.
pub(super) const MIN_TTL: Duration = Duration::from_secs(5);

/// Where status lists may come from, as the operator configured it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatusSource {
    /// URIs that begin like this are asked for, and no others; it ends with `/`.
    pub uri_prefix: String,
    /// The Envoy cluster that reaches them.
    pub cluster: String,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Whose keys verify the lists; none: those of the token's provider.
    pub provider: Option<ProviderId>,
    /// More fields for each request; values are credentials and never shown.
    pub headers: Vec<(String, SecretValue)>,
    /// What becomes of tokens while there is no list that can be trusted.
    pub on_unavailable: OnUnavailable,
    /// How long the last good list serves while the source fails; its `exp` ends it in any case.
    pub max_staleness: Duration,
    /// How long a list is used before it is asked for again, whatever its `ttl`.
    pub max_ttl: Duration,
    /// The largest answer that is read, in bytes.
    pub max_bytes: usize,
    /// The largest list, unpacked, in bytes.
    pub max_list_bytes: usize,
    /// How many lists are kept.
    pub max_lists: usize,
}

impl StatusSource {
    /// Where a list of this URI is, if it is one of this source: the rest of it is plain path segments, so
    /// that no server reads it as another place.
    pub(super) fn endpoint(&self, uri: &str) -> Option<Endpoint> {
        let rest = uri.strip_prefix(&self.uri_prefix)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/=&?".contains(&byte);
        let path = rest.split('?').next().unwrap_or_default();
        let dots = path.split('/').any(|segment| matches!(segment, "." | ".." | ""));
        if dots || !rest.bytes().all(plain) || uri.len() > 1024 {
            return None;
        }
        let (scheme, authority, path) = Endpoint::split(uri)?;
        Some(Endpoint { scheme, authority, path, cluster: self.cluster.clone(), timeout: self.timeout })
    }

    /// The places of its lists: more than there may be lists at once, for one that has made room for another
    /// keeps its own for a while.
    pub(super) fn slots(&self, secret: Option<&str>) -> Slots {
        let count = self.max_lists.saturating_mul(4);
        let identity = format!("status lists\n{}\n{}\n{count}", self.uri_prefix, self.cluster);
        Slots::new(identity.as_bytes(), count, secret)
    }

    /// `ttl`, or what stands for it: never so short that a list is asked for without end.
    pub(super) fn life(&self, ttl: Option<u64>) -> Duration {
        let ttl = ttl.map_or(self.max_ttl, Duration::from_secs);
        ttl.max(MIN_TTL).min(self.max_ttl)
    }
}

/// Verifies a list of a provider that came from this URI and unpacks to this many bytes at most.
pub type Verify<'v> = &'v dyn Fn(ProviderId, &str, &[u8], usize) -> Result<StatusList, StatusError>;

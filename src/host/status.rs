//! What a host call ended with.

use std::fmt;

/// A status of the proxy-wasm ABI: any number, for hosts have more of them than the SDK's `Status` has names.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(super) struct Status(u32);

impl Status {
    const OK: Self = Self(0);
    pub(super) const NOT_FOUND: Self = Self(1);
    pub(super) const SERIALIZATION_FAILURE: Self = Self(3);
    const INTERNAL_FAILURE: Self = Self(10);
    pub(super) const UNIMPLEMENTED: Self = Self(12);

    /// Every status but `Ok` as an error.
    pub(super) fn ok(self) -> Result<(), Self> {
        if self == Self::OK { Ok(()) } else { Err(self) }
    }
}

impl Status {
    /// Whether it is what hosts say of a call that they do not have, or do not allow. (Envoy says `InternalFailure` of
    /// what `capability_restriction_config` leaves out.)
    pub(super) fn is_missing(self) -> bool {
        self == Self::INTERNAL_FAILURE || self == Self::UNIMPLEMENTED
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host status {}", self.0)
    }
}

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

    /// Every status but `Ok` as an error.
    pub(super) fn ok(self) -> Result<(), Self> {
        if self == Self::OK { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host status {}", self.0)
    }
}

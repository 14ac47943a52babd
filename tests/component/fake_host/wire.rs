//! What crosses the border between host and guest: statuses, header lists, property paths.

use std::fmt;

/// A header as the host holds it: the name in lower case, the value as bytes.
pub(crate) type Header = (Vec<u8>, Vec<u8>);

/// A status of the proxy-wasm ABI. Hosts may return more than the SDK's enum names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Status(pub(crate) u32);

impl Status {
    pub(crate) const OK: Status = Status(0);
    pub(crate) const NOT_FOUND: Status = Status(1);
    pub(crate) const BAD_ARGUMENT: Status = Status(2);
    pub(crate) const SERIALIZATION_FAILURE: Status = Status(3);
    pub(crate) const INVALID_MEMORY_ACCESS: Status = Status(6);
    pub(crate) const EMPTY: Status = Status(7);
    pub(crate) const CAS_MISMATCH: Status = Status(8);
    pub(crate) const INTERNAL_FAILURE: Status = Status(10);
    pub(crate) const UNIMPLEMENTED: Status = Status(12);

    /// Every status but `Ok`, the ones that the SDK's enum does not name (5, 6, 9, 11, 12) among them.
    pub(crate) fn failures() -> impl Iterator<Item = Status> {
        (1..=12).map(Status)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "Ok",
            1 => "NotFound",
            2 => "BadArgument",
            3 => "SerializationFailure",
            4 => "ParseFailure",
            5 => "BadExpression",
            6 => "InvalidMemoryAccess",
            7 => "Empty",
            8 => "CasMismatch",
            9 => "ResultMismatch",
            10 => "InternalFailure",
            11 => "BrokenConnection",
            12 => "Unimplemented",
            _ => "?",
        };
        write!(f, "{name}({})", self.0)
    }
}

/// Envoy takes no header list from a guest that is longer than this,
const MAX_PAIRS: usize = 1024;
/// nor larger than this: it drops the list in silence.
const MAX_PAIRS_BYTES: usize = 1 << 20;

/// A header list in the encoding of the ABI: count, lengths, NUL-terminated names and values.
pub(crate) fn encode_pairs(pairs: &[Header]) -> Vec<u8> {
    let length = |n: usize| u32::try_from(n).expect("a test's header fits 32 bits").to_le_bytes();
    let mut out = length(pairs.len()).to_vec();
    for (name, value) in pairs {
        out.extend(length(name.len()));
        out.extend(length(value.len()));
    }
    for (name, value) in pairs {
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(value);
        out.push(0);
    }
    out
}

/// The reverse, as Envoy does it: whatever is malformed or beyond the limits becomes an empty list.
pub(crate) fn decode_pairs(bytes: &[u8]) -> Vec<Header> {
    strict_pairs(bytes).unwrap_or_default()
}

fn strict_pairs(bytes: &[u8]) -> Option<Vec<Header>> {
    if bytes.len() > MAX_PAIRS_BYTES {
        return None;
    }
    let mut rest = bytes;
    let count = take_u32(&mut rest)?;
    if count > MAX_PAIRS {
        return None;
    }
    let lengths: Vec<(usize, usize)> =
        (0..count).map(|_| Some((take_u32(&mut rest)?, take_u32(&mut rest)?))).collect::<Option<_>>()?;
    let pairs = lengths
        .into_iter()
        .map(|(name, value)| Some((take_text(&mut rest, name)?, take_text(&mut rest, value)?)))
        .collect::<Option<_>>()?;
    rest.is_empty().then_some(pairs)
}

fn take_u32(rest: &mut &[u8]) -> Option<usize> {
    let (head, tail) = rest.split_first_chunk::<4>()?;
    *rest = tail;
    usize::try_from(u32::from_le_bytes(*head)).ok()
}

fn take_text(rest: &mut &[u8], length: usize) -> Option<Vec<u8>> {
    let (text, tail) = rest.split_at_checked(length)?;
    let (&terminator, tail) = tail.split_first()?;
    *rest = tail;
    (terminator == 0).then(|| text.to_vec())
}

/// `["xds", "route_name"]` arrives as `xds\0route_name`; tests write `xds.route_name`.
pub(crate) fn dotted(path: &[u8]) -> String {
    String::from_utf8_lossy(path).replace('\0', ".")
}

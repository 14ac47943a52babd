//! Lists of header fields in the encoding of the ABI.

use proxy_wasm::types::Bytes;

use crate::request::Field;

/// The fields of a map as the host writes them: a count, the lengths of names and values, and then
/// each name and value followed by a zero byte. Numbers are 32 bits, little-endian.
#[derive(Default)]
pub(super) struct HeaderMap(Bytes);

impl From<Bytes> for HeaderMap {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<HeaderMap> for Bytes {
    fn from(map: HeaderMap) -> Self {
        map.0
    }
}

impl HeaderMap {
    /// The fields in order; none where the bytes are not of that form.
    pub(super) fn fields(&self) -> Vec<Field<'_>> {
        self.read().unwrap_or_default()
    }

    fn read(&self) -> Option<Vec<Field<'_>>> {
        let (count, rest) = number(&self.0)?;
        let (mut lengths, mut bytes) = rest.split_at_checked(count.checked_mul(8)?)?;
        let mut text = |length: usize| {
            let (text, rest) = bytes.split_at_checked(length)?;
            bytes = rest.split_first()?.1;
            Some(text)
        };
        let mut fields = Vec::with_capacity(count);
        for _ in 0..count {
            let (name, rest) = number(lengths)?;
            let (value, rest) = number(rest)?;
            lengths = rest;
            fields.push((text(name)?, text(value)?));
        }
        Some(fields)
    }
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (digits, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*digits)).ok()?, rest))
}

/// Fields as the host reads them.
pub(super) fn serialize<'f>(fields: impl ExactSizeIterator<Item = (&'f str, &'f str)> + Clone) -> Bytes {
    let word = |length: usize| u32::try_from(length).unwrap_or(0).to_le_bytes();
    let mut bytes = Vec::with_capacity(512);
    bytes.extend(word(fields.len()));
    for (name, value) in fields.clone() {
        bytes.extend(word(name.len()));
        bytes.extend(word(value.len()));
    }
    for (name, value) in fields {
        bytes.extend(name.as_bytes());
        bytes.push(0);
        bytes.extend(value.as_bytes());
        bytes.push(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_they_are_written() {
        let fields = [("a", "1"), ("bc", ""), ("a", "\u{e9}")];
        let map = HeaderMap(serialize(fields.into_iter()));
        let expected: Vec<Field<'_>> = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        assert_eq!(map.fields(), expected);
    }

    #[test]
    fn a_broken_buffer_has_no_fields() {
        let whole = serialize([("name", "value")].into_iter());
        for length in 0..whole.len() {
            let cut = whole.iter().take(length).copied().collect();
            assert!(HeaderMap(cut).fields().is_empty(), "{length}");
        }
        assert!(HeaderMap(vec![0xff; 64]).fields().is_empty());
    }
}

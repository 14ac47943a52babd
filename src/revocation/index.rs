//! What stands for a list whose pages are fetched one by one: their digests, in order.

use super::page::{Digest, MAX_PAGES};

/// The digests of a list's pages.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Index {
    digests: Vec<Digest>,
}

impl Index {
    pub(super) fn new(digests: Vec<Digest>) -> Self {
        Self { digests }
    }

    /// The digests as texts in hexadecimal; none where one is no digest or their number is none that a
    /// list can have.
    pub(super) fn from_texts(texts: &[impl AsRef<str>]) -> Option<Self> {
        let digests: Option<Vec<Digest>> = texts.iter().map(|text| unhex(text.as_ref())).collect();
        digests.filter(|digests| Self::fits(digests.len())).map(Self::new)
    }

    fn fits(count: usize) -> bool {
        count.is_power_of_two() && count <= MAX_PAGES
    }

    /// The digests.
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// The bytes that instances share.
    pub(super) fn encode(&self) -> Vec<u8> {
        self.digests.concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (digests, rest) = bytes.as_chunks::<32>();
        (rest.is_empty() && Self::fits(digests.len())).then(|| Self::new(digests.to_vec()))
    }

    /// The document that `portcullis revlist build` writes.
    pub fn to_json(&self) -> String {
        let names: Vec<String> = self.digests.iter().map(|digest| format!("\"{}\"", hex(digest))).collect();
        format!("{{\"version\":1,\"pages\":[\n{}\n]}}\n", names.join(",\n"))
    }

    /// The path of a page, beside the document at `path`.
    pub fn page_path(path: &str, digest: &Digest) -> String {
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{folder}/pages/{}.bin", hex(digest))
    }
}

/// A digest in hexadecimal.
fn hex(digest: &Digest) -> String {
    base16ct::lower::encode_string(digest)
}

fn unhex(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    let length = base16ct::mixed::decode(text, &mut digest).ok()?.len();
    (length == digest.len()).then_some(digest)
}

//! The certificate of a sender, and its hash (RFC 8705 section 3.1).

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::request::Request;

/// Where the certificate of a sender is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertificateSource {
    /// It came over this connection.
    Connection,
    /// The field `x-forwarded-client-cert` has its hash, as Envoy writes it; the operator vouches for the field.
    Xfcc(XfccElement),
    /// The field `client-cert` has it (RFC 9440); the operator vouches for the field.
    ClientCert,
}

/// Which element of `x-forwarded-client-cert` is the sender's: each proxy adds one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XfccElement {
    /// There is one.
    Only,
    /// The first of them.
    First,
    /// The last of them.
    Last,
}

/// The longest `client-cert` that is read, in bytes.
pub const MAX_CLIENT_CERT: usize = 16_384;

impl CertificateSource {
    /// The field that it is in, in lower case.
    pub const fn field(self) -> Option<&'static str> {
        match self {
            Self::Connection => None,
            Self::Xfcc(_) => Some("x-forwarded-client-cert"),
            Self::ClientCert => Some("client-cert"),
        }
    }

    /// Base64url of the SHA-256 of the certificate that a request came with, if there is just one.
    pub(super) fn hash(self, request: &Request<'_>) -> Option<String> {
        let hash = match self {
            Self::Connection => from_hex(&request.properties().peer_certificate_hash()?)?,
            Self::Xfcc(element) => xfcc_hash(request, element)?,
            Self::ClientCert => {
                let mut values = request.all("client-cert");
                let (Some(value), None) = (values.next(), values.next()) else { return None };
                // A byte sequence (RFC 8941 section 3.3.5), alone.
                let text = value.trim_ascii().strip_prefix(b":")?.strip_suffix(b":")?;
                if text.len() > MAX_CLIENT_CERT {
                    return None;
                }
                let certificate = BASE64_STANDARD.decode(text).ok().filter(|bytes| !bytes.is_empty())?;
                Sha256::digest(certificate).into()
            }
        };
        Some(BASE64_URL_SAFE_NO_PAD.encode(hash))
    }
}

/// A SHA-256 in hexadecimal, as Envoy writes it.
fn from_hex(text: &str) -> Option<[u8; 32]> {
    base16ct::mixed::decode_vec(text).ok()?.try_into().ok()
}

/// What one element of the field says.
#[derive(Clone, Copy, Default)]
struct Element<'v> {
    hash: Option<&'v [u8]>,
    /// Whether it has more than one hash.
    is_ambiguous: bool,
}

/// The hash in one element of `x-forwarded-client-cert`. There is none where quotes are not closed, for nobody knows then
/// where an element ends.
fn xfcc_hash(request: &Request<'_>, which: XfccElement) -> Option<[u8; 32]> {
    let (mut first, mut last, mut count) = (None, Element::default(), 0usize);
    for value in request.all("x-forwarded-client-cert") {
        let mut rest = value;
        loop {
            let (element, after) = element(rest)?;
            first.get_or_insert(element);
            (last, count) = (element, count.saturating_add(1));
            match after {
                Some(after) => rest = after,
                None => break,
            }
        }
    }
    let element = match which {
        XfccElement::Only if count == 1 => last,
        XfccElement::Only => return None,
        XfccElement::First => first?,
        XfccElement::Last => last,
    };
    let hash = element.hash.filter(|_| !element.is_ambiguous)?;
    from_hex(std::str::from_utf8(hash).ok()?)
}

/// The first element of a value, and what follows its comma.
fn element(value: &[u8]) -> Option<(Element<'_>, Option<&[u8]>)> {
    let mut element = Element::default();
    let mut rest = value;
    loop {
        let (pair, end, after) = pair(rest)?;
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let name = parts.next().unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"hash") {
            let value = parts.next().unwrap_or_default().trim_ascii();
            element.is_ambiguous |= element.hash.replace(value).is_some();
        }
        match end {
            Some(b';') => rest = after,
            Some(_) => return Some((element, Some(after))),
            None => return Some((element, None)),
        }
    }
}

/// The first pair of a value, up to a `;` or a `,` outside of quotes; that byte; and what follows it.
fn pair(value: &[u8]) -> Option<(&[u8], Option<u8>, &[u8])> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in value.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b';' | b',' if !is_quoted => {
                let (pair, rest) = value.split_at_checked(at)?;
                return Some((pair, Some(*byte), rest.get(1..).unwrap_or_default()));
            }
            _ => {}
        }
    }
    (!is_quoted).then_some((value, None, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688";
    const TWO: &str = "bb0f3bb8f1d1a0c0ca6a4f0b9d6bd0b4aaba0b8b1b8e9fd3a4b2f0dbb90a1b2c";

    fn hash(source: CertificateSource, fields: &[(&str, &str)]) -> Option<String> {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        source.hash(&Request::new(&fields))
    }

    fn of_hex(text: &str) -> Option<String> {
        Some(BASE64_URL_SAFE_NO_PAD.encode(from_hex(text)?))
    }

    #[test]
    fn of_forwarded_certificates_one_element_with_one_hash_counts() {
        use XfccElement::*;
        const FIELD: &str = "x-forwarded-client-cert";
        let one = format!("Hash={ONE}");
        let two = format!("By=spiffe://a/b;Hash={TWO};Subject=\"CN=a,O=\\\"b;Hash=x,\\\"\";URI=spiffe://c/d");
        let (both, in_quotes) = (format!("{one},{two}"), format!("Subject=\"Hash={TWO},\";hash={ONE}"));
        let (twice, open) = (format!("Hash={ONE};Hash={ONE}"), format!("Hash={ONE};Subject=\"CN=a"));
        for (values, only, first, last) in [
            (&[&*one][..], Some(ONE), Some(ONE), Some(ONE)),
            (&[&*two], Some(TWO), Some(TWO), Some(TWO)),
            (&[&*in_quotes], Some(ONE), Some(ONE), Some(ONE)),
            (&[&*both], None, Some(ONE), Some(TWO)),
            (&[&*one, &*two], None, Some(ONE), Some(TWO)),
            (&[&*two, &*one], None, Some(TWO), Some(ONE)),
            (&[&format!("{one},")], None, Some(ONE), None),
            (&[&format!(",{one}")], None, None, Some(ONE)),
            (&[&*twice], None, None, None),
            (&[&*open], None, None, None),
            (&[&*one, &*open], None, None, None),
            (&["By=spiffe://a/b"], None, None, None),
            (&[&format!("Hash={}", &ONE[..62])], None, None, None),
            (&[&format!("Hash={ONE}00")], None, None, None),
            (&["Hash="], None, None, None),
            (&["Hash"], None, None, None),
            (&[""], None, None, None),
            (&[], None, None, None),
        ] {
            let fields: Vec<_> = values.iter().map(|value| (FIELD, *value)).collect();
            let found = [Only, First, Last].map(|which| hash(CertificateSource::Xfcc(which), &fields));
            assert_eq!(found, [only, first, last].map(|hex| hex.and_then(of_hex)), "{values:?}");
        }
    }

    #[test]
    fn a_forwarded_certificate_is_one_byte_sequence() {
        let expected = Some(BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(b"certificate")));
        let good = ":Y2VydGlmaWNhdGU=:";
        let long = format!(":{}:", "QUJD".repeat(5000));
        for (values, is_good) in [
            (&[good][..], true),
            (&[" :Y2VydGlmaWNhdGU=: "], true),
            (&[good, good], false),
            (&["Y2VydGlmaWNhdGU="], false),
            (&[":Y2VydGlmaWNhdGU:"], false),
            (&[":Y2VydGlmaWNhdGU=:;a=1"], false),
            (&[":Y2VydGlmaWNhdGU=:, :Y2VydGlmaWNhdGU=:"], false),
            (&["::"], false),
            (&[":"], false),
            (&[""], false),
            (&[":Y2Vy dGlmaWNhdGU=:"], false),
            (&[&*long], false),
            (&[], false),
        ] {
            let fields: Vec<_> = values.iter().map(|value| ("client-cert", *value)).collect();
            let found = hash(CertificateSource::ClientCert, &fields);
            assert_eq!(found, expected.clone().filter(|_| is_good), "{values:?}");
        }
    }
}

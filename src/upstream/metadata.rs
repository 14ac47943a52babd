//! What the proxy's other filters are told of a token by dynamic metadata, in the places of Envoy's `jwt_authn`.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::json::{Json, Object, encode_struct, parse};
use crate::reason::Reason;

/// The keys under which a provider's tokens are told of, in the namespace [`NAMESPACE`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MetadataOutputs {
    /// The key for the claims.
    pub payload: Option<String>,
    /// The key for the JOSE header.
    pub header: Option<String>,
    /// The key for why a token was not accepted, or a request was refused.
    pub failed_status: Option<String>,
    /// The claims that become lists, split at blanks.
    pub space_delimited: Vec<String>,
}

/// The namespace: what reads that filter's metadata reads this.
pub const NAMESPACE: &str = "envoy.filters.http.jwt_authn";

impl MetadataOutputs {
    /// Whether anything is written.
    pub fn writes_any(&self) -> bool {
        self.payload.is_some() || self.header.is_some() || self.failed_status.is_some()
    }

    /// What is written for a token with these claims: a serialized `google.protobuf.Struct`, or none where nothing is.
    pub fn of_token(&self, claims: &Object, token: &[u8]) -> Option<Vec<u8>> {
        let mut members = Vec::new();
        if let Some(key) = &self.payload {
            let claims = claims.iter().map(|(name, value)| (name.to_owned(), self.normal(name, value)));
            members.push((key.clone(), Json::Object(Object::new(claims.collect()).ok()?)));
        }
        if let Some(key) = &self.header
            && let Some(header) = jose_header(token)
        {
            members.push((key.clone(), Json::Object(header)));
        }
        // Both may have one key: the later is what is read, as in `jwt_authn`.
        members.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        (!members.is_empty()).then(|| Object::new(members).ok()).flatten().map(|all| encode_struct(&all))
    }

    fn normal(&self, name: &str, value: &Json) -> Json {
        let is_split = self.space_delimited.iter().any(|claim| claim == name);
        let words = value.as_str().filter(|_| is_split).unwrap_or_default().split(' ');
        let words: Vec<Json> =
            words.filter(|word| !word.is_empty()).map(|word| Json::String(word.into())).collect();
        // A text without a word stays what it is, as in `jwt_authn`.
        if words.is_empty() { value.clone() } else { Json::Array(words) }
    }

    /// What is written for a token that is not accepted, as of a request that is refused for it.
    pub fn of_failure(&self, reason: Reason) -> Option<Vec<u8>> {
        self.of_refusal(reason.row().status.http(), reason)
    }

    /// What is written for a request that is refused: `code` is the HTTP status, `message` the reason.
    pub fn of_refusal(&self, status: u16, reason: Reason) -> Option<Vec<u8>> {
        let key = self.failed_status.as_ref()?;
        let members = vec![
            ("code".to_owned(), Json::Number(crate::json::Number::Float(f64::from(status)))),
            ("message".to_owned(), Json::String(reason.as_str().into())),
        ];
        let told = Json::Object(Object::new(members).ok()?);
        Some(encode_struct(&Object::new(vec![(key.clone(), told)]).ok()?))
    }
}

/// The JOSE header of a token in the compact serialization (RFC 7515 section 3.1).
fn jose_header(token: &[u8]) -> Option<Object> {
    let head = token.split(|byte| *byte == b'.').next()?;
    match parse(&BASE64_URL_SAFE_NO_PAD.decode(head).ok()?).ok()? {
        Json::Object(header) => Some(header),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::json::from_struct;

    fn read(bytes: &[u8]) -> String {
        Json::Object(from_struct(prost_types::Struct::decode(bytes).unwrap()).unwrap()).to_string()
    }

    fn object(text: &str) -> Object {
        match parse(text.as_bytes()).unwrap() {
            Json::Object(object) => object,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn claims_header_and_reason_are_written_under_the_keys_that_are_named() {
        let claims = object(r#"{"sub":"u","scope":"a b","n":3,"list":[1,null,{"x":true}]}"#);
        let token = b"eyJhbGciOiJFUzI1NiJ9.e30.c2ln";
        let outputs = |payload: &str, header: &str, split: &[&str]| MetadataOutputs {
            payload: (!payload.is_empty()).then(|| payload.to_owned()),
            header: (!header.is_empty()).then(|| header.to_owned()),
            failed_status: Some("why".to_owned()),
            space_delimited: split.iter().map(|claim| (*claim).to_owned()).collect(),
        };
        let of = |own: MetadataOutputs| own.of_token(&claims, token).map(|bytes| read(&bytes));
        assert_eq!(
            of(outputs("p", "h", &["scope", "n"])).unwrap(),
            r#"{"h":{"alg":"ES256"},"p":{"list":[1.0,null,{"x":true}],"n":3.0,"scope":["a","b"],"sub":"u"}}"#
        );
        let blank = object(r#"{"scope":" ","scp":""}"#);
        let split = outputs("p", "", &["scope", "scp"]).of_token(&blank, token).unwrap();
        assert_eq!(read(&split), r#"{"p":{"scope":" ","scp":""}}"#);
        assert_eq!(of(outputs("", "h", &[])).unwrap(), r#"{"h":{"alg":"ES256"}}"#);
        assert_eq!(of(outputs("same", "same", &[])).unwrap(), r#"{"same":{"alg":"ES256"}}"#);
        assert_eq!(of(outputs("", "", &[])), None);
        let refusal = outputs("p", "", &[]).of_refusal(401, Reason::Expired).unwrap();
        assert_eq!(read(&refusal), r#"{"why":{"code":401.0,"message":"expired"}}"#);
        assert_eq!(MetadataOutputs::default().of_refusal(401, Reason::Expired), None);
        assert_eq!(outputs("p", "", &[]).of_failure(Reason::Expired).unwrap(), refusal);
    }
}

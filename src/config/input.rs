//! The bytes of a configuration: JSON text, or a `google.protobuf.Struct`.
//!
//! Istio and Envoy Gateway send a `StringValue` that holds JSON. A `Struct` in an Envoy file arrives
//! as protobuf bytes, with every number a double.

use prost::Message as _;
use prost_types::value::Kind;

use super::protobuf;
use crate::json::{self, Json, MAX_DEPTH, Number, Object};

/// Reads either form.
///
/// # Errors
/// What the bytes are not, in words for the operator.
pub(super) fn parse(bytes: &[u8]) -> Result<Json, String> {
    // Editors put a byte order mark before a text that is pasted.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        None => Err("the plugin configuration is empty; give a JSON object with \"providers\" and \"rules\""
            .to_owned()),
        Some(b'{' | b'[' | b'"') => json::parse(bytes).map_err(|error| not_json(&error)),
        // The first byte of a Struct with a field is the tag 0x0a, which JSON takes for white space.
        Some(_) => from_struct(bytes),
    }
    .or_else(|error| match bytes.first() {
        Some(0x0a) => from_struct(bytes).map_err(|_| error),
        _ => Err(error),
    })
}

/// What is wrong with a text, and where; the parser's own words may say once more that it is not JSON.
fn not_json(error: &json::Error) -> String {
    const NOT_JSON: &str = "not valid JSON";
    let error = error.to_string();
    let place = match error.strip_prefix(NOT_JSON) {
        Some(place) => place.to_owned(),
        None => format!(": {error}"),
    };
    format!("the plugin configuration is {NOT_JSON}{place}; correct the text there")
}

const NEITHER: &str = "the plugin configuration is neither JSON nor a google.protobuf.Struct; write it as JSON, or as YAML under a google.protobuf.Struct";

fn from_struct(bytes: &[u8]) -> Result<Json, String> {
    let decoded = prost_types::Struct::decode(bytes).map_err(|_| NEITHER.to_owned())?;
    object(decoded, MAX_DEPTH)
}

fn deeper() -> String {
    format!("the plugin configuration is nested deeper than {MAX_DEPTH} levels; write it with fewer")
}

fn object(decoded: prost_types::Struct, depth: usize) -> Result<Json, String> {
    let depth = depth.checked_sub(1).ok_or_else(deeper)?;
    let members = decoded
        .fields
        .into_iter()
        .map(|(name, member)| Ok((name, value(member, depth)?)))
        .collect::<Result<Vec<_>, String>>()?;
    Object::new(members)
        .map(Json::Object)
        .map_err(|name| format!("the plugin configuration has the field {name:?} twice; keep one"))
}

fn value(decoded: prost_types::Value, depth: usize) -> Result<Json, String> {
    Ok(match decoded.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(value)) => Json::Bool(value),
        Some(Kind::NumberValue(value)) => Json::Number(whole(value)),
        Some(Kind::StringValue(text)) => Json::String(text.into()),
        Some(Kind::StructValue(inner)) => object(inner, depth)?,
        Some(Kind::ListValue(list)) => {
            let depth = depth.checked_sub(1).ok_or_else(deeper)?;
            Json::Array(list.values.into_iter().map(|item| value(item, depth)).collect::<Result<_, _>>()?)
        }
    })
}

/// A double that is a whole number is what the operator wrote as an integer.
fn whole(value: f64) -> Number {
    match protobuf::whole(value) {
        Some(whole) => u64::try_from(whole).map_or(Number::Negative(whole), Number::Unsigned),
        None => Number::Float(value),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn protobuf(kind: Kind) -> prost_types::Value {
        prost_types::Value { kind: Some(kind) }
    }

    #[test]
    fn a_struct_means_what_the_same_json_means() {
        let list = prost_types::ListValue {
            values: vec![protobuf(Kind::NumberValue(600.0)), protobuf(Kind::NumberValue(-1.5))],
        };
        let inner = prost_types::Struct {
            fields: BTreeMap::from([
                ("b".to_owned(), protobuf(Kind::BoolValue(true))),
                ("l".to_owned(), protobuf(Kind::ListValue(list))),
            ]),
        };
        let outer = prost_types::Struct {
            fields: BTreeMap::from([
                ("n".to_owned(), protobuf(Kind::NullValue(0))),
                ("o".to_owned(), protobuf(Kind::StructValue(inner))),
                ("s".to_owned(), protobuf(Kind::StringValue("x".to_owned()))),
            ]),
        };
        let json = br#"{"n":null,"o":{"b":true,"l":[600,-1.5]},"s":"x"}"#;
        assert_eq!(parse(&outer.encode_to_vec()), Ok(json::parse(json).unwrap()));
        assert_eq!(parse(json), Ok(json::parse(json).unwrap()));
        assert_eq!(parse(&[&b"\xef\xbb\xbf"[..], json].concat()), Ok(json::parse(json).unwrap()));
    }

    #[test]
    fn neither_form_is_an_error_and_never_a_default() {
        for bytes in [&b""[..], b"  \n", b"hello", b"\x0a\xff\xff", b"{\"a\":}", b"\x0a", b"\xff\xfe{}"] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(parse(b"\n{}"), Ok(Json::Object(Object::default())));
    }
}

//! `google.protobuf.Struct`, which is JSON in other clothes.

use prost_types::value::Kind;

use super::{Json, Object};
use super::{MAX_DEPTH, Number};

/// The object that a struct is; none where it is nested deeper than [`MAX_DEPTH`].
pub fn from_struct(decoded: prost_types::Struct) -> Option<Object> {
    object(decoded, MAX_DEPTH)
}

fn object(decoded: prost_types::Struct, depth: usize) -> Option<Object> {
    let depth = depth.checked_sub(1)?;
    let members = decoded.fields.into_iter().map(|(name, member)| Some((name, value(member, depth)?)));
    Object::new(members.collect::<Option<Vec<_>>>()?).ok()
}

fn value(decoded: prost_types::Value, depth: usize) -> Option<Json> {
    Some(match decoded.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(value)) => Json::Bool(value),
        Some(Kind::NumberValue(value)) => Json::Number(Number::Float(value)),
        Some(Kind::StringValue(text)) => Json::String(text.into()),
        Some(Kind::StructValue(inner)) => Json::Object(object(inner, depth)?),
        Some(Kind::ListValue(list)) => {
            let depth = depth.checked_sub(1)?;
            Json::Array(list.values.into_iter().map(|item| value(item, depth)).collect::<Option<_>>()?)
        }
    })
}

/// The object in a serialized `google.protobuf.Struct`, or in the JSON of a serialized `google.protobuf.StringValue`.
#[cfg(feature = "native")]
pub fn decode_struct(bytes: &[u8]) -> Option<Object> {
    use prost::Message as _;
    let text = String::decode(bytes).ok().and_then(|text| super::parse(text.as_bytes()).ok());
    if let Some(Json::Object(object)) = text {
        return Some(object);
    }
    from_struct(prost_types::Struct::decode(bytes).ok()?)
}

#[cfg(feature = "native")]
/// An object as a serialized struct. Numbers become what a struct has for them: 64-bit floating point (IEEE 754).
pub fn encode_struct(object: &Object) -> Vec<u8> {
    use prost::Message as _;
    to_struct(object).encode_to_vec()
}

#[cfg(feature = "native")]
fn to_struct(object: &Object) -> prost_types::Struct {
    let fields = object.iter().map(|(name, member)| (name.to_owned(), to_value(member)));
    prost_types::Struct { fields: fields.collect() }
}

#[cfg(feature = "native")]
fn to_value(json: &Json) -> prost_types::Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(*value),
        Json::Number(number) => Kind::NumberValue(number.as_float()),
        Json::String(text) => Kind::StringValue(text.as_str().to_owned()),
        Json::Array(items) => {
            Kind::ListValue(prost_types::ListValue { values: items.iter().map(to_value).collect() })
        }
        Json::Object(object) => Kind::StructValue(to_struct(object)),
    };
    prost_types::Value { kind: Some(kind) }
}

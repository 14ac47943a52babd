//! `google.protobuf.Struct`, which is JSON in other clothes.

use prost_types::value::Kind;

use super::{Json, MAX_DEPTH, Number, Object};

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

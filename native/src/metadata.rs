//! What filters before this one wrote of a request.

use portcullis::{Json, JsonNumber, JsonObject, limits};

use crate::abi::{EnvoyFilter, MetadataSource, MetadataValue};

/// All of it, by the filters' names; none where it is too large, or where there is a value that Envoy does not hand over.
pub(crate) fn all(filter: &EnvoyFilter<'_>) -> Option<JsonObject> {
    let mut room = limits::MAX_METADATA;
    let mut members = Vec::new();
    for namespace in filter.namespaces(MetadataSource::Dynamic) {
        let own = of(filter, &namespace, &mut room)?;
        take(&mut room, namespace.len())?;
        members.push((namespace, Json::Object(own)));
    }
    JsonObject::new(members).ok()
}

fn take(room: &mut usize, size: usize) -> Option<()> {
    *room = room.checked_sub(size)?;
    Some(())
}

fn of(filter: &EnvoyFilter<'_>, namespace: &str, room: &mut usize) -> Option<JsonObject> {
    let mut members = Vec::new();
    for key in filter.keys(MetadataSource::Dynamic, namespace) {
        let value = filter.metadata(MetadataSource::Dynamic, namespace, &key)?;
        take(room, key.len())?;
        members.push((key, json(value, room)?));
    }
    JsonObject::new(members).ok()
}

fn json(value: MetadataValue, room: &mut usize) -> Option<Json> {
    Some(match value {
        MetadataValue::Text(text) => {
            take(room, text.len())?;
            Json::String(text.into())
        }
        MetadataValue::Flag(flag) => Json::Bool(flag),
        MetadataValue::Number(number) => Json::Number(JsonNumber::Float(number)),
        MetadataValue::List(items) => {
            take(room, items.len())?;
            Json::Array(items.into_iter().map(|item| json(item?, room)).collect::<Option<_>>()?)
        }
    })
}

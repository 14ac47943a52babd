//! What a route says for this filter by per-route configuration: the members of route metadata.

use portcullis::{Json, JsonObject, RouteMetadataValue, decode_struct, parse_json};

/// The configuration of a route, a virtual host or a table of routes.
pub(crate) struct RouteConfig {
    members: JsonObject,
}

/// The members that a route may have.
const MEMBERS: [&str; 4] = ["disabled", "requirement", "rule", "scopes"];

impl RouteConfig {
    /// Reads one; none where it cannot be used, which the log says.
    pub(crate) fn new(text: &[u8]) -> Option<Self> {
        // Envoy 1.38 gives the message, and newer ones its JSON.
        let members = match parse_json(text) {
            Ok(Json::Object(members)) => Some(members),
            Ok(_) => None,
            Err(_) => decode_struct(text),
        };
        let Some(members) = members else {
            log::error!(
                "the per-route configuration is refused: it is no JSON object; write one with some of {MEMBERS:?}"
            );
            return None;
        };
        for (name, value) in members.iter() {
            if !MEMBERS.contains(&name) {
                log::error!(
                    "the per-route configuration is refused: {name:?}: not known; write some of {MEMBERS:?}"
                );
                return None;
            }
            if read(value) == RouteMetadataValue::Unreadable {
                log::error!(
                    "the per-route configuration is refused: {name:?}: write a text, a list of texts, true or false"
                );
                return None;
            }
        }
        Some(Self { members })
    }

    /// The value of a member.
    pub(crate) fn get(&self, key: &str) -> RouteMetadataValue {
        self.members.get(key).map_or(RouteMetadataValue::Absent, read)
    }
}

fn read(value: &Json) -> RouteMetadataValue {
    if let Json::Bool(flag) = value {
        return RouteMetadataValue::Flag(*flag);
    }
    if let Some(text) = value.as_str() {
        return RouteMetadataValue::Texts(vec![text.to_owned()]);
    }
    let list = value.as_array().and_then(|items| {
        items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
    });
    list.map_or(RouteMetadataValue::Unreadable, RouteMetadataValue::Texts)
}

//! `from_headers`, `from_cookies`, `from_params`: where the tokens of a provider are; `csrf`.

use super::fields::{Fields, Item, join};
use super::values::header_name;
use crate::request::{Csrf, same_header};
use crate::token::{Location, is_token_byte};

/// Where tokens are: `Authorization: Bearer` where nothing else is named.
pub(super) fn locations(fields: &mut Fields<'_>) -> Vec<Location> {
    let headers = fields.get("from_headers").map(|item| from_headers(&item));
    let mut names = |field, form: fn(String) -> Location| {
        fields.get(field).map(|item| from_names(&item).into_iter().map(form).collect::<Vec<_>>())
    };
    let cookies = names("from_cookies", Location::Cookie);
    let params = names("from_params", Location::Param);
    if params.as_ref().is_some_and(|params| !params.is_empty()) {
        fields.report.warning(
            &join(&fields.path, "from_params"),
            "tokens in a URL end up in logs and histories of clients and other hops (RFC 9700 section 4.3.2)",
        );
    }
    match (headers, cookies, params) {
        (None, None, None) => vec![Location::bearer()],
        (headers, cookies, params) => [headers, cookies, params].into_iter().flatten().flatten().collect(),
    }
}

/// The names of cookies or query parameters.
fn from_names(item: &Item<'_>) -> Vec<String> {
    let items = item.list_of_texts().unwrap_or_default();
    if items.is_empty() && item.json.as_array().is_some() {
        item.error("must name at least one; leave the field out for none");
    }
    let mut names: Vec<String> = Vec::new();
    for item in items {
        let Some(name) = item.text() else { continue };
        // A cookie's name is a token (RFC 6265 section 4.1.1); a parameter's needs no escapes.
        if !name.bytes().all(is_token_byte) {
            item.error("must be letters, digits and any of !#$%&'*+-.^_`|~ alone");
        } else if name.contains(['%', '&', '+', '#']) {
            item.error("has a character that could be read in two ways; rename it");
        } else if names.iter().any(|other| other == name) {
            item.error("is named above already; remove it");
        } else if names.iter().any(|other| other.replace('.', "_") == name.replace('.', "_")) {
            item.error("is a name that some servers take for one above (`_` for `.`); keep one of them");
        }
        names.push(name.to_owned());
    }
    names
}

pub(super) fn csrf(fields: &mut Fields<'_>, locations: &[Location]) -> Option<Csrf> {
    let cookies = locations.iter().any(|location| matches!(location, Location::Cookie(_)));
    let Some(item) = fields.get("csrf") else {
        if cookies {
            fields.report.warning(
                &join(&fields.path, "from_cookies"),
                "no \"csrf\": a page of another site can have a browser send requests with this cookie; add \"csrf\": {}",
            );
        }
        return None;
    };
    if !cookies {
        item.error("is for tokens from cookies, and none is named in \"from_cookies\"; remove it");
    }
    let mut fields = item.fields()?;
    let origins = fields.get("allowed_origins").and_then(|item| item.list()).unwrap_or_default();
    fields.finish();
    let mut allowed_origins = Vec::new();
    for item in origins {
        let Some(text) = item.text() else { continue };
        let origin = text.to_ascii_lowercase();
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        if host.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '#', '@', '*', ' '])) {
            item.error("is not an origin; write scheme, host and a port that is not the usual one: https://app.example");
        }
        allowed_origins.push(origin);
    }
    Some(Csrf { allowed_origins })
}

fn from_headers(item: &Item<'_>) -> Vec<Location> {
    let items = item.list().unwrap_or_default();
    if items.is_empty() && item.json.as_array().is_some() {
        item.error("must name at least one header; leave the field out for Authorization: Bearer");
    }
    let mut locations: Vec<Location> = Vec::new();
    for item in items {
        let Some(mut fields) = item.fields() else {
            continue;
        };
        let name = fields.required("name", "name the header").and_then(|item| header_name(&item));
        let prefix = fields.get("value_prefix");
        let prefix = prefix.map_or(Some(""), |item| item.string());
        fields.finish();
        if let (Some(name), Some(prefix)) = (name, prefix) {
            let location = Location::header(&name, prefix);
            if name == "cookie" {
                item.error("cookies are named in \"from_cookies\"");
            } else if locations.iter().filter_map(Location::header_name).any(|other| other == name) {
                item.error("names a header that is named above already");
            } else if locations
                .iter()
                .filter_map(Location::header_name)
                .any(|other| same_header(other.as_bytes(), name.as_bytes()))
            {
                item.error("is a name that servers take for one above (`_` for `-`); keep one of them");
            }
            locations.push(location);
        }
    }
    locations
}

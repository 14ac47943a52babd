//! `from_headers`, `from_cookies`, `from_params`: where the tokens of a provider are; `csrf`.

use super::fields::{Fields, Item, join};
use super::values::header_name;
use crate::request::{Csrf, same_header};
use crate::token::{HeaderLocation, Location, Marker, SUBPROTOCOLS, Subprotocols, is_token_byte};

/// Where tokens are: `Authorization: Bearer` where nothing else is named. Where bound tokens are not refused, `DPoP` is as
/// good.
pub(super) fn locations(fields: &mut Fields<'_>, reject_bound: bool) -> Vec<Location> {
    let mut locations = named(fields);
    for location in &mut locations {
        if let Location::Header(place) = location
            && !reject_bound
        {
            place.accept_dpop();
        }
    }
    locations
}

fn named(fields: &mut Fields<'_>) -> Vec<Location> {
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
            item.error("has one of %&+#, which servers read differently; rename it");
        } else if names.iter().any(|other| other == name) {
            item.error("is named above already; remove it");
        } else if names.iter().any(|other| other.replace('.', "_") == name.replace('.', "_")) {
            item.error("is a name that some servers read as one above (`_` for `.`); keep one of them");
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
        let prefix_item = fields.get("value_prefix");
        let prefix = prefix_item.as_ref().map_or(Some(""), |item| item.string());
        fields.finish();
        let (Some(name), Some(prefix)) = (name, prefix) else { continue };
        let names = || locations.iter().filter_map(Location::header_name);
        if name == "cookie" {
            item.error("is the header of all cookies; name the cookie in \"from_cookies\"");
        } else if names().any(|other| other != name && same_header(other.as_bytes(), name.as_bytes())) {
            item.error("is a name that some servers read as one above (`_` for `-`); keep one of them");
        } else if name == SUBPROTOCOLS {
            add_subprotocol(&mut locations, &item, prefix_item.as_ref().unwrap_or(&item), prefix);
        } else {
            add_header(&mut locations, &item, &name, prefix);
        }
    }
    locations
}

const NAMED_ABOVE: &str = "names a header again, with the same \"value_prefix\"; remove one";

/// One more prefix of a header: one place with several, of which one may be filled.
fn add_header(locations: &mut Vec<Location>, item: &Item<'_>, name: &str, prefix: &str) {
    let mut known = locations.iter_mut().filter_map(|location| match location {
        Location::Header(place) if place.name() == name => Some(place),
        _ => None,
    });
    match known.next().map(|place| place.add(prefix)) {
        Some(true) => {}
        Some(false) => item.error(NAMED_ABOVE),
        None => locations.push(Location::Header(HeaderLocation::new(name, prefix))),
    }
}

/// One more marker of tokens among the subprotocols of WebSockets.
fn add_subprotocol(locations: &mut Vec<Location>, item: &Item<'_>, prefix_item: &Item<'_>, prefix: &str) {
    let Some(marker) = Marker::new(prefix) else {
        return prefix_item.error(
            "is not the name of one subprotocol; write the one that clients name before the token, such as \"bearer\"",
        );
    };
    if marker.is_empty() {
        item.report.warning(
            &item.path,
            "no \"value_prefix\": the whole list is taken for the token, and a client can offer no protocol beside it; write the protocol that clients name before the token, such as \"bearer\"",
        );
    }
    let mut known = locations.iter_mut().filter_map(|location| match location {
        Location::Subprotocols(place) => Some(place),
        _ => None,
    });
    match known.next().map(|place| place.add(marker.clone())) {
        Some(true) => {}
        Some(false) => item.error(NAMED_ABOVE),
        None => {
            let mut place = Subprotocols::default();
            place.add(marker);
            locations.push(Location::Subprotocols(place));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    /// The places that a provider's fields name and the warnings, or what is wrong with them.
    fn read(fields: &str) -> Result<(String, Vec<String>), String> {
        let text = format!(
            r#"{{"providers":{{"p":{{"issuer":"i","audiences":["a"],"local_jwks":{{"inline":{{"keys":[{{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}}]}}}},{fields}}}}},"rules":[]}}"#
        );
        match Config::parse(text.as_bytes(), &|_| None) {
            Ok(config) => Ok((
                crate::token::listed(&config.providers[0].locations),
                config.warnings.iter().map(ToString::to_string).collect(),
            )),
            Err(problems) => Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        }
    }

    #[test]
    fn a_header_may_be_named_with_several_prefixes() {
        for (headers, expected) in [
            (
                r#"{"name":"Authorization","value_prefix":"Bearer "},{"name":"authorization","value_prefix":"Token "}"#,
                r#"header "authorization" with "Bearer " or "Token ""#,
            ),
            (
                r#"{"name":"x-a"},{"name":"x-b","value_prefix":"t="},{"name":"X-A","value_prefix":"Bearer "}"#,
                r#"header "x-a" with "Bearer " or "", header "x-b" with "t=""#,
            ),
            (
                r#"{"name":"Authorization","value_prefix":"Bearer"},{"name":"Authorization","value_prefix":"DPoP "}"#,
                r#"header "authorization" with "Bearer" or "DPoP ""#,
            ),
            (
                r#"{"name":"Sec-WebSocket-Protocol","value_prefix":"bearer, "},{"name":"sec-websocket-protocol","value_prefix":"jwt."}"#,
                r#"header "sec-websocket-protocol" with "bearer" or "jwt.""#,
            ),
        ] {
            let (places, warnings) = read(&format!(r#""from_headers":[{headers}]"#)).unwrap();
            assert_eq!((&*places, warnings), (expected, Vec::new()), "{headers}");
        }
        let (places, warnings) = read(r#""from_headers":[{"name":"Sec-WebSocket-Protocol"}]"#).unwrap();
        assert_eq!(places, r#"header "sec-websocket-protocol""#);
        assert!(warnings[0].starts_with("providers.p.from_headers[0]: no \"value_prefix\""), "{warnings:?}");
    }

    #[test]
    fn two_places_that_are_one_are_refused() {
        const ABOVE: &str = "providers.p.from_headers[1]: names a header again";
        const MARKER: &str = "providers.p.from_headers[0].value_prefix: is not the name of one subprotocol";
        let header = |name: &str, prefix: &str| format!(r#"{{"name":"{name}","value_prefix":"{prefix}"}}"#);
        let both = |one: (&str, &str), other: (&str, &str)| {
            [header(one.0, one.1), header(other.0, other.1)].join(",")
        };
        let protocols = "sec-websocket-protocol";
        for (headers, expected) in [
            (both(("a", ""), ("A", "")), ABOVE),
            (both(("a", "t="), ("a", "t=")), ABOVE),
            (both(("a", "Bearer "), ("a", "bearer ")), ABOVE),
            (both((protocols, "a"), (protocols, "a, ")), ABOVE),
            (
                both((protocols, "a"), ("sec_websocket_protocol", "b")),
                "[1]: is a name that some servers read as one above",
            ),
            (header(protocols, "a, b"), MARKER),
            (header(protocols, ","), MARKER),
            (header(protocols, "a b"), MARKER),
        ] {
            let said = read(&format!(r#""from_headers":[{headers}]"#)).unwrap_err();
            assert!(said.contains(expected), "{headers}: {said}");
        }
    }
}

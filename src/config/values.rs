//! Readers of values that several blocks of the configuration have: times, secrets, HTTP endpoints, header names, paths of claims.

use std::time::Duration;

use super::Variables;
use super::fields::{Fields, Item, variable};
use crate::fetch::{Endpoint, SecretValue};
use crate::request::same_header;
use crate::token::{ClaimPath, is_token_byte};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(super) const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Fields for requests to a key endpoint that asks for credentials.
pub(super) fn request_headers(
    item: &Item<'_>,
    environment: Variables<'_>,
) -> Option<Vec<(String, SecretValue)>> {
    let mut headers = Vec::new();
    for item in item.list()? {
        let Some(mut fields) = item.fields() else { continue };
        let name = fields.required("name", "name the header").and_then(|item| written_header(&item));
        let value = fields.required("environment_variable", "name the variable that holds the value");
        fields.finish();
        let Some(named) = value else { continue };
        let Some(value) = variable(&named, environment) else { continue };
        if !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            named.error(
                "holds characters that a header cannot have; set it to printable ASCII characters only",
            );
        }
        headers.extend(name.map(|name| (name, SecretValue(value))));
    }
    Some(headers)
}

pub(super) fn endpoint(item: &Item<'_>) -> Option<Endpoint> {
    let mut fields = item.fields()?;
    let uri = fields.required("uri", "give the absolute URI");
    let cluster = fields
        .required("cluster", "name the Envoy cluster that reaches the host")
        .and_then(|item| item.text())
        .map(str::to_owned);
    let timeout = fields.duration("timeout", Duration::from_millis(1), MINUTE, Duration::from_secs(5));
    fields.finish();
    let uri = uri?;
    let Some((scheme, authority, path)) = uri.text().and_then(Endpoint::split) else {
        uri.error("must be absolute and plain: write https://host/path, without user or fragment");
        return None;
    };
    Some(Endpoint { scheme, authority, path, cluster: cluster?, timeout })
}

/// A header field name in lower case (RFC 9110 section 5.1).
pub(super) fn header_name(item: &Item<'_>) -> Option<String> {
    let name = item.text()?;
    if !name.bytes().all(is_token_byte) {
        item.error("is not a header name; write letters, digits and \"-\" alone, such as x-user");
        return None;
    }
    Some(name.to_ascii_lowercase())
}

/// The name of a header to write.
pub(super) fn written_header(item: &Item<'_>) -> Option<String> {
    let name = header_name(item)?;
    if NOT_WRITTEN.iter().any(|own| same_header(own.as_bytes(), name.as_bytes())) {
        item.error("is part of HTTP itself; choose a header of your own, such as x-user");
        return None;
    }
    Some(name)
}

/// Headers that carry the message itself; writing them from a claim would rewrite the request.
pub(super) const NOT_WRITTEN: &[&str] = &[
    "host",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "te",
    "upgrade",
    "trailer",
    "cookie",
];

/// Texts that a token's are compared with, none of them empty. Warns of what no token will equal.
pub(super) fn compared_texts(item: &Item<'_>) -> Option<Vec<String>> {
    let texts = item.texts()?;
    item.list_of_texts()?.iter().for_each(warn_of_literals);
    Some(texts)
}

/// Warns of a text that is compared literally and looks as if it was meant otherwise.
pub(super) fn warn_of_literals(item: &Item<'_>) {
    let text = item.json.as_str().unwrap_or_default();
    if text.trim() != text {
        item.warning(
            "begins or ends with a space or a line end, which is compared too; write it without (in YAML, `|` adds a line end and `|-` adds none)",
        );
    }
    if text.contains('*') {
        item.warning(
            "has a \"*\", which is compared literally and stands for no other text; write the whole value",
        );
    }
}

pub(super) fn paths(names: &[&str]) -> Vec<ClaimPath> {
    names.iter().map(|name| ClaimPath::parse(name)).collect()
}

pub(super) fn claim_paths(fields: &mut Fields<'_>, name: &'static str) -> Option<Vec<ClaimPath>> {
    let item = fields.get(name)?;
    let items = item.list()?;
    if items.is_empty() {
        item.error("must name at least one claim");
    }
    Some(items.iter().filter_map(claim_path).collect())
}

/// A claim's path: a text, or a list of names.
pub(super) fn claim_path(item: &Item<'_>) -> Option<ClaimPath> {
    if item.json.as_array().is_none() {
        return item.text().map(ClaimPath::parse);
    }
    let names = item.texts()?;
    if names.is_empty() {
        item.error("must name at least one member");
        return None;
    }
    Some(ClaimPath::of(names))
}

/// A secret of the environment.
pub(super) fn secret(item: &Item<'_>, environment: Variables<'_>) -> Option<SecretValue> {
    let mut fields = item.fields()?;
    let named = fields.required("environment_variable", "name the variable that holds the secret");
    fields.finish();
    let named = named?;
    let secret = variable(&named, environment)?;
    if secret.len() < 32 {
        named.error("holds fewer than 32 bytes; take 32 or more from a random source");
        return None;
    }
    Some(SecretValue(secret))
}

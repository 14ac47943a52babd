//! `cors`: the origins whose pages may read the gate's own answers.

use super::fields::Item;
use super::values::header_name;
use crate::proof::NONCE_FIELD;
use crate::response::Cors;

/// `has_nonces`: whether answers carry nonces of proofs.
pub(super) fn read(item: &Item<'_>, has_nonces: bool) -> Option<Cors> {
    let mut fields = item.fields()?;
    let origins = fields.required(
        "allow_origins",
        "name the origins whose pages may read answers, such as https://app.example",
    );
    let more = fields.get("expose_headers").and_then(|item| item.list()).unwrap_or_default();
    fields.finish();
    let origins_item = origins?;
    let origins = origins_item.list()?;
    if origins.is_empty() {
        origins_item.error("must name at least one origin; leave \"cors\" out for none");
    }
    let mut list: Vec<String> = Vec::new();
    for item in origins {
        match item.text().map(origin) {
            Some(Ok(origin)) if list.contains(&origin) => item.error("is named above already; remove it"),
            Some(Ok(origin)) => list.push(origin),
            Some(Err(message)) => item.error(message),
            None => {}
        }
    }
    let nonce = has_nonces.then(|| NONCE_FIELD.to_owned());
    let more: Vec<String> = nonce.into_iter().chain(more.iter().filter_map(header_name)).collect();
    Some(Cors::new(list, &more))
}

/// An origin as browsers write it (RFC 6454 section 6.1): in lower case, without the usual port.
fn origin(text: &str) -> Result<String, &'static str> {
    if text.contains('*') {
        return Err("is not one origin; write each one, such as https://app.example");
    }
    let text = text.to_ascii_lowercase();
    let Some((scheme, host)) = text.split_once("://") else {
        return Err("has no scheme; write scheme, host and port, such as https://app.example");
    };
    if host.contains(['/', '?', '#']) {
        return Err("has a path; write scheme, host and port alone, such as https://app.example");
    }
    let usual = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => "",
    };
    let host = host.strip_suffix(usual).unwrap_or(host);
    let (name, port) = match host.rsplit_once(':') {
        // A colon within brackets is of an IPv6 address.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let named = match address {
        Some(address) => !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'),
        None => !name.is_empty() && name.bytes().all(is_host),
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    let begins = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if !begins || !scheme.bytes().all(is_scheme) || !named || !port.is_none_or(is_port) {
        return Err(
            "is not an origin; write scheme, host and port as browsers do, such as https://app.example or http://localhost:3000 (letters beyond ASCII in their xn-- form)",
        );
    }
    Ok([scheme, "://", host].concat())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    /// What is said of a configuration with this `cors`, or the origins that it lists.
    fn read(cors: &str) -> Result<String, String> {
        let text = format!(
            r#"{{"providers":{{"p":{{"issuer":"i","audiences":["a"],"local_jwks":{{"inline":{{"keys":[{{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}}]}}}}}}}},"rules":[],"cors":{cors}}}"#
        );
        match Config::parse(text.as_bytes(), &|_| None) {
            Ok(config) => Ok(format!("{:?}", config.cors)),
            Err(problems) => Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        }
    }

    #[test]
    fn an_origin_is_read_as_browsers_write_it() {
        for (written, expected) in [
            ("https://app.example", "https://app.example"),
            ("HTTPS://App.Example", "https://app.example"),
            ("https://app.example:443", "https://app.example"),
            ("http://app.example:80", "http://app.example"),
            ("https://app.example:80", "https://app.example:80"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:5173", "http://[::1]:5173"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]"),
            ("https://xn--caf-dma.example", "https://xn--caf-dma.example"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
        ] {
            let read = read(&format!(r#"{{"allow_origins":["{written}"]}}"#)).unwrap();
            assert!(read.contains(&format!("origin: \"{expected}\"")), "{written}: {read}");
        }
    }

    #[test]
    fn what_is_no_list_of_origins_is_refused_with_what_to_write() {
        for (cors, expected) in [
            ("{}", "cors.allow_origins: is missing; name the origins"),
            (r#"{"allow_origins":[]}"#, "cors.allow_origins: must name at least one origin"),
            (r#"{"allow_origins":"https://a"}"#, "cors.allow_origins: expected a list"),
            (r#"{"allow_origins":["*"]}"#, "cors.allow_origins[0]: is not one origin; write each one"),
            (r#"{"allow_origins":["https://*.example"]}"#, "cors.allow_origins[0]: is not one origin"),
            (
                r#"{"allow_origins":["app.example"]}"#,
                "cors.allow_origins[0]: has no scheme; write scheme, host",
            ),
            (r#"{"allow_origins":["null"]}"#, "cors.allow_origins[0]: has no scheme"),
            (r#"{"allow_origins":["//app.example"]}"#, "cors.allow_origins[0]: has no scheme"),
            (r#"{"allow_origins":["https://a/"]}"#, "cors.allow_origins[0]: has a path; write scheme, host"),
            (r#"{"allow_origins":["https://a/x"]}"#, "cors.allow_origins[0]: has a path"),
            (r#"{"allow_origins":["https://a?x"]}"#, "cors.allow_origins[0]: has a path"),
            (r#"{"allow_origins":["https://u@a"]}"#, "cors.allow_origins[0]: is not an origin"),
            (r#"{"allow_origins":["https://"]}"#, "cors.allow_origins[0]: is not an origin"),
            (r#"{"allow_origins":["https://a:"]}"#, "cors.allow_origins[0]: is not an origin"),
            (r#"{"allow_origins":["https://a:0"]}"#, "cors.allow_origins[0]: is not an origin"),
            (r#"{"allow_origins":["https://a:65536"]}"#, "cors.allow_origins[0]: is not an origin"),
            (r#"{"allow_origins":["https://a:+1"]}"#, "cors.allow_origins[0]: is not an origin"),
            (r#"{"allow_origins":["https://café.example"]}"#, "cors.allow_origins[0]: is not an origin"),
            (r#"{"allow_origins":["1https://a"]}"#, "cors.allow_origins[0]: is not an origin"),
            (r#"{"allow_origins":["https://a\r\nx: y"]}"#, "cors.allow_origins[0]: is not an origin"),
            (r#"{"allow_origins":["https://a b"]}"#, "cors.allow_origins[0]: is not an origin"),
            (r#"{"allow_origins":["https://a","https://A:443"]}"#, "cors.allow_origins[1]: is named above"),
            (
                r#"{"allow_origins":["https://a"],"expose_headers":["a b"]}"#,
                "cors.expose_headers[0]: is not a header",
            ),
            (r#"{"allow_origins":["https://a"],"max_age":1}"#, "cors.max_age: unknown field"),
        ] {
            let said = read(cors).unwrap_err();
            assert!(said.contains(expected), "{cors}: {said}");
        }
        assert!(read("{}").is_err() && read("null").is_err() && read("[]").is_err());
    }
}

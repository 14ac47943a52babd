//! Which fields are those of Envoy's `jwt_authn`, and how protobuf's JSON reads them.
//!
//! Configurations are generated and pasted: `null` for a field that is left out, one value for a list of one, a
//! number as text or as `60.0`, an `@type` beside the fields. Envoy reads all of that, so it is read here too, in the
//! fields that are Envoy's. The fields of this filter itself are read strictly. A table lists the fields of a message
//! that has both; what stands below a field of Envoy's is Envoy's as well.

use crate::json::{self, Json, Number};

/// `JwtAuthentication`: the configuration as a whole.
pub(super) const FILTER: &[&str] = &[
    "providers",
    "rules",
    "requirement_map",
    "filter_state_rules",
    "bypass_cors_preflight",
    "strip_failure_response",
    "stat_prefix",
];

/// `JwtProvider`.
pub(super) const PROVIDER: &[&str] = &[
    "issuer",
    "audiences",
    "subjects",
    "require_expiration",
    "max_lifetime",
    "clock_skew_seconds",
    "remote_jwks",
    "local_jwks",
    "from_headers",
    "from_params",
    "from_cookies",
    "forward",
    "forward_payload_header",
    "pad_forward_payload_header",
    "claim_to_headers",
    "clear_route_cache",
    "jwt_cache_config",
    "payload_in_metadata",
    "normalize_payload_in_metadata",
    "header_in_metadata",
    "failed_status_in_metadata",
];

/// `RemoteJwks`.
pub(super) const REMOTE_JWKS: &[&str] = &["http_uri", "cache_duration", "async_fetch", "retry_policy"];

/// `DataSource`.
pub(super) const LOCAL_JWKS: &[&str] =
    &["filename", "watched_directory", "inline_bytes", "inline_string", "environment_variable"];

/// `JwtClaimToHeader`.
pub(super) const CLAIM_TO_HEADER: &[&str] = &["header_name", "claim_name"];

/// `RequirementRule`.
pub(super) const RULE: &[&str] = &["match", "requires", "requirement_name"];

/// `RouteMatch`.
pub(super) const ROUTE_MATCH: &[&str] = &[
    "prefix",
    "path",
    "safe_regex",
    "path_separated_prefix",
    "path_match_policy",
    "connect_matcher",
    "case_sensitive",
    "headers",
    "query_parameters",
    "grpc",
    "runtime_fraction",
    "tls_context",
    "dynamic_metadata",
    "filter_state",
    "cookies",
];

/// Whether a field of Envoy's that is `null` would let more through than the operator may think: an error, where
/// Envoy takes it as absent.
pub(super) fn opens(name: &str) -> bool {
    matches!(name, "requires" | "requirement_name" | "issuer" | "audiences")
}

/// Whether a field narrows what passes or which requests a rule is for: `null` is absent, with a warning.
pub(super) fn narrows(name: &str) -> bool {
    matches!(name, "subjects" | "max_lifetime" | "headers" | "query_parameters" | "grpc")
}

/// The integer that a number is, or a text that holds one: `60`, `60.0`, `6e1`, `"60"`.
pub(super) fn integer(value: &Json) -> Option<i64> {
    let number = match value {
        Json::Number(number) => *number,
        Json::String(text) if !text.bytes().any(|byte| byte.is_ascii_whitespace()) => {
            match json::parse(text.as_bytes()) {
                Ok(Json::Number(number)) => number,
                _ => return None,
            }
        }
        _ => return None,
    };
    match number {
        Number::Unsigned(whole) => i64::try_from(whole).ok(),
        Number::Negative(whole) => Some(whole),
        Number::Float(value) => whole(value),
    }
}

/// The integer that a double is, as far as doubles hold all of them.
pub(super) fn whole(value: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_may_be_written_as_protobuf_writes_it() {
        for (text, expected) in [
            ("60", Some(60)),
            ("60.0", Some(60)),
            ("6e1", Some(60)),
            ("-7", Some(-7)),
            (r#""60""#, Some(60)),
            (r#""60.0""#, Some(60)),
            (r#""-7""#, Some(-7)),
            ("60.5", None),
            ("1e300", None),
            ("18446744073709551615", None),
            (r#""60.5""#, None),
            (r#"" 60""#, None),
            (r#""""#, None),
            (r#""0x3c""#, None),
            (r#""+60""#, None),
            (r#""true""#, None),
            ("true", None),
            ("null", None),
            ("[60]", None),
        ] {
            let value = json::parse(text.as_bytes()).unwrap();
            assert_eq!(integer(&value), expected, "{text}");
        }
    }
}

//! Configurations of `jwt_authn` as they are generated and pasted.

use super::*;

const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

fn parse(text: &str) -> Result<Config, Vec<String>> {
    let environment = |name: &str| (name == "KEYS").then(|| KEYS.to_owned());
    Config::parse(text.as_bytes(), &environment)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

/// A configuration with one provider, which has these fields, and more fields of the whole.
fn with(provider: &str, more: &str) -> String {
    let provider = if provider.is_empty() { String::new() } else { format!(",{provider}") };
    format!(r#"{{"providers":{{"p":{{"local_jwks":{{"inline":{KEYS}}}{provider}}}}},{more}}}"#)
}

const AUDIENCE: &str = r#""issuer":"https://i","audiences":["a"]"#;
const RULES: &str = r#""rules":[{"match":{"prefix":"/"},"requires":{"provider_name":"p"}}]"#;

fn of_provider(fields: &str) -> String {
    with(&format!("{AUDIENCE}{}{fields}", if fields.is_empty() { "" } else { "," }), RULES)
}

fn of_rules(rules: &str) -> String {
    with(AUDIENCE, rules)
}

/// All that a configuration says, but for its warnings.
fn meaning(text: &str) -> String {
    let config = parse(text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    format!("{:?}", Config { warnings: Vec::new(), ..config })
}

#[test]
fn what_protobuf_takes_means_the_same_as_what_is_written_plainly() {
    let rule = |rule: &str| of_rules(&format!(r#""rules":[{{{rule},"requires":{{"provider_name":"p"}}}}]"#));
    let matches = |fields: &str| rule(&format!(r#""match":{{"prefix":"/"{fields}}}"#));
    let requires =
        |text: &str| of_rules(&format!(r#""rules":[{{"match":{{"prefix":"/"}},"requires":{text}}}]"#));
    let remote = |fields: &str| {
        let text =
            r#""http_uri":{"uri":"https://i/k","cluster":"c","timeout":TIMEOUT},"cache_duration":CACHE"#;
        let text = text.replace("TIMEOUT", fields.split(';').next().unwrap());
        let text = text.replace("CACHE", fields.split(';').nth(1).unwrap());
        format!(r#"{{"providers":{{"p":{{{AUDIENCE},"remote_jwks":{{{text}}}}}}},{RULES}}}"#)
    };
    let any = r#"{"requires_any":{"requirements":[{"provider_name":"p"},{"allow_missing":{}}]}}"#;
    for (pasted, plain) in [
        // One value for a list of one.
        (with(r#""issuer":"https://i","audiences":"a""#, RULES), of_provider("")),
        (
            of_provider(r#""from_headers":{"name":"x","value_prefix":"Bearer "}"#),
            of_provider(r#""from_headers":[{"name":"x","value_prefix":"Bearer "}]"#),
        ),
        (of_provider(r#""from_params":"t""#), of_provider(r#""from_params":["t"]"#)),
        (of_provider(r#""fromCookies":"t""#), of_provider(r#""from_cookies":["t"]"#)),
        (
            of_provider(r#""claim_to_headers":{"header_name":"x","claim_name":"sub"}"#),
            of_provider(r#""claim_to_headers":[{"header_name":"x","claim_name":"sub"}]"#),
        ),
        (of_rules(r#""rules":{"match":{"prefix":"/"},"requires":{"provider_name":"p"}}"#), of_provider("")),
        (matches(r#","headers":{"name":"x"}"#), matches(r#","headers":[{"name":"x"}]"#)),
        (matches(r#","query_parameters":{"name":"x"}"#), matches(r#","query_parameters":[{"name":"x"}]"#)),
        (
            requires(r#"{"provider_and_audiences":{"provider_name":"p","audiences":"b"}}"#),
            requires(r#"{"provider_and_audiences":{"provider_name":"p","audiences":["b"]}}"#),
        ),
        // Numbers as text, and as doubles.
        (of_provider(r#""clock_skew_seconds":"30""#), of_provider(r#""clock_skew_seconds":30"#)),
        (of_provider(r#""clockSkewSeconds":30.0"#), of_provider(r#""clock_skew_seconds":30"#)),
        (of_provider(r#""clock_skew_seconds":"30.0""#), of_provider(r#""clock_skew_seconds":30"#)),
        (
            of_provider(r#""jwt_cache_config":{"jwt_cache_size":"7","jwt_max_token_size":8e3}"#),
            of_provider(r#""jwt_cache_config":{"jwt_cache_size":7,"jwt_max_token_size":8000}"#),
        ),
        (
            matches(r#","headers":[{"name":"x","range_match":{"start":"-1","end":3.0}}]"#),
            matches(r#","headers":[{"name":"x","range_match":{"start":-1,"end":3}}]"#),
        ),
        (remote(r#"{"seconds":"5","nanos":5e8};"600s""#), remote(r#""5.5s";{"seconds":600.0}"#)),
        (
            of_provider(r#""max_lifetime":"1.500s""#),
            of_provider(r#""max_lifetime":{"seconds":1,"nanos":500000000}"#),
        ),
        // Null for a field that is left out.
        (
            of_provider(
                r#""subjects":null,"max_lifetime":null,"clock_skew_seconds":null,"forward":null,"remote_jwks":null,"from_headers":null,"from_cookies":null,"from_params":null,"claim_to_headers":null,"forward_payload_header":null,"payload_in_metadata":null,"header_in_metadata":null,"jwt_cache_config":null,"require_expiration":null,"clear_route_cache":null"#,
            ),
            of_provider(""),
        ),
        (remote(r#""5s";null"#), remote(r#"{"seconds":5};"600s""#)),
        (
            with(
                AUDIENCE,
                &format!(
                    r#"{RULES},"requirement_map":null,"bypass_cors_preflight":null,"stat_prefix":null,"filter_state_rules":null"#
                ),
            ),
            of_provider(""),
        ),
        (
            matches(
                r#","path":null,"safe_regex":null,"headers":null,"query_parameters":null,"case_sensitive":null,"grpc":null,"runtime_fraction":null"#,
            ),
            matches(""),
        ),
        (
            matches(
                r#","headers":[{"name":"x","exact_match":null,"string_match":{"exact":"a","prefix":null},"invert_match":null}]"#,
            ),
            matches(r#","headers":[{"name":"x","string_match":{"exact":"a"}}]"#),
        ),
        (requires(r#"{"provider_name":"p","requires_any":null,"allow_missing":null}"#), of_provider("")),
        (
            of_rules(
                r#""rules":[{"match":{"prefix":"/"},"requires":{"provider_name":"p"},"requirement_name":null}]"#,
            ),
            of_provider(""),
        ),
        (requires(&any.replace("{}", r#"{"@type":"x"}"#)), requires(any)),
        (
            of_provider(r#""payload_in_metadata":"","header_in_metadata":"","failed_status_in_metadata":"""#),
            of_provider(""),
        ),
        (matches(r#","case_sensitive":{"value":true}"#), matches("")),
        (matches(r#","case_sensitive":{}"#), matches(r#","case_sensitive":false"#)),
        // The type of a message beside its fields.
        (
            format!(
                r#"{{"@type":"type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",{}"#,
                &of_provider("")[1..]
            ),
            of_provider(""),
        ),
        (
            of_provider(
                r#""@type":"type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtProvider""#,
            ),
            of_provider(""),
        ),
    ] {
        assert_eq!(meaning(&pasted), meaning(&plain), "{pasted}");
    }
}

#[test]
fn a_key_set_in_base64_is_read_in_either_alphabet_with_padding_or_without() {
    // "~" and "?" make the letters in which the alphabets differ.
    let text = KEYS.replacen("{\"keys\"", "{\"x\":\"~~~???>>>\",\"keys\"", 1);
    use base64::Engine as _;
    use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
    let forms = [
        BASE64_STANDARD.encode(&text),
        BASE64_STANDARD_NO_PAD.encode(&text),
        BASE64_URL_SAFE.encode(&text),
        BASE64_URL_SAFE_NO_PAD.encode(&text),
    ];
    assert!(forms[0].contains(['+', '/']) && forms[2].contains(['-', '_']));
    let config =
        |value: &str| format!(r#"{{"providers":{{"p":{{{AUDIENCE},"local_jwks":{{{value}}}}}}},{RULES}}}"#);
    for form in forms {
        let read = parse(&config(&format!(r#""inlineBytes":"{form}""#))).unwrap();
        let Keys::Local(set) = &read.providers[0].keys else { panic!("not local") };
        assert_eq!(set.keys().len(), 1);
    }
    for (value, expected) in [
        (r#""inline_bytes":"%%%""#, "inline_bytes: is not base64; write"),
        (r#""inline_bytes":"""#, "inline_bytes: must not be empty"),
        (r#""inline_bytes":7"#, "inline_bytes: expected a string"),
        (r#""inline_bytes":"e30=""#, "inline_bytes: not a key set"),
        (r#""inline_bytes":"e30=","inline_string":"{}""#, ": needs exactly one of"),
        (r#""watched_directory":{"path":"/x"}"#, "watched_directory: cannot be done in a wasm filter"),
    ] {
        let errors = parse(&config(value)).unwrap_err();
        let expected =
            format!("providers.p.local_jwks{}{expected}", if expected.starts_with(':') { "" } else { "." });
        assert!(errors.iter().any(|error| error.starts_with(&expected)), "{value}: {errors:?}");
    }
}

/// What is not `jwt_authn`'s own is read strictly, and so is what would open something.
#[test]
fn the_other_fields_and_what_would_open_something_are_read_strictly() {
    let rule = |fields: &str| {
        of_rules(&format!(
            r#""rules":[{{"match":{{"prefix":"/"}},"requires":{{"provider_name":"p"}},{fields}}}]"#
        ))
    };
    for (text, expected) in [
        (
            of_provider(r#""forward":"true""#),
            "providers.p.forward: expected true or false, not a string; write true or false, without quotes",
        ),
        (
            of_provider(r#""require_expiration":"false""#),
            "providers.p.require_expiration: expected true or false",
        ),
        (of_provider(r#""forward":1"#), "providers.p.forward: expected true or false"),
        (
            of_provider(r#""clock_skew_seconds":true"#),
            "providers.p.clock_skew_seconds: expected a whole number",
        ),
        (
            of_provider(r#""clock_skew_seconds":"""#),
            "providers.p.clock_skew_seconds: must be a whole number from 0 to 300",
        ),
        (
            of_provider(r#""clock_skew_seconds":"60.5""#),
            "providers.p.clock_skew_seconds: must be a whole number",
        ),
        (
            of_provider(r#""algorithms":"RS256""#),
            "providers.p.algorithms: expected a list, not a string; write",
        ),
        (of_provider(r#""algorithms":null"#), "providers.p.algorithms: expected a list; leave the field out"),
        (of_provider(r#""audience_claims":null"#), "providers.p.audience_claims: expected a list; leave"),
        (of_provider(r#""required_claims":"sub""#), "providers.p.required_claims: expected a list"),
        (
            of_provider(r#""max_token_size":"8192""#),
            "providers.p.max_token_size: expected a whole number, not a string; write it without quotes",
        ),
        (of_provider(r#""max_token_size":8192.0"#), "providers.p.max_token_size: must be a whole number"),
        (of_provider(r#""csrf":{"@type":"x"}"#), "providers.p.csrf[\"@type\"]: unknown field"),
        (
            of_provider(r#""claim_to_headers":[{"header_name":"x","claim_name":"a","list_format":null}]"#),
            "providers.p.claim_to_headers[0].list_format: expected a string; leave",
        ),
        (of_provider(r#""from_cookies":[null]"#), "providers.p.from_cookies[0]: expected a string"),
        (with(r#""issuer":null,"audiences":["a"]"#, RULES), "providers.p.issuer: expected a string"),
        (with(r#""issuer":"https://i","audiences":null"#, RULES), "providers.p.audiences: expected a list"),
        (rule(r#""authorize":null"#), "rules[0].authorize: expected an object; leave"),
        (rule(r#""name":null"#), "rules[0].name: expected a string; leave"),
        (
            of_rules(r#""rules":[{"match":{"prefix":"/","methods":"GET"}}]"#),
            "rules[0].match.methods: expected a list",
        ),
        (
            of_rules(r#""rules":[{"match":{"prefix":"/","methods":null}}]"#),
            "rules[0].match.methods: expected a list; leave",
        ),
        (
            of_rules(r#""rules":[{"match":{"prefix":"/","hosts":"a"}}]"#),
            "rules[0].match.hosts: expected a list",
        ),
        (
            of_rules(r#""rules":[{"match":{"prefix":"/"},"requires":null}]"#),
            "rules[0].requires: expected an object",
        ),
        (
            of_rules(r#""rules":[{"match":{"prefix":"/"},"requirement_name":null}]"#),
            "rules[0].requirement_name: expected a string",
        ),
        (
            of_rules(r#""rules":[{"match":{"prefix":"/"},"requires":{"provider_name":null}}]"#),
            "rules[0].requires: is empty",
        ),
        (
            of_rules(r#""rules":[{"match":null,"requires":{"provider_name":"p"}}]"#),
            "rules[0].match: is missing",
        ),
        (of_rules(r#""rules":null"#), "rules: is missing"),
        (of_rules(r#""rules":null,"requirement_map":{}"#), "rules: is missing"),
        (of_rules(r#""requirement_map":{"a":null}"#), "requirement_map.a: expected an object"),
        (of_rules(r#""requirement_map":{"a":{}}"#), "requirement_map.a: is empty"),
        (
            of_rules(r#""requirement_map":{"a":{"provider_name":"p"}},"route_rules":false"#),
            "rules: is missing",
        ),
        (
            of_rules(r#""route_rules":{"allow_disabled":true}"#),
            "route_rules.allow_disabled: unknown field; did you mean \"allow_disable\"?",
        ),
        (
            of_rules(r#""route_rules":{"allow_disable":"true"}"#),
            "route_rules.allow_disable: expected true or false",
        ),
        (
            of_rules(r#""route_rules":[]"#),
            "route_rules: expected true or false, not a list; or write { \"allow_disable\": true }",
        ),
        (of_rules(r#""instance":"""#), "instance: must not be empty"),
        (of_rules(r#""instance":"a\nb""#), "instance: must have at most 128 bytes"),
        (of_rules(r#""stat_prefix":"x""#), "stat_prefix: cannot be done in a wasm filter; use \"instance\""),
        (
            format!(r#"{{"typed_config":{}}}"#, of_provider("")),
            "typed_config: is a wrapper around the configuration",
        ),
        (
            "providers: {}\n".to_owned(),
            "configuration: the plugin configuration is neither JSON nor a google.protobuf.Struct; write it as JSON",
        ),
        ("\"{}\"".to_owned(), "configuration: expected an object, not a string; write its fields"),
    ] {
        let errors = parse(&text).expect_err(&text);
        assert!(errors.iter().any(|error| error.starts_with(expected)), "{text}\nsaid {errors:#?}");
    }
}

#[test]
fn what_is_compared_to_the_letter_and_looks_otherwise_is_warned_of() {
    let matches = |text: &str| {
        of_rules(&format!(r#""rules":[{{"match":{{{text}}},"requires":{{"provider_name":"p"}}}}]"#))
    };
    let issuer = |text: &str| with(&format!(r#""issuer":{text},"audiences":["a"]"#), RULES);
    let edge = "begins or ends with a space or a line end";
    let letter = "which is compared literally";
    for (text, path, expected) in [
        (issuer(r#""https://i\n""#), "providers.p.issuer", edge),
        (issuer(r#"" https://i""#), "providers.p.issuer", edge),
        (issuer(r#"["https://i","https://i/\t"]"#), "providers.p.issuer[1]", edge),
        (issuer(r#""https://*.example""#), "providers.p.issuer", letter),
        (with(r#""issuer":"https://i","audiences":["a","b\n"]"#, RULES), "providers.p.audiences[1]", edge),
        (with(r#""issuer":"https://i","audiences":"*""#, RULES), "providers.p.audiences", letter),
        (matches(r#""prefix":"/api/*""#), "rules[0].match.prefix", "path_template"),
        (matches(r#""path":"/admin*""#), "rules[0].match.path", "path_template"),
        (matches(r#""path":"/users/{id}""#), "rules[0].match.path", "path_template"),
        (
            matches(r#""path_separated_prefix":"/api/**""#),
            "rules[0].match.path_separated_prefix",
            "path_template",
        ),
        (matches(r#""prefix":"/api/[a-z]+""#), "rules[0].match.prefix", "safe_regex"),
        (matches(r#""safe_regex":{"regex":"/api/*"}"#), "rules[0].match.safe_regex.regex", "/.*"),
        (matches(r#""prefix":"/","headers":null"#), "rules[0].match.headers", "is null"),
        (of_provider(r#""subjects":null"#), "providers.p.subjects", "is null"),
        (
            of_rules(r#""requirement_map":{"staff":{"provider_name":"p"}},"unmatched":"allow""#),
            "unmatched",
            "passes without a token",
        ),
        (
            of_rules(&format!(r#"{RULES},"route_rules":{{"allow_disable":true}}"#)),
            "route_rules",
            "without a token",
        ),
    ] {
        let config = parse(&text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
        let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
        let start = format!("{path}: ");
        let found = warnings.iter().any(|text| text.starts_with(&start) && text.contains(expected));
        assert!(found && warnings.len() == 1, "{text}: {warnings:?}");
    }
    for text in [
        issuer(r#""https://i/a b""#),
        of_rules(r#""requirement_map":{"staff":{"provider_name":"p"}}"#),
        matches(r#""path_template":"/api/**""#),
        matches(r#""safe_regex":{"regex":"/api/.*"}"#),
        matches(r#""prefix":"/odata/$metadata(1)""#),
    ] {
        let warnings = parse(&text).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).warnings;
        assert!(warnings.is_empty(), "{text}: {warnings:?}");
    }
}

#[test]
fn a_plugin_is_named_in_its_metrics_as_the_operator_wrote() {
    assert_eq!(parse(&of_provider("")).unwrap().instance, None);
    let named = of_rules(&format!(r#"{RULES},"instance":"orders eu""#));
    assert_eq!(parse(&named).unwrap().instance.as_deref(), Some("orders eu"));
    assert_eq!(crate::metrics::Metrics::instance_suffix("orders eu.1"), ".instance.orders_eu_1");
    // Of a configuration that cannot be used, too.
    assert_eq!(Config::instance_of(br#"{"instance":"a","ruls":1}"#).as_deref(), Some("a"));
    assert_eq!(Config::instance_of(br#"{"instance":7}"#), None);
    assert_eq!(Config::instance_of(b"["), None);
}

use serde_json::json;

use super::*;

fn variables(name: &str) -> Option<String> {
    match name {
        "GOOD" => Some("0123456789abcdef0123456789abcdef".to_owned()),
        "SHORT" => Some("short".to_owned()),
        "BLANK" => Some("with a blank".to_owned()),
        _ => None,
    }
}

fn parse(value: &Value) -> Result<Config, Vec<Problem>> {
    Config::parse(&value.to_string(), &variables)
}

fn good() -> Value {
    json!({
        "listen": "127.0.0.1:8090",
        "database": "receive.redb",
        "keep": "3600s",
        "admin": { "token": { "environment_variable": "GOOD" } },
        "issuers": [
            { "issuer": "https://a/", "audiences": ["web"], "accept": ["backchannel_logout", "events"],
              "remote_jwks": { "http_uri": { "uri": "https://a/jwks", "cluster": "a", "timeout": "2s" }, "cache_duration": "60s" } },
            { "issuer": "https://b/", "audiences": ["web"], "discovery": {} },
            { "issuer": "https://c/", "audiences": ["web"], "discovery": { "uri": "https://c/meta", "jwks": { "host": "keys.c" } } },
            { "issuer": "http://127.0.0.1:1/", "audiences": ["web"], "remote_jwks": { "uri": "http://127.0.0.1:1/jwks" } },
            { "issuer": "http://idp:8081", "insecure_http": true, "audiences": ["web"], "discovery": {} },
        ],
        "ssf_poll": [
            { "endpoint": "https://a/poll", "issuer": "https://a/", "interval": "5s", "token": { "environment_variable": "SHORT" } },
            { "endpoint": "https://b/poll", "client_credentials": {
                "token_endpoint": "https://b/token", "client_id": "c", "client_secret": { "environment_variable": "GOOD" }, "scope": "s",
            } },
        ],
    })
}

#[test]
fn a_good_configuration_is_read_whole_in_json_and_in_yaml() {
    let config = parse(&good()).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!((config.issuers.len(), config.polls.len(), config.keep.as_secs()), (5, 2, 3600));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let yaml = "
listen: '[::1]:8090'
database: /var/lib/receive.redb
issuers:
  - issuer: https://a/
    discovery: {}
";
    let config = Config::parse(yaml, &variables).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(config.keep.as_secs(), 86_400);
    assert_eq!(config.warnings.first().map(|warning| warning.path.as_str()), Some("issuers[0].audiences"));
}

/// Puts a value at a path of names and numbers; null takes it away.
fn with(path: &str, value: Value) -> Value {
    let mut all = good();
    let mut place = &mut all;
    let steps: Vec<&str> = path.split('.').collect();
    let (last, steps) = steps.split_last().unwrap();
    for step in steps {
        place = match step.parse::<usize>() {
            Ok(at) => &mut place[at],
            Err(_) => &mut place[*step],
        };
    }
    match value {
        Value::Null => drop(place.as_object_mut().unwrap().remove(*last)),
        value => place[*last] = value,
    }
    all
}

#[test]
fn what_is_wrong_is_reported_with_its_path_and_what_to_write() {
    let cases = [
        ("listen", Value::Null, "listen: is missing"),
        ("listen", json!("here"), "listen: must be an IP address and a port"),
        ("database", Value::Null, "database: is missing"),
        ("database", json!(7), "database: must be a text"),
        ("keep", json!("1h"), "keep: must be a duration in seconds from 1s"),
        ("keep", json!("0s"), "keep: must be a duration"),
        ("kepp", json!("1s"), "kepp: unknown field; known here: \"listen\""),
        ("admin", json!({}), "admin.token: is missing"),
        ("admin.token", json!("secret"), "admin.token: must be an object"),
        (
            "admin.token.environment_variable",
            json!("NONE"),
            "admin.token.environment_variable: this environment variable is not set",
        ),
        (
            "admin.token.environment_variable",
            json!("BLANK"),
            "admin.token.environment_variable: must hold printable",
        ),
        ("issuers", json!({}), "issuers: must be a list"),
        ("issuers.0.issuer", Value::Null, "issuers[0].issuer: is missing"),
        ("issuers.0.issuer", json!("https://b/"), "issuers[1]: has the \"issuer\" of another one"),
        ("issuers.0.audiences", json!([]), "issuers[0].audiences: must not be empty"),
        ("issuers.0.audiences", json!("web"), "issuers[0].audiences: must be a list"),
        (
            "issuers.0.accept",
            json!(["all"]),
            "issuers[0].accept[0]: must be \"backchannel_logout\" or \"events\"",
        ),
        ("issuers.0.accept", json!([]), "issuers[0].accept: must not be empty"),
        ("issuers.0.remote_jwks", Value::Null, "issuers[0]: has no keys"),
        ("issuers.0.discovery", json!({}), "issuers[0]: has keys from remote_jwks and discovery"),
        (
            "issuers.0.remote_jwks.http_uri.uri",
            json!("http://a/jwks"),
            "issuers[0].remote_jwks: must be https",
        ),
        (
            "issuers.0.remote_jwks.http_uri.uri",
            json!("http://127.0.0.1.evil/jwks"),
            "issuers[0].remote_jwks: must be https",
        ),
        ("issuers.0.remote_jwks.http_uri.uri", json!("ftp://a"), "issuers[0].remote_jwks: must be absolute"),
        ("issuers.0.remote_jwks.cache_duration", json!("never"), "issuers[0].remote_jwks.cache_duration: "),
        ("issuers.0.remote_jwks.what", json!(1), "issuers[0].remote_jwks.what: unknown field"),
        (
            "issuers.0.remote_jwks.uri",
            json!("https://a/"),
            "issuers[0].remote_jwks: has \"uri\" and \"http_uri\"",
        ),
        ("issuers.0.algorithms", json!(["HS256"]), "issuers[0].algorithms: names an HS algorithm"),
        ("issuers.0.forward", json!(true), "issuers[0].forward: unknown field"),
        ("issuers.4.insecure_http", Value::Null, "issuers[4].discovery: must be https"),
        ("ssf_poll.0.endpoint", Value::Null, "ssf_poll[0].endpoint: is missing"),
        ("ssf_poll.0.endpoint", json!("http://a/poll"), "ssf_poll[0].endpoint: must be https"),
        ("ssf_poll.0.issuer", json!("https://z/"), "ssf_poll[0].issuer: is none of \"issuers\""),
        ("ssf_poll.0.client_credentials", json!({}), "ssf_poll[0]: has \"token\" and \"client_credentials\""),
        ("ssf_poll.0.interval", json!("0s"), "ssf_poll[0].interval: must be a duration"),
        (
            "ssf_poll.1.client_credentials.client_secret",
            json!("x"),
            "ssf_poll[1].client_credentials.client_secret: must be an object",
        ),
        (
            "ssf_poll.1.client_credentials.token_endpoint",
            json!("http://b/"),
            "ssf_poll[1].client_credentials.token_endpoint: must be https",
        ),
    ];
    for (path, value, expected) in cases {
        let Err(problems) = parse(&with(path, value.clone())) else { panic!("{path}: {value} was taken") };
        let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert!(texts.iter().any(|text| text.starts_with(expected)), "{path}: {value}: {texts:?}");
    }
    for text in ["", "[", "[]", "7", "listen: a\nlisten: b\n"] {
        assert!(Config::parse(text, &variables).is_err(), "{text:?}");
    }
    let short = parse(&with("admin.token.environment_variable", json!("SHORT"))).unwrap_or_else(|_| panic!());
    assert_eq!(short.warnings.len(), 1);
}

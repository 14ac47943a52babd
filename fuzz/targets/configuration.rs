//! Any bytes as a plugin configuration, JSON or a protobuf `Struct`. Of what is read, the JSON and the
//! `Struct` of the same document must mean the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::{Config, Environment, Gate, Json, JsonNumber as Number, Outcome, Request, StreamId};
use portcullis_fuzz::{KEYS, now};
use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct};

fuzz_target!(|input: &[u8]| {
    let read = |bytes: &[u8]| {
        let environment = |name: &str| (name == "KEYS").then(|| KEYS.to_owned());
        Config::parse(bytes, &environment)
    };
    let config = read(input);
    if let Err(problems) = &config {
        assert!(!problems.is_empty());
    }
    let mut exact = true;
    if let Ok(Json::Object(members)) = portcullis::parse_json(input)
        && let Kind::StructValue(message) = kind(&Json::Object(members), &mut exact)
        && exact
        && !message.fields.is_empty()
    {
        let other = read(&message.encode_to_vec());
        assert_eq!(config.is_ok(), other.is_ok(), "{config:?} {other:?}");
    }
    let Ok(config) = config else { return };
    let protected = config.rules.iter().all(|rule| rule.requires.is_some());
    let mut gate = Gate::new(config, Environment::alone(1), now());
    gate.tick(now());
    for path in ["/", "/a/b", "/a?x"] {
        let fields: [(&[u8], &[u8]); 2] = [(b":method", b"GET"), (b":path", path.as_bytes())];
        let outcome = gate.decide(StreamId(1), &Request::new(&fields), now());
        let open = gate.config().unmatched == portcullis::Unmatched::Allow;
        assert!(open || !protected || matches!(outcome, Outcome::Deny(_)), "{outcome:?}");
    }
    while gate.next_effect().is_some() {}
});

/// The same value in a `Struct`; `exact` falls where a double cannot hold a number.
fn kind(json: &Json, exact: &mut bool) -> Kind {
    match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(*value),
        Json::Number(Number::Float(value)) => {
            // A Struct cannot tell 1.0 from 1.
            *exact &= value.fract() != 0.0;
            Kind::NumberValue(*value)
        }
        Json::Number(Number::Unsigned(value)) => {
            *exact &= *value < 1 << 53;
            Kind::NumberValue(*value as f64)
        }
        Json::Number(Number::Negative(value)) => {
            *exact &= *value > -(1 << 53);
            Kind::NumberValue(*value as f64)
        }
        Json::String(text) => Kind::StringValue(text.to_string()),
        Json::Array(items) => {
            let values = items.iter().map(|item| value(item, exact)).collect();
            Kind::ListValue(ListValue { values })
        }
        Json::Object(members) => {
            let fields =
                members.iter().map(|(name, member)| (name.to_owned(), value(member, exact))).collect();
            Kind::StructValue(Struct { fields })
        }
    }
}

fn value(json: &Json, exact: &mut bool) -> prost_types::Value {
    prost_types::Value { kind: Some(kind(json, exact)) }
}

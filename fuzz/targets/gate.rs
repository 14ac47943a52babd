//! Any header fields as requests to one gate, with its cache: none passes without a token that is good
//! for the rule, or a path that is public.
//!
//! The input is lines `name:value`, with a further colon before a pseudo-header's name; an empty line
//! ends a request. `{joe}` and `{ann}` stand for the two good tokens.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use portcullis::{
    Allow, Environment, FilterStateField, Gate, HeaderField as Field, Outcome, Request, StreamId,
};
use portcullis_fuzz::{JOE, ann, config, now};

thread_local! {
    static GATE: RefCell<Option<(Gate, String)>> = const { RefCell::new(None) };
}

fuzz_target!(|input: &[u8]| {
    GATE.with_borrow_mut(|gate| {
        let (gate, ann) =
            gate.get_or_insert_with(|| (Gate::new(config(), Environment::alone(1), now()), ann()));
        let mut owned: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for line in input.split(|byte| *byte == b'\n').chain([&b""[..]]) {
            if line.is_empty() {
                let fields: Vec<Field<'_>> =
                    owned.iter().map(|(name, value)| (&name[..], &value[..])).collect();
                let request = Request::new(&fields);
                match gate.decide(StreamId(1), &request, now()) {
                    Outcome::Allow(allow) => check(&allow, &fields, ann),
                    Outcome::Deny(refusal) => drop(format!("{refusal:?}")),
                    Outcome::Answer(_) => panic!("no resource is configured"),
                    Outcome::Wait => panic!("the keys are here"),
                }
                owned.clear();
                continue;
            }
            let from = usize::from(line[0] == b':');
            let end = line[from..].iter().position(|byte| *byte == b':').map_or(line.len(), |at| at + from);
            let value = line.get(end + 1..).unwrap_or_default();
            let value = replaced(&replaced(value, b"{joe}", JOE.as_bytes()), b"{ann}", ann.as_bytes());
            owned.push((line[..end].to_vec(), value));
        }
    });
});

fn check(allow: &Allow, fields: &[Field<'_>], ann: &str) {
    let named = |name: &str| -> Vec<&[u8]> {
        let same = |field: &&Field<'_>| field.0.eq_ignore_ascii_case(name.as_bytes());
        fields.iter().filter(same).map(|(_, value)| *value).collect()
    };
    assert_eq!(allow.state.get(FilterStateField::Decision), Some("allow"));
    match allow.state.get(FilterStateField::Rule) {
        Some("open") => {
            let target = named(":path")[0];
            let path = target.split(|byte| *byte == b'?').next().expect("a path");
            let bare = path.split(|byte| *byte == b';').next().expect("a path");
            assert_eq!(decoded(bare), b"/open");
        }
        Some("ann") => {
            assert_eq!(named("x-token"), [ann.as_bytes()]);
            assert!(allow.remove.iter().any(|name| name.eq_ignore_ascii_case(b"x-token")));
        }
        Some("all") => {
            let values = named("authorization");
            let [value] = values[..] else { panic!("{} tokens", values.len()) };
            let (scheme, token) = value.split_at(value.len() - JOE.len());
            assert_eq!(token, JOE.as_bytes());
            assert!(
                scheme.to_ascii_lowercase().starts_with(b"bearer ") && scheme[7..].iter().all(|b| *b == b' ')
            );
            assert!(allow.remove.iter().any(|name| name.eq_ignore_ascii_case(b"authorization")));
        }
        other => panic!("the rule {other:?}"),
    }
    // Nobody but the filter writes these.
    for (name, _) in fields {
        let fold = |b: &u8| if b.is_ascii_alphanumeric() { b.to_ascii_lowercase() } else { b'-' };
        let folded: Vec<u8> = name.iter().map(fold).collect();
        if [&b"x-user"[..], b"x-list", b"x-payload"].contains(&&folded[..]) {
            assert!(allow.remove.iter().any(|gone| **gone == **name));
        }
    }
}

fn replaced(text: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    let Some(at) = text.windows(what.len()).position(|window| window == what) else { return text.to_vec() };
    [&text[..at], with, &text[at + what.len()..]].concat()
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < path.len() {
        let digits = path.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let value =
            digits.filter(|_| path[at] == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(value.unwrap_or(path[at]));
        at += if value.is_some() { 3 } else { 1 };
    }
    out
}

//! Thousands of requests that nobody would think of: none traps the filter, none gets in that must not.

use std::time::Duration;

use harness::idp::{Key, flip_bit};
use serde_json::json;

use crate::fake_host::{Outcome, Request, Response, Stream, Vm, encode_pairs};
use crate::fixtures::{
    config, fetch_keys, foreign_key, key, keys_answer, local_config, reads_as, token, with,
};

/// SplitMix64 with a fixed start: a failure happens again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("below a usize")
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.next() as u8).collect()
    }

    /// A few small changes, some of them to what parsers stumble over.
    fn mutate(&mut self, text: &mut Vec<u8>) {
        const PIECES: &[&[u8]] = &[
            b"/",
            b"//",
            b"..",
            b".",
            b"%2e",
            b"%2F",
            b"%00",
            b"%",
            b"%25",
            b"\\",
            b";",
            b"?",
            b"#",
            b"=",
            b"==",
            b",",
            b" ",
            b"\t",
            b"\0",
            b"\xff",
            b"\xc0\xaf",
            b"eyJ",
            b"\"",
            b"{",
            b"Bearer ",
            b"bearer",
            b"-",
            b"_",
            b"+",
            b"A",
            b"/public/",
            b"/orders/",
            b"%70",
            b"..;/",
            b"null",
        ];
        for _ in 0..=self.below(3) {
            let at = self.below(text.len() + 1);
            match self.below(6) {
                0 if at < text.len() => text[at] ^= 1 << self.below(8),
                1 if at < text.len() => drop(text.remove(at)),
                2 => text.insert(at, self.next() as u8),
                3 => text.truncate(at),
                4 => {
                    let copy = text[at..].to_vec();
                    text.extend(copy);
                }
                _ => {
                    let piece = self.pick(PIECES);
                    text.splice(at..at, piece.iter().copied());
                }
            }
        }
    }
}

/// What a fuzzed request is made of, kept so that the judgement does not depend on the filter's own view.
#[derive(Debug)]
struct Shot {
    method: Vec<u8>,
    path: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    trailers: Vec<(&'static str, &'static str)>,
}

const METHODS: &[&[u8]] = &[
    b"GET", b"GET", b"GET", b"GET", b"GET", b"POST", b"HEAD", b"OPTIONS", b"get", b"CONNECT", b"", b"G\xffT",
];
const SOUND_PATHS: &[&[u8]] =
    &[b"/orders/7", b"/orders/a/b?x=1", b"/api/v1/x", b"/api", b"/healthz", b"/public/a"];
const PATHS: &[&[u8]] = &[
    b"/orders/7",
    b"/orders/7",
    b"/orders/7?x=/public/",
    b"/orders/a/b",
    b"/api/v1/x",
    b"/api",
    b"/healthz",
    b"/healthz?full",
    b"/public/a",
    b"/public/",
    b"/public/../orders/7",
    b"/public/%2e%2e/orders/7",
    b"/public/..;/orders/7",
    b"/%6frders/7",
    b"/public;x/../api",
    b"/public/%2F..%2Forders/7",
    b"//orders/7",
    b"/orders//7",
    b"/public\\..\\orders",
    b"/",
    b"*",
    b"",
    b"/healthz/../orders/7",
    b"/healthz;x=1",
    b"/%68ealthz",
    b"/healthz%00",
    b"/\xc3\xa9",
    b"/public/%252e%252e/orders",
    b"http://h/healthz",
    b"/orders/7;/public/",
    b"/public/.%2e/orders/7",
];
const NAMES: &[&str] = &[
    "x-user",
    "x_user",
    "x-tenant",
    "x-jwt-payload",
    "x_jwt_payload",
    "cookie",
    "x-forwarded-proto",
    "x-original-url",
    "x-http-method-override",
    "content-type",
    "proxy-authorization",
    "x-authorization",
    "authorization_",
    "te",
    "host",
];

fn shoot(random: &mut Random, tokens: &[String], valid: &[String]) -> Shot {
    let mut method = random.pick(METHODS).to_vec();
    let mut path = if random.one_in(2) { random.pick(SOUND_PATHS) } else { random.pick(PATHS) }.to_vec();
    if random.one_in(10) {
        random.mutate(&mut method);
    }
    if random.one_in(3) {
        random.mutate(&mut path);
    }
    let mut headers = Vec::new();
    for _ in 0..random.below(3) {
        let name = random.pick(NAMES).as_bytes().to_vec();
        headers.push((name, b"mallory".to_vec()));
    }
    for _ in 0..*[0, 1, 1, 1, 1, 1, 1, 2].get(random.below(8)).expect("one of eight") {
        let scheme = random.pick::<[u8]>(&[
            b"Bearer ",
            b"Bearer ",
            b"Bearer ",
            b"Bearer ",
            b"bearer  ",
            b"Basic ",
            b"",
        ]);
        let credential = match random.below(8) {
            0..=2 => valid[random.below(valid.len())].clone().into_bytes(),
            3 | 4 => tokens[random.below(tokens.len())].clone().into_bytes(),
            5 => random.bytes(60),
            _ => {
                let mut token = valid[random.below(valid.len())].clone().into_bytes();
                random.mutate(&mut token);
                token
            }
        };
        let mut value = [scheme, &credential].concat();
        if random.one_in(12) {
            random.mutate(&mut value);
        }
        let name = if random.one_in(15) { random.bytes(12) } else { b"authorization".to_vec() };
        headers.push((name, value));
    }
    let mut trailers = Vec::new();
    if random.one_in(20) {
        trailers.extend([("x-user", "mallory"), ("x_tenant", "mallory"), ("x-sum", "1")]);
    }
    Shot { method, path, headers, trailers }
}

impl Shot {
    fn request(&self) -> Request {
        let mut request = Request::bare()
            .raw_header(":method", &self.method)
            .raw_header(":path", &self.path)
            .raw_header(":authority", "orders.example");
        for (name, value) in &self.headers {
            request = request.raw_header(name, value);
        }
        for (name, value) in &self.trailers {
            request = request.trailer(name, value);
        }
        request
    }

    /// Whether its one credential is a token that was signed for us, to the letter.
    fn holds_one_of(&self, valid: &[String]) -> bool {
        let mut credentials =
            self.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"authorization"));
        let (Some((_, value)), None) = (credentials.next(), credentials.next()) else { return false };
        let Some((scheme, rest)) = value.split_at_checked(7) else { return false };
        let blanks = rest.iter().take_while(|byte| **byte == b' ').count();
        scheme.eq_ignore_ascii_case(b"bearer ")
            && valid.iter().any(|token| token.as_bytes() == &rest[blanks..])
    }

    /// Whether any reader of this path could only think of a public one.
    fn is_public(&self) -> bool {
        let path = self.path.split(|byte| *byte == b'?').next().unwrap_or_default();
        let mut decoded = path.to_vec();
        loop {
            let once = percent_decoded(&decoded);
            if once == decoded {
                break;
            }
            decoded = once;
        }
        let Ok(text) = String::from_utf8(decoded) else { return false };
        if text.contains(['\\', '#', '\0']) || !text.starts_with('/') {
            return false;
        }
        let segments: Vec<&str> =
            text.split('/').skip(1).map(|s| s.split(';').next().unwrap_or_default()).collect();
        let (last, inner) = segments.split_last().expect("at least one");
        if segments.iter().any(|s| matches!(*s, "." | "..")) || inner.iter().any(|s| s.is_empty()) {
            return false;
        }
        (inner.is_empty() && *last == "healthz") || inner.first() == Some(&"public")
    }
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let escape = tail.split_at_checked(2).filter(|_| byte == b'%');
        let value = escape.and_then(|(digits, after)| {
            let digits =
                std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
            Some((u8::from_str_radix(digits, 16).ok()?, after))
        });
        match value {
            Some((value, after)) => {
                out.push(value);
                rest = after;
            }
            None => out.push(byte),
        }
    }
    out
}

fn valid_tokens() -> Vec<String> {
    ["alice", "bob", "carol"].map(|subject| token().claim("sub", subject).sign()).to_vec()
}

/// Tokens that are wrong in one way each.
fn bad_tokens() -> Vec<String> {
    let good = token();
    let hmac = Key::hmac(harness::Alg::HS256, "current", key().public_pem().as_bytes());
    vec![
        flip_bit(&good.sign()),
        good.clone().key(&foreign_key()).sign(),
        good.clone().key(&foreign_key()).kid("current").sign(),
        good.clone().key(&hmac).sign(),
        good.unsigned(),
        good.clone().claim("exp", 1).sign(),
        good.clone().claim("aud", "other").sign(),
        good.clone().claim("iss", "https://evil.example/").sign(),
        good.clone().claim("nbf", 4_000_000_000_u64).sign(),
        good.clone().header("crit", json!(["x"])).sign(),
        good.clone().header("typ", "dpop+jwt").sign(),
        key().sign_parts(b"[]", b"{}"),
        key().sign_parts(&b"[".repeat(3000), b"{}"),
        key().sign_jws(&json!({ "alg": "ES256", "kid": "current" }), &b"{\"a\":".repeat(900)),
        format!("{}.{}.", "A".repeat(2000), "B".repeat(2000)),
        ".".repeat(5000),
        "..".to_owned(),
    ]
}

#[test]
fn twenty_thousand_odd_requests_neither_trap_the_filter_nor_get_in() {
    let config = with(local_config(), "/rules/2/authorize", serde_json::Value::Null);
    let vm = Vm::start(config);
    let (valid, bad) = (valid_tokens(), bad_tokens());
    let mut random = Random(20_000);
    let (mut passed, mut public, mut refused) = (0, 0, 0);
    for shot_number in 0..20_000 {
        let shot = shoot(&mut random, &bad, &valid);
        let stream = vm.request(shot.request());
        match stream.outcome() {
            Outcome::Continued(forwarded) => {
                let holder = shot.holds_one_of(&valid);
                assert!(holder || shot.is_public(), "shot {shot_number} got in: {shot:?}");
                for own in ["x-user", "x-tenant", "x-jwt-payload"] {
                    for headers in [&forwarded.headers, &forwarded.trailers] {
                        let values = reads_as(headers, own);
                        assert!(
                            !values.contains(&"mallory".to_owned()),
                            "shot {shot_number}: {own}: {shot:?}"
                        );
                    }
                }
                if forwarded.has("x-user") {
                    assert!(holder, "shot {shot_number}: an identity without a token: {shot:?}");
                    passed += 1;
                } else {
                    public += 1;
                }
            }
            Outcome::Replied(reply) => {
                let known =
                    matches!(reply.status, 400 | 401 | 403 | 503) && reply.details.starts_with("portcullis_");
                assert!(known, "shot {shot_number}: {reply:?}");
                refused += 1;
            }
            other => panic!("shot {shot_number} is {other:?}: {shot:?}"),
        }
        stream.finish();
    }
    // A fuzzer that never gets through the first check finds nothing.
    assert!(
        passed > 500 && public > 500 && refused > 5_000,
        "{passed} passed, {public} public, {refused} refused"
    );
}

#[test]
fn header_lists_with_random_damage_neither_trap_the_filter_nor_get_in() {
    let vm = Vm::start(local_config());
    let mut random = Random(1);
    let forged = token().key(&foreign_key()).kid("current").sign();
    let list = encode_pairs(&[
        (b":method".to_vec(), b"GET".to_vec()),
        (b":path".to_vec(), b"/orders/7".to_vec()),
        (b"authorization".to_vec(), format!("Bearer {forged}").into_bytes()),
        (b"x-user".to_vec(), b"mallory".to_vec()),
    ]);
    for round in 0..5_000 {
        let mut damaged = list.clone();
        random.mutate(&mut damaged);
        vm.garble_pairs(0, &damaged);
        let stream = vm.request(Request::get("/orders/7").bearer(&forged));
        assert!(!stream.outcome().is_continued(), "round {round}: {damaged:?}");
    }
}

/// The streams of one random life of a VM.
struct Life {
    vm: Vm,
    streams: Vec<(Stream, bool)>,
}

#[test]
fn in_whatever_order_things_happen_nobody_is_forgotten() {
    let forged = token().key(&foreign_key()).kid("current").sign();
    let stranger = token().key(&foreign_key()).sign();
    for seed in 0..30 {
        let mut random = Random(seed);
        let vm = Vm::start(config());
        let mut life = Life { vm, streams: Vec::new() };
        let Life { vm, streams } = &mut life;
        for _ in 0..150 {
            let now = vm.world().now();
            let good = || token().claims(json!({ "iat": now, "exp": now + 3_600 })).sign();
            match random.below(12) {
                0..=2 => streams.push((vm.request(crate::fixtures::orders(&good())), true)),
                3 => streams.push((vm.request(crate::fixtures::orders(&forged)), false)),
                4 => streams.push((vm.request(crate::fixtures::orders(&stranger)), false)),
                5 => streams.push((vm.request(Request::get("/public/a")), true)),
                6 => vm.tick(),
                7 => vm.advance(Duration::from_millis(random.next() % 3_000)),
                8 if random.one_in(4) => vm.advance(Duration::from_secs(random.next() % 700)),
                8 | 9 => {
                    let calls = vm.pending_calls();
                    if let Some(call) = calls.get(random.below(calls.len())) {
                        let answer = match random.below(6) {
                            0..=2 => keys_answer(),
                            3 => Response::reset(),
                            4 => Response::ok("{}"),
                            _ => Response::refused(),
                        };
                        vm.respond(call, answer);
                    }
                }
                10 => {
                    if let Some((stream, _)) = streams.get(random.below(streams.len()))
                        && stream.outcome().is_waiting()
                    {
                        stream.disconnect();
                    }
                }
                _ if random.one_in(5) => vm.update(config()).expect("accepted"),
                _ if random.one_in(5) => vm.reconfigure(config()).expect("accepted"),
                _ => {}
            }
            for (stream, may_pass) in streams.iter() {
                assert!(*may_pass || !stream.outcome().is_continued(), "seed {seed}: a forged token got in");
            }
        }
        vm.advance(Duration::from_secs(15));
        let waiting = streams.iter().filter(|(stream, _)| stream.outcome().is_waiting()).count();
        assert_eq!(waiting, 0, "seed {seed}: of {} requests some wait for ever", streams.len());
    }
}

#[test]
fn strange_answers_of_the_key_endpoint_never_trap_the_filter() {
    let mut random = Random(7);
    let vm = Vm::start(config());
    let good = crate::fixtures::jwks().into_bytes();
    fetch_keys(&vm);
    for round in 0..400 {
        for _ in 0..700 {
            if !vm.pending_calls().is_empty() {
                break;
            }
            vm.advance(Duration::from_secs(1));
        }
        let mut body = good.clone();
        random.mutate(&mut body);
        for call in vm.pending_calls() {
            let count = random.below(4);
            let headers: Vec<_> = (0..count).map(|_| (random.bytes(8), random.bytes(8))).collect();
            let answer = match random.below(3) {
                0 => Response::raw(headers, body.clone()),
                1 => Response::new(200, &[("cache-control", "max-age=99999999999999999999")], body.clone()),
                _ => Response::ok(body.clone()),
            };
            vm.respond(&call, answer);
        }
        let forged = token().key(&foreign_key()).kid("current").claim("exp", vm.world().now() + 60).sign();
        let stream = vm.request(crate::fixtures::orders(&forged));
        assert!(!stream.outcome().is_continued(), "round {round}");
    }
}

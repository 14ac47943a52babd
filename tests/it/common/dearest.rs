//! Which unsigned request costs most: a seeded search, shared by `make bench-micro` and the tests.
//!
//! A request is made of genes: what fills its claims, its JOSE header, its signature, and what stands beside the token.
//! Beside each stands its twin: the same request with a malformed token of the same length, an ordinary claims set whose
//! JSON breaks off at its last byte. All of them name a key that nobody has, so that no signature is computed: what is
//! compared is what comes before it.

#![allow(dead_code)]

use std::hint::black_box;
use std::time::Duration;

use harness::idp::{b64, jwks};
use harness::{Alg, Key};
use portcullis::{Config, Environment, Gate, Outcome, Reason, Request, StreamId, Timestamp};
use serde_json::{Value, json};

/// The time of all requests.
pub const NOW: u64 = 1_800_000_000;

/// About how long the tokens are, in bytes: the last is the longest that is read by default, less a little.
pub const SIZES: [usize; 4] = [500, 2000, 8000, 64_000];

/// A configuration, and what it asks of a token.
pub struct Door {
    /// Its name.
    pub name: &'static str,
    config: Config,
}

/// The providers of a configuration: each looks for tokens in all places, for scopes and roles in several claims, and
/// asks of claims what can be asked of them.
pub fn providers(count: usize, alg: Alg) -> Value {
    let keys: Vec<Key> =
        (0..3).map(|at| Key::cached(alg, "key").with_kid(["k-0", "k-1", "k-2"][at])).collect();
    let audiences: Vec<String> = (0..40).map(|at| format!("service-{at}")).collect();
    let hierarchy: serde_json::Map<String, Value> = (0..100)
        .map(|at| {
            (if at % 2 == 0 { format!("s{at}:*") } else { format!("s{at}") }, json!([format!("t{at}")]))
        })
        .collect();
    let provider = |at: usize| {
        json!({
            "issuer": [format!("https://idp-{at}.example/"), "https://login.example/{tid}/"],
            "issuer_claims": { "tid": ["t-1", "t-2"] },
            "audiences": audiences,
            "audience_claims": ["aud", "azp"],
            "audience_match": if at.is_multiple_of(2) { "exact" } else { "normalized" },
            "subjects": { "safe_regex": { "regex": ".*a.*b.*|[^x]+" } },
            "required_claims": ["sub", "realm.name", "/groups/0"],
            "max_lifetime": "86400s",
            "local_jwks": { "inline": jwks(&keys) },
            "from_headers": [{ "name": "authorization", "value_prefix": "Bearer " }, { "name": "x-token" }],
            "from_cookies": ["session"],
            "from_params": ["access_token"],
            "role_claims": ["roles", { "claim": "perms", "format": "comma" }, { "claim": "grants", "format": "keys" }],
            "scope_hierarchy": hierarchy,
            "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }],
            "max_token_size": 1 << 20,
            "jwt_cache_config": { "jwt_cache_size": 0 },
        })
    };
    (0..count).map(|at| (format!("p{at}"), provider(at))).collect::<serde_json::Map<_, _>>().into()
}

/// One provider, and five in each way.
pub fn doors() -> Vec<Door> {
    let all: Vec<Value> = (0..5).map(|at| json!({ "provider_name": format!("p{at}") })).collect();
    let authorize =
        json!({ "scopes": { "all_of": ["s1", "s2"], "none_of": ["s3"] }, "roles": { "any_of": ["r"] } });
    [
        ("one provider", 1, json!({ "provider_name": "p0" })),
        ("requires_any of five", 5, json!({ "requires_any": { "requirements": all } })),
        ("requires_all of five", 5, json!({ "requires_all": { "requirements": all } })),
        ("allow_missing, five", 5, json!({ "requires_any": { "requirements": [all[0], all[1], all[2], all[3], all[4], { "allow_missing": {} }] } })),
    ]
    .into_iter()
    .map(|(name, count, requires)| {
        let config = json!({
            "providers": providers(count, Alg::ES256),
            "rules": [{ "match": { "prefix": "/" }, "requires": requires, "authorize": authorize }],
        });
        let config = Config::parse(config.to_string().as_bytes(), &|_| None);
        Door { name, config: config.unwrap_or_else(|problems| panic!("{name}: {problems:?}")) }
    })
    .collect()
}

impl Door {
    /// A gate with this configuration.
    pub fn gate(&self) -> Gate {
        Gate::new(self.config.clone(), Environment::alone(1), Timestamp::from_secs(NOW))
    }
}

/// Numbers that look random, and are the same in every run.
pub struct Random(pub u64);

impl Random {
    /// The next, less than this.
    pub fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % most
    }
}

/// What fills a claims set.
pub const FILLS: [&str; 24] = [
    "a text of short scopes",
    "a list of short scopes",
    "a list of one scope again and again",
    "an object of roles",
    "roles with commas",
    "a list of audiences",
    "a list of audiences with escapes",
    "short members",
    "members of three letters",
    "members with escaped names",
    "chains of lists",
    "empty lists",
    "small objects",
    "chains of objects",
    "short texts with escapes",
    "a text of escapes",
    "a list of digits",
    "floats",
    "one long number",
    "one long text",
    "a long subject",
    "blanks",
    "an object that is required",
    "a list that is required",
];

/// The members of a filling of about so many bytes; `at` makes its names its own.
fn filling(kind: usize, at: usize, bytes: usize) -> String {
    let repeated = |one: &dyn Fn(usize) -> String, between: &str| {
        let (mut text, mut number) = (String::new(), 0);
        while text.len() < bytes.saturating_sub(24) {
            if number > 0 {
                text.push_str(between);
            }
            text.push_str(&one(number));
            number += 1;
        }
        text
    };
    let list = |name: &str, one: &dyn Fn(usize) -> String| format!("\"{name}\":[{}]", repeated(one, ","));
    let number = |n: usize| format!("{n:x}");
    let scope = if at == 0 { "scope".to_owned() } else { format!("scp{at}") };
    match kind {
        0 => format!("\"{scope}\":\"{}\"", repeated(&number, " ")),
        1 => list(&scope, &|n| format!("\"{n:x}\"")),
        2 => list(&scope, &|_| "\"a\"".to_owned()),
        3 => format!("\"grants\":{{{}}}", repeated(&|n| format!("\"{n:x}\":0"), ",")),
        4 => format!("\"perms\":\"{}\"", repeated(&number, ",")),
        5 => list("aud", &|n| format!("\"{n:x}\"")),
        6 => list("aud", &|_| "\"\\n\"".to_owned()),
        7 => repeated(&|n| format!("\"{n:x}.{at}\":0"), ","),
        8 => repeated(
            &|n| format!("\"{}{n:02x}\":0", char::from(b'g' + u8::try_from((n >> 8) % 16).expect("few"))),
            ",",
        ),
        9 => repeated(&|n| format!("\"\\u0061{n:x}.{at}\":0"), ","),
        10 => list(&format!("c{at}"), &|_| format!("{}{}", "[".repeat(60), "]".repeat(60))),
        11 => list(&format!("e{at}"), &|_| "[]".to_owned()),
        12 => list(&format!("o{at}"), &|_| "{\"\":[0]}".to_owned()),
        13 => list(&format!("d{at}"), &|_| format!("{}0{}", "{\"\":".repeat(60), "}".repeat(60))),
        14 => list(&format!("s{at}"), &|_| "\"\\n\"".to_owned()),
        15 => format!(
            "\"u{at}\":\"{}\"",
            repeated(&|n| ["\\u0061", "\\n", "\\ud83d\\ude00"][n % 3].to_owned(), "")
        ),
        16 => list(&format!("n{at}"), &|_| "0".to_owned()),
        17 => list(&format!("f{at}"), &|_| "-1.5e-3".to_owned()),
        18 => format!("\"l{at}\":{}", repeated(&|_| "1234567890".to_owned(), "")),
        19 => format!("\"t{at}\":\"{}\"", repeated(&|_| "a".to_owned(), "")),
        20 => format!("\"sub\":\"{}\"", repeated(&|_| "abc".to_owned(), "")),
        21 => format!("\"b{at}\":[{}]", repeated(&|_| " ".to_owned(), "")),
        22 => format!("\"realm\":{{{},\"name\":\"x\"}}", repeated(&|n| format!("\"{n:x}\":0"), ",")),
        _ => list("groups", &|_| "[0]".to_owned()),
    }
}

/// The claims of a first fill may stand once only.
const ONCE: [usize; 8] = [3, 4, 5, 6, 8, 20, 22, 23];

/// One request, as a search makes and changes it.
#[derive(Clone, Debug)]
pub struct Genes {
    /// What fills the claims, each with its share.
    fills: Vec<(usize, usize)>,
    /// Which of issuer, audience and times are right.
    right: [bool; 3],
    /// What fills the JOSE header, and how much.
    header: Option<(usize, usize)>,
    /// Bytes of the signature.
    signature: usize,
    /// Header fields, cookies, parameters and path segments beside the token.
    beside: [usize; 4],
    escapes: bool,
    now: u64,
}

impl Genes {
    /// A request whose claims are filled with this alone.
    pub fn plain(fill: usize) -> Self {
        Self {
            fills: vec![(fill, 1)],
            right: [true; 3],
            header: None,
            signature: 64,
            beside: [0; 4],
            escapes: false,
            now: NOW,
        }
    }

    /// The same at another time.
    pub fn at(&self, now: u64) -> Self {
        Self { now, ..self.clone() }
    }

    /// This one with a change or two.
    pub fn changed(&self, random: &mut Random) -> Self {
        let mut new = self.clone();
        for _ in 0..1 + random.below(2) {
            match random.below(8) {
                0 => new.fills = vec![(random.below(FILLS.len()), 1)],
                1 => new.fills.push((random.below(FILLS.len()), 1 + random.below(4))),
                2 => new.right[random.below(3)] = random.below(4) > 0,
                3 => new.header = Some((random.below(FILLS.len()), random.below(3000))),
                4 => new.header = None,
                5 => new.signature = [64, 1, 256, 2000][random.below(4)],
                6 => new.beside[random.below(4)] = [0, 1, 5, 20][random.below(4)],
                _ => new.escapes = !new.escapes,
            }
        }
        let mut seen = Vec::new();
        new.fills.retain(|(kind, _)| {
            let new = !ONCE.contains(kind) || !seen.contains(kind);
            seen.push(*kind);
            new
        });
        new.fills.truncate(3);
        new
    }

    /// What it is, in words.
    pub fn words(&self) -> String {
        let mut words: Vec<String> = self.fills.iter().map(|(kind, _)| FILLS[*kind].to_owned()).collect();
        if let Some((kind, bytes)) = self.header {
            words.push(format!("a JOSE header of {bytes} B of {}", FILLS[kind]));
        }
        for (what, right) in ["issuer", "audience", "times"].iter().zip(self.right) {
            if !right {
                words.push(format!("wrong {what}"));
            }
        }
        for (what, count) in ["fields", "cookies", "parameters", "segments"].iter().zip(self.beside) {
            if count > 0 {
                words.push(format!("{count} {what}"));
            }
        }
        words.join(", ")
    }

    /// The token, about so long, and its malformed twin.
    pub fn tokens(&self, size: usize) -> (String, String) {
        let more = self.header.map(|(kind, bytes)| format!(",{}", filling(kind, 9, bytes.min(size / 2))));
        let header = format!(r#"{{"alg":"ES256","kid":"nobody-has-it"{}}}"#, more.unwrap_or_default());
        let signature = b64(vec![7u8; self.signature.min(size / 4)]);
        let room = (size.saturating_sub(signature.len() + b64(&header).len() + 2) / 4 * 3).max(250);
        let payload = self.payload(room);
        let token = |payload: &str| format!("{}.{}.{signature}", b64(&header), b64(payload));
        (token(&payload), token(&ordinary(payload.len())))
    }

    fn payload(&self, room: usize) -> String {
        let has = |kinds: &[usize]| self.fills.iter().any(|(kind, _)| kinds.contains(kind));
        let times = if self.right[2] { self.now + 600 } else { self.now - 6000 };
        let issuer = if self.right[0] { "https://idp-0.example/" } else { "https://elsewhere.example/" };
        let mut members = vec![format!("\"iss\":\"{issuer}\",\"exp\":{times},\"tid\":\"t-1\"")];
        if !has(&[5, 6]) {
            members.push(format!("\"aud\":\"{}\"", if self.right[1] { "service-39" } else { "another" }));
        } else if self.right[1] {
            members.push("\"azp\":\"service-39\"".to_owned());
        }
        for (name, kind, value) in
            [("sub", 20, "\"ab\""), ("realm", 22, "{\"name\":\"x\"}"), ("groups", 23, "[\"a\"]")]
        {
            if !has(&[kind]) {
                members.push(format!("\"{name}\":{value}"));
            }
        }
        let room = room.saturating_sub(members.join(",").len() + 2);
        let shares: usize = self.fills.iter().map(|(_, share)| share).sum();
        for (at, (kind, share)) in self.fills.iter().enumerate() {
            let filled = filling(*kind, at, room * share / shares.max(1));
            // Where the list of audiences is asked, the right one is its last.
            let right = matches!(kind, 5 | 6) && self.right[1] && filled.ends_with(']');
            members.push(if right {
                format!("{},\"service-39\"]", &filled[..filled.len() - 1])
            } else {
                filled
            });
        }
        format!(
            "{{{}}}",
            members.into_iter().filter(|member| !member.is_empty()).collect::<Vec<_>>().join(",")
        )
    }

    /// The fields of a request with this token.
    pub fn request(&self, token: &str) -> Vec<(String, String)> {
        let [fields, cookies, parameters, segments] = self.beside;
        let name = if self.escapes { "%61" } else { "a" };
        let mut target = "/orders".to_owned();
        (0..segments).for_each(|at| target.push_str(&format!("/{name}{at}")));
        (0..parameters)
            .for_each(|at| target.push_str(&format!("{}{name}{at}=1", if at == 0 { "?" } else { "&" })));
        let field = |name: &str, value: String| (name.to_owned(), value);
        let mut all = vec![
            field(":method", "GET".to_owned()),
            field(":path", target),
            field(":authority", "gateway.test".to_owned()),
            field("authorization", format!("Bearer {token}")),
        ];
        all.extend((0..fields).map(|at| field(&format!("x-field-{at}"), "1".to_owned())));
        if cookies > 0 {
            let cookies: Vec<String> = (0..cookies).map(|at| format!("{name}{at}=1")).collect();
            all.push(field("cookie", cookies.join("; ")));
        }
        all
    }
}

/// An ordinary claims set of so many bytes, but for its last, which is missing.
pub fn ordinary(bytes: usize) -> String {
    let mut text = format!(
        "{{\"iss\":\"https://idp-0.example/\",\"sub\":\"ab\",\"aud\":\"service-39\",\"exp\":{}",
        NOW + 600
    );
    for at in 0.. {
        let member = format!(",\"claim-{at}\":\"the value of it\"");
        if text.len() + member.len() > bytes {
            break;
        }
        text.push_str(&member);
    }
    while text.len() < bytes {
        text.push(' ');
    }
    text.truncate(bytes);
    text
}

/// What a gate says of a request: nothing where it passes.
pub fn decide(gate: &mut Gate, fields: &[(String, String)]) -> Option<Reason> {
    let fields: Vec<(&[u8], &[u8])> =
        fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let outcome = gate.decide(StreamId(1), &Request::new(&fields), Timestamp::from_secs(NOW));
    while gate.next_effect().is_some() {}
    match outcome {
        Outcome::Allow(_) => None,
        Outcome::Deny(refusal) => Some(refusal.response.reason),
        Outcome::Answer(_) => panic!("no resource is configured"),
        Outcome::Wait => panic!("there is nothing to wait for"),
    }
}

/// The processor time that this thread took: whatever else the machine does is not in it.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is ours, and the clock is there on every Linux.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.expect("a time that passed"), nanos.expect("less than a second"))
}

/// What two requests cost: the least of the rounds in which they take turns, each as long as this at least.
pub fn cost(
    gate: &mut Gate,
    pair: [&[(String, String)]; 2],
    rounds: usize,
    round: Duration,
) -> [Duration; 2] {
    let mut least = [Duration::MAX; 2];
    let mut counts = [1u32; 2];
    for (count, fields) in counts.iter_mut().zip(pair) {
        let start = processor_time();
        while (processor_time() - start) < round {
            black_box(decide(gate, black_box(fields)));
            *count += 1;
        }
    }
    for _ in 0..rounds {
        for ((least, count), fields) in least.iter_mut().zip(counts).zip(pair) {
            let start = processor_time();
            for _ in 0..count {
                black_box(decide(gate, black_box(fields)));
            }
            *least = (*least).min((processor_time() - start) / count);
        }
    }
    least
}

/// The dearest request that was found, with what it and its twin cost.
pub struct Dearest {
    /// The request.
    pub genes: Genes,
    /// What it costs.
    pub cost: Duration,
    /// What its twin costs.
    pub twin: Duration,
}

impl Dearest {
    /// How many times its twin's cost it takes.
    pub fn ratio(&self) -> f64 {
        self.cost.as_secs_f64() / self.twin.as_secs_f64()
    }
}

/// Searches for the dearest request whose token is about so long: every filling by itself, then changes of the
/// dearest so far, `tries` times.
pub fn search(gate: &mut Gate, size: usize, tries: usize, seed: u64) -> Dearest {
    let mut random = Random(seed);
    let mut best: Vec<Dearest> = Vec::new();
    let judged = |gate: &mut Gate, genes: Genes, rounds, round| {
        let (token, twin) = genes.tokens(size);
        let (request, malformed) = (genes.request(&token), genes.request(&twin));
        assert_eq!(decide(gate, &malformed), Some(Reason::TokenMalformed), "{genes:?}");
        assert!(decide(gate, &request).is_some(), "{genes:?}");
        let [cost, twin] = cost(gate, [&request, &malformed], rounds, round);
        Dearest { genes, cost, twin }
    };
    let quick = Duration::from_micros(if size > 10_000 { 1000 } else { 200 });
    for at in 0..FILLS.len() + tries {
        let genes = match best.get(random.below(4)).or(best.first()) {
            Some(one) if at >= FILLS.len() => one.genes.changed(&mut random),
            _ => Genes::plain(at),
        };
        best.push(judged(gate, genes, 3, quick));
        best.sort_by(|a, b| b.ratio().total_cmp(&a.ratio()));
        best.truncate(8);
    }
    // What was dear by chance is told apart by looking longer.
    let again = best.into_iter().map(|one| judged(gate, one.genes, 9, quick * 2));
    again.max_by(|a, b| a.ratio().total_cmp(&b.ratio())).expect("some were tried")
}

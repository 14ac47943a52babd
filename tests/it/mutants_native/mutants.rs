//! How the mutants are made. Two thirds are tokens whose text was changed after they were signed; the
//! others were changed before, and carry a signature that holds over whatever they say.

use harness::idp::b64;
use harness::{Alg, Key};

use crate::mutants_native::date::Date;
use crate::mutants_native::random::Random;
use crate::mutants_native::reader::base64url;
use crate::mutants_native::verifier::{Demands, Published};
use crate::mutants_native::world::{ISSUER, NOW, PROVIDERS, World};

/// One mutant: who judges which token when.
pub(crate) struct Mutant {
    pub(crate) provider: usize,
    pub(crate) token: Vec<u8>,
    pub(crate) seconds: u64,
    pub(crate) nanoseconds: u32,
    /// Whether it was signed after it was changed.
    pub(crate) signed: bool,
}

impl Mutant {
    pub(crate) fn now(&self) -> Date {
        Date::of(self.seconds, self.nanoseconds)
    }
}

/// Good tokens that were signed once.
pub(crate) struct Pool(Vec<Vec<(String, usize)>>);

impl Pool {
    /// Several tokens of every key and algorithm for every provider.
    pub(crate) fn new(world: &World, random: &mut Random) -> Self {
        let good = |provider: usize, random: &mut Random| {
            let demands = &PROVIDERS[provider];
            let pairs = world
                .keys
                .iter()
                .enumerate()
                .flat_map(|(at, own)| algorithms(own).into_iter().map(move |alg| (at, alg)));
            let pairs: Vec<_> = pairs.filter(|(_, alg)| demands.algorithms.contains(alg)).collect();
            let mut tokens = Vec::new();
            for (at, alg) in pairs {
                for _ in 0..3 {
                    let draft = Draft::good(&world.keys[at], alg, demands, random);
                    tokens.push((draft.sign(&world.keys[at].key.with_alg(alg)), at));
                }
            }
            tokens
        };
        Self((0..PROVIDERS.len()).map(|provider| good(provider, random)).collect())
    }

    /// A token of the provider: mostly of a kind that is cheap to judge.
    fn any<'p>(&'p self, provider: usize, world: &World, random: &mut Random) -> &'p str {
        let tokens = &self.0[provider];
        loop {
            let (token, key) = random.of_list(tokens);
            if random.once_in(price(world.keys[*key].key.alg())) {
                return token;
            }
        }
    }
}

/// One in how many is kept of a kind, so that what is slow to sign or verify is rarer.
fn price(alg: Alg) -> usize {
    match alg {
        Alg::HS256 | Alg::HS384 | Alg::HS512 | Alg::EdDSA => 1,
        Alg::ES256 => 4,
        Alg::ES384 | Alg::ES512 => 40,
        _ => 40,
    }
}

/// The algorithms that a key serves.
fn algorithms(own: &Published) -> Vec<Alg> {
    if own.pinned {
        return vec![own.key.alg()];
    }
    match (own.key.alg(), own.secret) {
        (Alg::RS256, _) => {
            vec![Alg::RS256, Alg::RS384, Alg::RS512, Alg::PS256, Alg::PS384, Alg::PS512]
        }
        // One is too short for any; a token that it signs is to be refused.
        (Alg::HS256, Some(length)) if length < 48 => vec![Alg::HS256],
        (Alg::HS256, _) => vec![Alg::HS256, Alg::HS384, Alg::HS512],
        (alg, _) => vec![alg],
    }
}

/// Mutant number `index` of a seed.
pub(crate) fn mutant(seed: u64, index: u64, world: &World, pool: &Pool) -> Mutant {
    let mut random = Random::of(seed, index);
    let random = &mut random;
    let provider = random.below(PROVIDERS.len());
    let signed = index.is_multiple_of(3);
    let mut early = None;
    let token = if signed {
        early = random.once_in(100).then(|| random.bits() % 100);
        resigned(provider, early, world, random)
    } else {
        let times = 1 + random.below(8) / 6;
        let mut token = pool.any(provider, world, random).as_bytes().to_vec();
        for _ in 0..times {
            token = changed(token, pool.any(provider, world, random), random);
        }
        token
    };
    // Some meet another provider than the one that they were made for, or another time.
    let provider = if random.once_in(16) { random.below(PROVIDERS.len()) } else { provider };
    let seconds = match random.below(24) {
        0 => *random.of_list(&[0, 1, 30, 59, 60, 61, 300, 1 << 31, 1 << 32, 1 << 62, u64::from(u32::MAX)]),
        1..=3 => NOW - 400 + random.bits() % 1200,
        4 => NOW + random.bits() % 4,
        _ => NOW,
    };
    let seconds = early.unwrap_or(seconds);
    let nanoseconds = *random.of_list(&[0, 0, 0, 1, 500_000_000, 999_999_999]);
    Mutant { provider, token, seconds, nanoseconds, signed }
}

// --- after signing ---

const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The token with one change to its text, which mostly breaks it and now and then does not.
fn changed(token: Vec<u8>, other: &str, random: &mut Random) -> Vec<u8> {
    let mut token = token;
    if token.is_empty() {
        return other.as_bytes().to_vec();
    }
    let at = random.below(token.len());
    match random.below(24) {
        0..=2 => token[at] ^= 1 << random.below(8),
        3..=4 => token[at] = *random.of_list(LETTERS),
        5 => token.insert(at, *random.of_list(LETTERS)),
        6 => drop(token.remove(at)),
        7 => token.insert(at, *random.of_list(b".=+/ \t\r\n\0,%\"'?~\x7f\x80\xc3\xff")),
        8 => token.truncate(at),
        9 => drop(token.drain(..at)),
        10 => {
            let end = at + random.below(token.len() - at + 1);
            token.drain(at..end);
        }
        11 => token.extend_from_slice(
            random.of_list(&["=", "==", "A", "AA", ".", ".AA", " ", "\n", "\0"]).as_bytes(),
        ),
        12 => {
            let swapped = random.below(token.len());
            token.swap(at, swapped);
        }
        13 => {
            token[at] = if token[at].is_ascii_uppercase() {
                token[at].to_ascii_lowercase()
            } else {
                token[at].to_ascii_uppercase()
            }
        }
        14 => return parts_shuffled(&token, other, random),
        15..=16 => return last_letter(token, random),
        17 => return part_padded(&token, random),
        18..=20 => return part_rewritten(&token, random, 2),
        21 => return part_rewritten(&token, random, 0),
        22 => return part_rewritten(&token, random, 1),
        // None at all: it must still be accepted where it was.
        _ => {}
    }
    token
}

fn parts(token: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(token).split('.').map(str::to_owned).collect()
}

/// Parts of two tokens, put together in another way.
fn parts_shuffled(token: &[u8], other: &str, random: &mut Random) -> Vec<u8> {
    let (own, other) = (parts(token), parts(other.as_bytes()));
    let number = *random.of_list(&[3, 3, 3, 3, 1, 2, 4, 5, 6]);
    let part = |at: usize, random: &mut Random| {
        let from = if random.once_in(3) { &other } else { &own };
        let at = if random.once_in(6) { random.below(4) } else { at };
        from.get(at).cloned().unwrap_or_default()
    };
    let parts: Vec<String> = (0..number).map(|at| part(at, random)).collect();
    parts.join(".").into_bytes()
}

/// Another last letter of a part: it says the same bytes, or one bit less or more.
fn last_letter(token: Vec<u8>, random: &mut Random) -> Vec<u8> {
    let mut parts = parts(&token);
    let part = random.below(parts.len());
    if let Some(last) = parts[part].pop() {
        let place = LETTERS.iter().position(|letter| char::from(*letter) == last).unwrap_or_default();
        parts[part].push(char::from(LETTERS[(place ^ (1 << random.below(4))) % 64]));
    }
    parts.join(".").into_bytes()
}

/// The same bytes in another spelling of base64.
fn part_padded(token: &[u8], random: &mut Random) -> Vec<u8> {
    let mut parts = parts(token);
    let at = random.below(parts.len());
    let part = &mut parts[at];
    match random.below(4) {
        0 => *part = part.replace('-', "+").replace('_', "/"),
        1 => part.extend(std::iter::repeat_n('=', (4 - part.len() % 4) % 4)),
        2 => part.push('='),
        _ => part.insert(0, '\n'),
    }
    parts.join(".").into_bytes()
}

/// One part with other bytes, in canonical base64url again.
fn part_rewritten(token: &[u8], random: &mut Random, part: usize) -> Vec<u8> {
    let mut parts = parts(token);
    let Some(bytes) = parts.get(part).and_then(|text| base64url(text)) else { return token.to_vec() };
    let bytes = if part == 2 { signature_changed(bytes, random) } else { bytes_changed(bytes, random) };
    parts[part] = b64(bytes);
    parts.join(".").into_bytes()
}

/// The order of P-256's base point, and that of Ed25519's in its own byte order.
const P256: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const ED25519: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect()
}

/// A signature that some libraries took for the same, or for any.
fn signature_changed(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    let half = bytes.len() / 2;
    match random.below(16) {
        0 => bytes.fill(0),
        1 => bytes.fill(0xff),
        2 => bytes.insert(0, 0),
        3 => bytes.push(0),
        4 => bytes.insert(half, 0),
        5 if !bytes.is_empty() => drop(bytes.remove(0)),
        6 => drop(bytes.pop()),
        7 => bytes.reverse(),
        8 => bytes.rotate_left(half),
        9 => bytes[..half].fill(0),
        10 => bytes[half..].fill(0),
        11 => bytes = der(&bytes[..half], &bytes[half..]),
        // RFC 7518 knows no rule for the larger half: the twin of a good ES256 signature is good.
        12 | 13 if bytes.len() == 64 => {
            let twin = difference(&hex(P256), &bytes[half..]);
            bytes.splice(half.., twin);
        }
        // RFC 8032 section 5.1.7 has such a rule: S is below the order.
        14 if bytes.len() == 64 => {
            let mut carry = 0;
            for (own, add) in bytes[half..].iter_mut().zip(hex(ED25519)) {
                let sum = u16::from(*own) + u16::from(add) + carry;
                (*own, carry) = (sum as u8, sum >> 8);
            }
        }
        _ => {
            let bytes_len = bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(random.below(bytes_len)) {
                *byte ^= 1 << random.below(8);
            }
        }
    }
    bytes
}

/// a - b of numbers of equal length; wraps.
fn difference(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut out: Vec<u8> = a
        .iter()
        .zip(b)
        .rev()
        .map(|(a, b)| {
            let d = i16::from(*a) - i16::from(*b) - borrow;
            borrow = i16::from(d < 0);
            d as u8
        })
        .collect();
    out.reverse();
    out
}

/// `Ecdsa-Sig-Value` (RFC 3279 section 2.2.3) of two short numbers.
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let mut out = vec![2, number.len() as u8 + 1, 0];
        out.extend_from_slice(number);
        out
    };
    let body = [integer(r), integer(s)].concat();
    [&[0x30, body.len() as u8], &body[..]].concat()
}

/// Bytes of a JSON text with one to three changes.
fn bytes_changed(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..=random.below(3) {
        if bytes.is_empty() {
            return bytes;
        }
        let at = random.below(bytes.len());
        match random.below(8) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.byte(),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, random.byte()),
            4 => bytes.insert(at, *random.of_list(b"{}[]\",:\\ \n\t/.-+0123456789eEutfn\0")),
            5 => bytes.insert(at, bytes[at]),
            6 => {
                let end = (at + random.below(12)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            _ => {
                let end = (at + random.below(6)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
    }
    bytes
}

// --- before signing ---

/// A token before it is signed: members as their names and values stand in JSON.
#[derive(Clone)]
struct Draft {
    header: Vec<(String, String)>,
    claims: Vec<(String, String)>,
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string")
}

fn object(members: &[(String, String)]) -> Vec<u8> {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    format!("{{{}}}", members.join(",")).into_bytes()
}

impl Draft {
    /// What the provider accepts from this key.
    fn good(own: &Published, alg: Alg, demands: &Demands, random: &mut Random) -> Self {
        let mut draft = Self { header: Vec::new(), claims: Vec::new() };
        let header = |name: &str, value: String, draft: &mut Self| draft.header.push((quoted(name), value));
        header("alg", quoted(alg.name()), &mut draft);
        if let Some(kid) = own.kid {
            header("kid", quoted(kid), &mut draft);
        }
        let typ = *random.of_list(demands.types);
        if !typ.is_empty() {
            let bare = typ.strip_prefix("application/").unwrap_or(typ);
            let typ = (*random.of_list(&[bare, typ, bare])).to_owned();
            let typ = if random.once_in(2) { typ.to_ascii_uppercase() } else { typ };
            header("typ", quoted(&typ), &mut draft);
        }
        let mut claim = |name: &str, value: String| draft.claims.push((quoted(name), value));
        if !demands.tenants.is_empty() && random.once_in(2) {
            let tid = random.of_list(demands.tenants);
            claim("tid", quoted(tid));
            claim("iss", quoted(&format!("https://login.example/{tid}/v2.0")));
        } else {
            claim("iss", quoted(demands.issuers.first().unwrap_or(&ISSUER)));
        }
        match random.below(demands.audience_claims.len()) {
            0 if random.once_in(2) => claim("aud", "[\"x\",\"orders\"]".to_owned()),
            0 => claim("aud", quoted("orders")),
            1 => claim("client_id", quoted("orders")),
            _ => claim("azp", "{\"app\":\"orders\"}".to_owned()),
        }
        claim("sub", quoted("alice"));
        claim("jti", quoted("j1"));
        claim("iat", (NOW - 10).to_string());
        claim("exp", (NOW + 300).to_string());
        if random.once_in(2) {
            claim("nbf", (NOW - 10).to_string());
        }
        if random.once_in(2) {
            claim("scope", quoted("orders:read  orders:write"));
        }
        draft
    }

    fn sign(&self, key: &Key) -> String {
        key.sign_parts(&object(&self.header), &object(&self.claims))
    }

    fn set(members: &mut Vec<(String, String)>, name: &str, value: String) {
        let name = quoted(name);
        match members.iter_mut().find(|(own, _)| *own == name) {
            Some((_, own)) => *own = value,
            None => members.push((name, value)),
        }
    }
}

/// A token whose meaning was changed before it was signed; `early` is a moment just after 1970, for
/// which it is then made.
fn resigned(provider: usize, early: Option<u64>, world: &World, random: &mut Random) -> Vec<u8> {
    let demands = &PROVIDERS[provider];
    let (own, alg) = loop {
        let own = random.of_list(&world.keys);
        let alg = *random.of_list(&algorithms(own));
        // Signing with RSA is dearer than verifying.
        let price = if own.key.alg() == Alg::RS256 { 80 } else { price(own.key.alg()) };
        let allowed = demands.algorithms.contains(&alg) || random.once_in(20);
        if allowed && random.once_in(price) {
            break (own, alg);
        }
    };
    let mut draft = Draft::good(own, alg, demands, random);
    if let Some(now) = early {
        draft.claims.retain(|(name, _)| name != "\"nbf\"");
        Draft::set(&mut draft.claims, "iat", "0".to_owned());
        let exp = *random.of_list(&[0, 0, 1, now, now + 30]);
        Draft::set(&mut draft.claims, "exp", exp.to_string());
    }
    let mut key = own.key.with_alg(alg);
    let changes = *random.of_list(&[0, 1, 1, 1, 1, 1, 2, 3]);
    let (mut raw_header, mut raw_claims) = (false, false);
    for _ in 0..changes {
        match random.below(20) {
            0..=4 => header_changed(&mut draft.header, random),
            5..=7 => time_shifted(&mut draft.claims, demands, random),
            8..=15 => claims_changed(&mut draft.claims, random),
            16 => raw_header = true,
            17 => raw_claims = true,
            _ => key = other_key(own, alg, &mut draft.header, world, random),
        }
    }
    let whole = |members: &[(String, String)], raw: bool, random: &mut Random| {
        if !raw {
            return object(members);
        }
        if random.once_in(4) {
            return random.of_list(ODD).replace("<now>", &NOW.to_string()).into_bytes();
        }
        bytes_changed(object(members), random)
    };
    let header = whole(&draft.header, raw_header, random);
    let claims = whole(&draft.claims, raw_claims, random);
    if random.once_in(40) {
        // The signature holds over parts in another spelling of base64.
        let mut signed = part_padded(format!("{}.{}", b64(header), b64(claims)).as_bytes(), random);
        if random.once_in(2) {
            signed = last_letter(signed, random);
        }
        let signature = b64(key.sign_raw(&signed));
        return [&signed[..], b".", signature.as_bytes()].concat();
    }
    key.sign_parts(&header, &claims).into_bytes()
}

/// Another key, mostly behind the header of the first.
fn other_key(
    own: &Published,
    alg: Alg,
    header: &mut Vec<(String, String)>,
    world: &World,
    random: &mut Random,
) -> Key {
    match random.below(8) {
        // The same key with another algorithm, which it may not be for or be too short for.
        6 | 7 if ["RSA", "oct"].contains(&own.key.public_jwk()["kty"].as_str().unwrap_or_default()) => {
            let alg = match own.secret {
                Some(_) => *random.of_list(&[Alg::HS256, Alg::HS384, Alg::HS512]),
                None => *random.of_list(&[Alg::RS256, Alg::RS384, Alg::RS512, Alg::PS256, Alg::PS512]),
            };
            Draft::set(header, "alg", quoted(alg.name()));
            own.key.with_alg(alg)
        }
        // A public key as a secret, in every form in which it is to be had.
        0 | 1 if own.secret.is_none() => {
            let jwk = own.key.public_jwk();
            let member = |name: &str| jwk[name].as_str().unwrap_or_default().to_owned();
            let secret = match random.below(7) {
                0 => own.key.public_pem().into_bytes(),
                1 => own.key.public_pem().trim_end().as_bytes().to_vec(),
                2 => own.key.public_der(),
                3 => jwk.to_string().into_bytes(),
                4 => base64url(&format!("{}{}", member("n"), member("x"))).unwrap_or_default(),
                5 => format!("{}{}", member("n"), member("x")).into_bytes(),
                _ => Vec::new(),
            };
            let alg = *random.of_list(&[Alg::HS256, Alg::HS256, Alg::HS512]);
            Draft::set(header, "alg", quoted(alg.name()));
            Key::hmac(alg, "", &secret)
        }
        // Nobody's key of the right kind, in the header as well as not.
        2 | 3 => {
            let stranger = world.strangers.iter().find(|key| key.alg() == alg);
            let stranger = stranger.unwrap_or_else(|| &world.strangers[4]).clone();
            if random.once_in(2) {
                header.push((quoted("jwk"), stranger.public_jwk().to_string()));
                Draft::set(header, "alg", quoted(stranger.alg().name()));
            }
            stranger
        }
        // Another of the issuer's keys: its own algorithm or the first one's in the header.
        _ => {
            let other = &world.keys[3 + random.below(world.keys.len() - 3)];
            if random.once_in(2) {
                Draft::set(header, "alg", quoted(other.key.alg().name()));
            }
            other.key.clone()
        }
    }
}

fn header_changed(header: &mut Vec<(String, String)>, random: &mut Random) {
    const ALGS: &[&str] = &[
        "\"none\"",
        "\"None\"",
        "\"\"",
        "null",
        "0",
        "[]",
        "[\"HS256\"]",
        "\"hs256\"",
        "\"HS256 \"",
        "\"HS256\\n\"",
        "\"HS256\\u0000\"",
        "\"\\u0048S256\"",
        "\"H\\u0405256\"",
        "\"Ed25519\"",
        "\"ed25519\"",
        "\"Ed448\"",
        "\"EdDSA\"",
        "\"eddsa\"",
        "\"ES256K\"",
        "\"RS1\"",
        "\"HS1\"",
        "\"RS256\"",
        "\"RS384\"",
        "\"PS256\"",
        "\"ES256\"",
        "\"ES384\"",
        "\"ES512\"",
        "\"HS256\"",
        "\"HS384\"",
        "\"HS512\"",
        "\"HS256/64\"",
        "\"dir\"",
        "\"RSA-OAEP\"",
        "true",
        "{}",
    ];
    const KIDS: &[&str] = &[
        "\"rs256\"",
        "\"es256\"",
        "\"eddsa\"",
        "\"EDDSA\"",
        "\"twin\"",
        "\"hs256\"",
        "\"hs\"",
        "\"hs-short\"",
        "\"hs384\"",
        "\"\"",
        "\"nobody\"",
        "\"eddsa \"",
        "\"\\u0065ddsa\"",
        "\"eddsa\\u0000\"",
        "null",
        "1",
        "[\"eddsa\"]",
        "{}",
        "false",
        "\"../../../dev/null\"",
        "\"' OR 1=1 --\"",
        "\"\\ud800\"",
    ];
    const TYPES: &[&str] = &[
        "\"JWT\"",
        "\"jwt\"",
        "\"at+jwt\"",
        "\"AT+JWT\"",
        "\"application/at+jwt\"",
        "\"APPLICATION/JWT\"",
        "\"application/application/jwt\"",
        "\"application/\"",
        "\"\"",
        "\"logout+jwt\"",
        "\"secevent+jwt\"",
        "\"application/secevent+jwt\"",
        "\"text/jwt\"",
        "\"JWT \"",
        "\"JW\\u0054\"",
        "\"\\u212aWT\"",
        "null",
        "1",
        "[\"JWT\"]",
        "\"JWE\"",
        "\"absent\"",
        "\"application/text/jwt\"",
    ];
    const MORE: &[(&str, &str)] = &[
        ("crit", "[]"),
        ("crit", "[\"exp\"]"),
        ("crit", "[\"b64\"]"),
        ("crit", "null"),
        ("crit", "\"alg\""),
        ("cr\\u0069t", "[]"),
        ("Crit", "[\"x\"]"),
        ("b64", "false"),
        ("b64", "true"),
        ("b64", "null"),
        ("enc", "\"A128GCM\""),
        ("enc", "null"),
        ("zip", "\"DEF\""),
        ("zip", "null"),
        ("cty", "\"JWT\""),
        ("cty", "1"),
        ("jku", "\"https://evil.example/k\""),
        ("jwk", "{\"kty\":\"oct\",\"k\":\"AAAA\"}"),
        ("jwk", "1"),
        ("x5u", "\"file:///etc/passwd\""),
        ("x5c", "[\"AAAA\"]"),
        ("x5c", "null"),
        ("x5t", "{}"),
        ("p2c", "2147483647"),
        ("epk", "{}"),
        ("exp", "0"),
        ("iss", "\"x\""),
        ("", "1"),
        ("\\u0000", "1"),
    ];
    match random.below(12) {
        0..=2 => Draft::set(header, "alg", (*random.of_list(ALGS)).to_owned()),
        3..=4 => Draft::set(header, "kid", (*random.of_list(KIDS)).to_owned()),
        5..=6 => Draft::set(header, "typ", (*random.of_list(TYPES)).to_owned()),
        7 => {
            let (name, value) = *random.of_list(MORE);
            header.push((format!("\"{name}\""), value.to_owned()));
        }
        8 if !header.is_empty() => {
            let gone = random.below(header.len());
            header.remove(gone);
        }
        9 => header.push((quoted("odd"), random.of_list(ODD).replace("<now>", "0"))),
        10 => {
            let taken: usize = object(header).len() + "\"pad\":\"\",".len();
            let pad = (4093 + random.below(8)).saturating_sub(taken);
            header.push((quoted("pad"), quoted(&"p".repeat(pad))));
        }
        _ => twice(header, random),
    }
}

/// A member once more, as it is or in another spelling, of the same value or another, at any place;
/// or the same inside a member.
fn twice(members: &mut Vec<(String, String)>, random: &mut Random) {
    if members.is_empty() {
        return;
    }
    let (mut name, mut value) = random.of_list(members).clone();
    let letter = name.chars().nth(1);
    match (random.below(5), letter) {
        (0, Some(letter)) if letter != '"' && letter != '\\' => {
            name = format!("\"\\u{:04X}{}", u32::from(letter), &name[1 + letter.len_utf8()..]);
        }
        (1, _) => {
            value = format!("[{{{name}:1,\"x\":[],{name}:1}}]");
            name = quoted("inner");
        }
        (2, _) => {
            value = format!("{{{name}:{{{name}:[]}},\"x\":{{{name}:0}}}}");
            name = quoted("inner");
        }
        (3, _) => value = "0".to_owned(),
        _ => {}
    }
    let at = random.below(members.len() + 1);
    members.insert(at, (name, value));
}

/// A date at a bound of what is accepted, or one step beside it, in some spelling of a number.
fn time_shifted(claims: &mut Vec<(String, String)>, demands: &Demands, random: &mut Random) {
    let name = *random.of_list(&["exp", "nbf", "iat"]);
    let skew = demands.skew as i64;
    let bound = NOW as i64
        + *random.of_list(&[
            0,
            skew,
            -skew,
            demands.max_lifetime.unwrap_or(600) as i64,
            -(demands.max_age.unwrap_or(300) as i64),
        ])
        + *random.of_list(&[-1, 0, 0, 1]);
    let text = match random.below(12) {
        0..=4 => bound.to_string(),
        5 => format!("{bound}.0"),
        6 => format!(
            "{bound}.{}",
            random.of_list(&["5", "25", "75", "999999", "000001", "0000000001", "999999999999"])
        ),
        7 => format!("{}.{:03}e{}", bound / 1000, bound % 1000, random.of_list(&["3", "+3", "03"])),
        8 => format!("{bound}000E-3"),
        9 => format!("{bound}00000000000e-11"),
        _ => (*random.of_list(NUMBERS)).to_owned(),
    };
    Draft::set(claims, name, text);
}

const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "0.0",
    "-0.0",
    "-1",
    "-0.5",
    "0.0000000001",
    "-1e-400",
    "1e-400",
    "1e0",
    "1e10",
    "1E+10",
    "1e400",
    "-1e400",
    "1e19",
    "9.3e18",
    "9223372036854775807",
    "9223372036854775808",
    "9223372036854775807.0",
    "9223372036854774784.0",
    "18446744073709551615",
    "18446744073709551616",
    "1750000000.00000000000000000000000001",
    "01",
    "+1",
    ".5",
    "1.",
    "1.e5",
    "0x10",
    "1_000",
    "1e",
    "1e+",
    "--1",
    "NaN",
    "Infinity",
    "1750000000 ",
    "1e99999999999999999999",
    "0e99999999999999999999",
    "0.1e-99999999999999999999",
    "4294967296",
    "2147483648",
    "1e1",
    "1e2",
    "30",
    "59",
];

fn claims_changed(claims: &mut Vec<(String, String)>, random: &mut Random) {
    const NAMES: &[&str] = &[
        "iss",
        "sub",
        "aud",
        "exp",
        "nbf",
        "iat",
        "jti",
        "scope",
        "scp",
        "cnf",
        "tid",
        "client_id",
        "azp",
        "azp.app",
        "realm",
        "realm.perms",
        "other",
        "",
        "EXP",
        "Iss",
    ];
    const ISSUERS: &[&str] = &[
        "\"https://idp.example\"",
        "\"https://idp.example/\"",
        "\"https:\\/\\/idp.example\\/\"",
        "\"https://IDP.example/\"",
        "\"https://idp.example/ \"",
        "\"https://idp.example/x\"",
        "[\"https://idp.example/\"]",
        "\"\"",
        "\"https://other.example\"",
        "\"https://login.example/t1/v2.0\"",
        "\"https://login.example/t2/v2.0\"",
        "\"https://login.example/t3/v2.0\"",
        "\"https://login.example/{tid}/v2.0\"",
        "\"https://login.example/common\"",
        "\"https://login.example//v2.0\"",
        "null",
    ];
    const AUDIENCES: &[&str] = &[
        "\"orders\"",
        "[\"orders\"]",
        "[]",
        "[\"a\",\"orders\"]",
        "\"Orders\"",
        "\"orders \"",
        "\"orders,x\"",
        "\"orders/\"",
        "\"https://orders/\"",
        "\"http://orders\"",
        "\"https://api.example\"",
        "\"https://api.example/\"",
        "\"http://api.example/\"",
        "\"api.example\"",
        "\"https://https://api.example\"",
        "\"https://api.example//\"",
        "[\"orders\",1]",
        "[[\"orders\"]]",
        "[null]",
        "{\"orders\":1}",
        "null",
        "\"\"",
        "\"/\"",
        "\"*\"",
        "\"ord\\u0065rs\"",
        "\"orders\\u0000\"",
    ];
    const SCOPES: &[&str] = &[
        "\"a b\"",
        "\"a  b a\"",
        "[\"a\",\"b\",\"a\"]",
        "[\"a b\"]",
        "[]",
        "\"\"",
        "\" \"",
        "[\"\"]",
        "\"a\\tb\"",
        "null",
        "1",
        "[\"a\",1]",
        "{\"perms\":\"p q\"}",
        "{\"perms\":[\"p\"]}",
        "{\"perms\":1}",
        "\"a\\u0020b\"",
    ];
    let name = *random.of_list(NAMES);
    match random.below(14) {
        0..=2 => Draft::set(claims, name, random.of_list(ODD).replace("<now>", &(NOW + 5).to_string())),
        3 => Draft::set(claims, "iss", (*random.of_list(ISSUERS)).to_owned()),
        4 => {
            Draft::set(
                claims,
                "tid",
                (*random.of_list(&["\"t1\"", "\"t2\"", "\"t3\"", "\"t1/v2.0\"", "\"\"", "1", "[\"t1\"]"]))
                    .to_owned(),
            );
        }
        5 => {
            let name = *random.of_list(&["aud", "aud", "client_id", "azp", "azp.app"]);
            Draft::set(claims, name, (*random.of_list(AUDIENCES)).to_owned());
        }
        6 => {
            let name = *random.of_list(&["scope", "scp", "realm", "realm.perms"]);
            Draft::set(claims, name, (*random.of_list(SCOPES)).to_owned());
        }
        7..=8 => twice(claims, random),
        9..=10 if !claims.is_empty() => {
            let gone = random.below(claims.len());
            claims.remove(gone);
        }
        11 => Draft::set(claims, name, (*random.of_list(NUMBERS)).to_owned()),
        12 => {
            let depth = 60 + random.below(8);
            let (open, close) = *random.of_list(&[("[", "]"), ("{\"d\":", "}"), ("[[],", "]")]);
            Draft::set(claims, "deep", format!("{}0{}", open.repeat(depth), close.repeat(depth)));
        }
        _ => {
            let many = 10 + random.below(12);
            let last = random.below(many + 1);
            for at in 0..many {
                claims.push((quoted(&format!("m{at}")), "[]".to_owned()));
            }
            claims.push((quoted(&format!("m{last}")), "0".to_owned()));
        }
    }
}

/// Values that readers of JSON do not agree on, and some on which all do.
const ODD: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-1",
    "\"\"",
    "\"x\"",
    "\"<now>\"",
    "<now>",
    "<now>.5",
    "[]",
    "{}",
    "[<now>]",
    "{\"a\":<now>}",
    "[1,]",
    "[,1]",
    "[1 2]",
    "{\"a\":1,}",
    "{\"a\" 1}",
    "{\"a\":}",
    "{a:1}",
    "{'a':1}",
    "{\"a\":1,\"a\":1}",
    "{\"a\":1,\"\\u0061\":1}",
    "[{\"a\":{\"b\":1,\"c\":2,\"b\":3}}]",
    "\"\\u0000\"",
    "\"\\u00\"",
    "\"\\x\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud83d\"",
    "\"\\ude00\\ud83d\"",
    "\"\\ud83d\\u0041\"",
    "\"\\ud83dx\"",
    "\"\\ud83d\\n\"",
    "\"\\uD83D\\uDE00\"",
    "\"\u{1}\"",
    "\"\u{7f}\"",
    "\"\t\"",
    "\"\n\"",
    "\"é\"",
    "\"\u{2028}\"",
    "\u{feff}1",
    " 1 ",
    "\t[\n1\r, 2 ]",
    "\u{a0}1",
    "\u{b}1",
    "/**/1",
    "1//",
    "nul",
    "nulll",
    "True",
    "NaN",
    "-Infinity",
    "undefined",
    "1e400",
    "1e308",
    "1.7976931348623157e308",
    "-1e309",
    "123456789012345678901234567890",
    "0.1",
    "1E5",
    "-0",
    "-",
    "01",
    "\"a",
    "\"\\\"",
    "'x'",
    "",
    "{\"\":{}}",
    "{\"a\":[{\"a\":[{\"a\":1}]}]}",
    "[[[[[[]]]]]]",
    "}",
    "]",
    "{}{}",
    "1,\"exp\":0",
    "1}",
    "\"\\/\"",
    "\"\\u002F\"",
    "[\"a\" , \"b\"]",
];

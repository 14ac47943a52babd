//! The forms: how providers publish keys, well and badly, each with a token that the key in question signed.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use harness::idp::b64;
use harness::{Alg, Key, TokenBuilder};
use serde_json::{Value, json};

use super::certificate::{der_of, pem, pem_of};
use crate::native_differential::{SMALL_MODULUS, SMALL_TOKEN};

pub const ISSUER: &str = "https://idp.example/";
pub const AUDIENCE: &str = "orders";

/// Where both filters have the document from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// They fetch it.
    Remote,
    /// It is in their configuration, as secrets are.
    Local,
}

pub struct Form {
    pub name: String,
    pub document: Vec<u8>,
    pub token: String,
    /// The id of a row of the page; "" where both come to the same verdict.
    pub differs: &'static str,
    /// That verdict.
    pub accepted: bool,
    pub place: Place,
}

/// What becomes of the token.
#[derive(Clone, Copy)]
enum Expected {
    Accepted,
    Refused,
    Differs(&'static str),
}
use Expected::{Accepted, Differs, Refused};

#[derive(Default)]
struct Forms(Vec<Form>);

impl Forms {
    fn add(&mut self, name: &str, document: impl Into<Vec<u8>>, token: String, expected: Expected) {
        let (differs, accepted) = match expected {
            Accepted => ("", true),
            Refused => ("", false),
            Differs(id) => (id, false),
        };
        let (name, document) = (name.to_owned(), document.into());
        self.0.push(Form { name, document, token, differs, accepted, place: Place::Remote });
    }

    /// A set of these members, and a token of this key, which names it.
    fn set(&mut self, name: &str, members: Vec<Value>, key: &Key, expected: Expected) {
        self.add(name, json!({ "keys": members }).to_string(), mint(key).sign(), expected);
    }

    /// A set of one key.
    fn one(&mut self, name: &str, key: &Key, jwk: Value, expected: Expected) {
        self.set(name, vec![jwk], key, expected);
    }

    /// The same in the configuration.
    fn local(&mut self, name: &str, members: Vec<Value>, key: &Key, expected: Expected) {
        self.set(name, members, key, expected);
        if let Some(form) = self.0.last_mut() {
            form.place = Place::Local;
        }
    }
}

pub fn all() -> Vec<Form> {
    let mut forms = Forms::default();
    algorithms(&mut forms);
    members_left_out(&mut forms);
    members_that_say_nothing(&mut forms);
    uses(&mut forms);
    names_of_algorithms(&mut forms);
    key_ids(&mut forms);
    coordinates(&mut forms);
    integers(&mut forms);
    encodings(&mut forms);
    private_members(&mut forms);
    mixed_sets(&mut forms);
    texts(&mut forms);
    other_forms(&mut forms);
    pem_maps(&mut forms);
    certificates_beside(&mut forms);
    bundles(&mut forms);
    secrets(&mut forms);
    forms.0
}

fn mint(key: &Key) -> TokenBuilder {
    TokenBuilder::new(key, ISSUER, AUDIENCE)
}

fn rsa() -> Key {
    Key::cached(Alg::RS256, "form-rsa")
}

fn ec() -> Key {
    Key::cached(Alg::ES256, "form-ec")
}

fn ed() -> Key {
    Key::cached(Alg::EdDSA, "form-ed")
}

/// A key that signs none of the tokens.
fn other() -> Key {
    Key::cached(Alg::ES256, "form-other")
}

fn with(mut jwk: Value, more: Value) -> Value {
    let members = jwk.as_object_mut().expect("a JWK");
    members.extend(more.as_object().expect("members").clone());
    jwk
}

fn without(mut jwk: Value, names: &[&str]) -> Value {
    let members = jwk.as_object_mut().expect("a JWK");
    names.iter().for_each(|name| drop(members.remove(*name)));
    jwk
}

/// The bytes of a member.
fn bytes(jwk: &Value, name: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(jwk[name].as_str().expect("a text")).expect("base64url")
}

/// A JWK of which these members are other bytes.
fn changed(key: &Key, names: &[&str], change: impl Fn(Vec<u8>) -> Vec<u8>) -> Value {
    let mut jwk = key.public_jwk();
    for name in names {
        jwk[*name] = json!(b64(change(bytes(&jwk, name))));
    }
    jwk
}

fn zeros_before(count: usize) -> impl Fn(Vec<u8>) -> Vec<u8> {
    move |bytes| [vec![0; count], bytes].concat()
}

fn algorithms(forms: &mut Forms) {
    for alg in [Alg::RS256, Alg::RS384, Alg::RS512, Alg::PS256, Alg::PS384, Alg::PS512] {
        let key = rsa().with_alg(alg);
        forms.one(&format!("{alg}, as the RFCs have it"), &key, key.public_jwk(), Accepted);
        forms.one(&format!("{alg}, without alg"), &key, without(key.public_jwk(), &["alg"]), Accepted);
    }
    for alg in [Alg::ES256, Alg::ES384, Alg::ES512, Alg::EdDSA] {
        let key = Key::cached(alg, "form-plain");
        forms.one(&format!("{alg}, as the RFCs have it"), &key, key.public_jwk(), Accepted);
        forms.one(&format!("{alg}, without alg"), &key, without(key.public_jwk(), &["alg"]), Accepted);
    }
    let large = Key::generate_rsa(Alg::RS256, "large", 3072);
    forms.one("RSA of 3072 bits", &large, large.public_jwk(), Accepted);
    let small = json!({ "keys": [{ "kty": "RSA", "kid": "small", "n": SMALL_MODULUS, "e": "AQAB" }] });
    forms.add("RSA of 1024 bits", small.to_string(), SMALL_TOKEN.to_owned(), Differs("small_key"));
}

fn members_left_out(forms: &mut Forms) {
    for key in [rsa(), ec(), ed()] {
        let (jwk, alg) = (key.public_jwk(), key.alg());
        for names in [&["use"][..], &["kid"], &["kid", "alg"], &["use", "alg"], &["kid", "alg", "use"]] {
            let name = format!("{alg}, without {}", names.join(", "));
            forms.one(&name, &key, without(jwk.clone(), names), Accepted);
        }
        let set = json!({ "keys": [without(jwk.clone(), &["kid"])] }).to_string();
        let token = mint(&key).without_header("kid").sign();
        forms.add(&format!("{alg}, no kid anywhere"), set, token.clone(), Accepted);
        let set = json!({ "keys": [jwk] }).to_string();
        forms.add(&format!("{alg}, a kid that the token does not name"), set, token, Accepted);
        forms.one(&format!("{alg}, without kty"), &key, without(jwk.clone(), &["kty"]), Refused);
    }
    for (key, name) in [(rsa(), "n"), (rsa(), "e"), (ec(), "x"), (ec(), "y"), (ec(), "crv"), (ed(), "x")] {
        let jwk = without(key.public_jwk(), &[name]);
        let expected = if name == "crv" { Differs("curve_missing") } else { Refused };
        forms.one(&format!("{}, without {name}", key.alg()), &key, jwk, expected);
    }
}

fn members_that_say_nothing(forms: &mut Forms) {
    let nothing = [("null", json!(null)), ("an empty text", json!("")), ("an empty list", json!([]))];
    for (words, nothing) in &nothing {
        for name in ["alg", "use", "kid", "key_ops", "x5c", "x5t", "x5u", "d"] {
            let jwk = with(ec().public_jwk(), json!({ name: nothing }));
            forms.one(&format!("EC, {name} is {words}"), &ec(), jwk, Accepted);
        }
        let names = ["d", "p", "q", "dp", "dq", "qi", "oth", "kid", "alg", "use", "key_ops"];
        let jwk = names.iter().fold(rsa().public_jwk(), |jwk, name| with(jwk, json!({ *name: nothing })));
        forms.one(&format!("RSA, all that is optional is {words}"), &rsa(), jwk, Accepted);
        let jwk = with(ec().public_jwk(), json!({ "x": nothing }));
        forms.one(&format!("EC, x is {words}"), &ec(), jwk, Refused);
        let jwk = with(rsa().public_jwk(), json!({ "e": nothing }));
        forms.one(&format!("RSA, e is {words}"), &rsa(), jwk, Refused);
        let jwk = with(rsa().public_jwk(), json!({ "kty": nothing }));
        forms.one(&format!("RSA, kty is {words}"), &rsa(), jwk, Refused);
    }
}

fn uses(forms: &mut Forms) {
    let use_of = |value: Value| with(ec().public_jwk(), json!({ "use": value }));
    for value in [json!("enc"), json!("Sig"), json!("signature"), json!(7), json!(["sig"])] {
        forms.one(&format!("use is {value}"), &ec(), use_of(value), Differs("use"));
    }
    let ops = |value: Value| with(without(ec().public_jwk(), &["use"]), json!({ "key_ops": value }));
    for value in [json!(["verify"]), json!(["sign", "verify"]), json!(["verify", "x-other"])] {
        forms.one(&format!("key_ops is {value}"), &ec(), ops(value), Accepted);
    }
    for value in [json!(["sign"]), json!(["encrypt", "wrapKey"]), json!("verify"), json!([7]), json!({})] {
        forms.one(&format!("key_ops is {value}"), &ec(), ops(value), Differs("use"));
    }
    let both = with(ec().public_jwk(), json!({ "use": "sig", "key_ops": ["verify"] }));
    forms.one("use and key_ops, which agree", &ec(), both, Accepted);
}

fn names_of_algorithms(forms: &mut Forms) {
    for (key, alg, expected) in [
        (rsa(), json!("RS512"), Refused),
        (rsa(), json!("PS256"), Refused),
        (rsa(), json!("rs256"), Refused),
        (rsa(), json!("RS256 "), Refused),
        (rsa(), json!("RSA"), Refused),
        (rsa(), json!("RSA-OAEP"), Refused),
        (rsa(), json!("RSA1_5"), Refused),
        (rsa(), json!("ES256"), Refused),
        (rsa(), json!("HS256"), Refused),
        (rsa(), json!("none"), Refused),
        (rsa(), json!(256), Differs("member_type")),
        (rsa(), json!(["RS256"]), Differs("member_type")),
        (ec(), json!("ES384"), Refused),
        (ec(), json!("EC"), Refused),
        (ec(), json!("ECDH-ES"), Refused),
        (ec(), json!("ES256K"), Refused),
        (ec(), json!(true), Differs("member_type")),
        (ed(), json!("Ed25519"), Differs("ed25519_name")),
        (ed(), json!("ES256"), Refused),
        (ed(), json!({}), Differs("member_type")),
    ] {
        let jwk = with(key.public_jwk(), json!({ "alg": alg }));
        forms.one(&format!("{}, alg is {alg}", key.alg()), &key, jwk, expected);
    }
    for crv in ["P-384", "P-521", "secp256k1", "p-256", "prime256v1"] {
        let jwk = with(without(ec().public_jwk(), &["alg"]), json!({ "crv": crv }));
        forms.one(&format!("a P-256 key that says {crv}"), &ec(), jwk, Refused);
    }
    for crv in ["Ed448", "X25519", "ed25519"] {
        let jwk = with(without(ed().public_jwk(), &["alg"]), json!({ "crv": crv }));
        forms.one(&format!("an Ed25519 key that says {crv}"), &ed(), jwk, Refused);
    }
    for kty in ["rsa", "EC", "oct", "AKP"] {
        let jwk = with(rsa().public_jwk(), json!({ "kty": kty }));
        forms.one(&format!("an RSA key that says {kty}"), &rsa(), jwk, Refused);
    }
}

fn key_ids(forms: &mut Forms) {
    let kid = |value: Value| with(ec().public_jwk(), json!({ "kid": value }));
    for value in [json!(7), json!(true), json!(["form-ec"]), json!({})] {
        forms.one(&format!("kid is {value}"), &ec(), kid(value), Differs("member_type"));
    }
    for (words, name) in [
        ("is a URI", "https://idp.example/keys/1"),
        ("is a thumbprint", "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
        ("has letters beyond ASCII", "schlüssel-鍵"),
        ("has blanks", " a b "),
        ("has quotes", "\"a\\b\""),
        ("is a number as text", "1"),
    ] {
        let key = ec().with_kid(name);
        forms.one(&format!("a kid that {words}"), &key, key.public_jwk(), Accepted);
    }
    let long = ec().with_kid(&"k".repeat(600));
    forms.one("a kid of 600 letters", &long, long.public_jwk(), Accepted);
    forms.one("a kid in other letters", &ec(), kid(json!("FORM-EC")), Refused);
    forms.one("a kid and a blank", &ec(), kid(json!("form-ec ")), Refused);

    let twin = Key::cached(Alg::ES256, "form-twin").with_kid("form-ec");
    forms.set("two keys of one kid, ours first", vec![ec().public_jwk(), twin.public_jwk()], &ec(), Accepted);
    forms.set("two keys of one kid, ours last", vec![twin.public_jwk(), ec().public_jwk()], &ec(), Accepted);
    let kinds = vec![rsa().with_kid("form-ec").public_jwk(), ec().public_jwk()];
    forms.set("two keys of one kid and of two kinds", kinds, &ec(), Accepted);
    forms.set("the same key twice", vec![ec().public_jwk(), ec().public_jwk()], &ec(), Accepted);

    let nameless = |key: &Key| without(key.public_jwk(), &["kid", "alg", "use"]);
    let named = vec![nameless(&ec()), other().with_kid("form-ec").public_jwk()];
    forms.set("a key without kid beside one of the token's kid", named, &ec(), Differs("kid"));
    let unnamed = vec![nameless(&ec()), other().public_jwk()];
    forms.set("a key without kid beside one of another kid", unnamed, &ec(), Accepted);
    let strangers = |count: usize| {
        (0..count).map(|n| nameless(&Key::cached(Alg::ES256, &format!("stranger-{n}")))).collect::<Vec<_>>()
    };
    let fourth = [strangers(3), vec![nameless(&ec())]].concat();
    forms.set("the fourth of four keys without kid", fourth, &ec(), Accepted);
    let fifth = [strangers(4), vec![nameless(&ec())]].concat();
    forms.set("the fifth of five keys without kid", fifth, &ec(), Differs("many_without_kid"));
}

/// A key of which a coordinate begins with a zero byte, so that encoders of big integers leave it out.
fn short(alg: Alg, coordinate: &str) -> Key {
    let starts = |key: &Key| bytes(&key.public_jwk(), coordinate)[0] == 0;
    let mut keys = (0..).map(|_| Key::generate(alg, &format!("short-{coordinate}")));
    keys.find(starts).expect("one in 256 has it")
}

fn stripped(bytes: Vec<u8>) -> Vec<u8> {
    bytes.into_iter().skip_while(|byte| *byte == 0).collect()
}

fn coordinates(forms: &mut Forms) {
    for alg in [Alg::ES256, Alg::ES384, Alg::ES512] {
        for name in ["x", "y"] {
            let key = short(alg, name);
            forms.one(
                &format!("{alg}, {name} without its leading zero"),
                &key,
                changed(&key, &[name], stripped),
                Accepted,
            );
            forms.one(
                &format!("{alg}, both without leading zeros, {name} has one"),
                &key,
                changed(&key, &["x", "y"], stripped),
                Accepted,
            );
            forms.one(
                &format!("{alg}, {name} with its zero at the end"),
                &key,
                changed(&key, &[name], |bytes| [&bytes[1..], &[0]].concat()),
                Refused,
            );
        }
        let key = Key::cached(alg, "form-plain");
        let one_more = changed(&key, &["x", "y"], zeros_before(1));
        forms.one(&format!("{alg}, both with one zero too many"), &key, one_more, Accepted);
        let y = changed(&key, &["y"], zeros_before(1));
        forms.one(&format!("{alg}, y with one zero too many"), &key, y, Accepted);
        let two_more = changed(&key, &["x"], zeros_before(2));
        forms.one(&format!("{alg}, x with two zeros too many"), &key, two_more, Differs("coordinate_length"));
        let wrong = changed(&key, &["x"], |bytes| [vec![1], bytes].concat());
        forms.one(&format!("{alg}, x with a one before it"), &key, wrong, Refused);
        let cut = changed(&key, &["x"], |bytes| bytes[1..].to_vec());
        // One in 256 keys has a zero there.
        if bytes(&key.public_jwk(), "x")[0] != 0 {
            forms.one(&format!("{alg}, x without its first byte"), &key, cut, Refused);
        }
    }
    let swapped =
        with(ec().public_jwk(), json!({ "x": ec().public_jwk()["y"], "y": ec().public_jwk()["x"] }));
    forms.one("EC, coordinates swapped", &ec(), swapped, Refused);
    forms.one(
        "EC, a point off the curve",
        &ec(),
        with(ec().public_jwk(), json!({ "y": b64([1; 32]) })),
        Refused,
    );
    forms.one("EC, zeros for coordinates", &ec(), changed(&ec(), &["x", "y"], |_| vec![0; 32]), Refused);
    forms.one("Ed25519, with one zero too many", &ed(), changed(&ed(), &["x"], zeros_before(1)), Refused);
    forms.one("Ed25519, one byte too few", &ed(), changed(&ed(), &["x"], |x| x[1..].to_vec()), Refused);
}

fn integers(forms: &mut Forms) {
    for (names, zeros) in [(&["n"][..], 1), (&["n"], 4), (&["e"], 1), (&["e"], 5), (&["n", "e"], 1)] {
        let name = format!("RSA, {} with {zeros} leading zeros", names.join(" and "));
        forms.one(&name, &rsa(), changed(&rsa(), names, zeros_before(zeros)), Accepted);
    }
    for (name, e) in [("1", vec![1]), ("2", vec![2]), ("0", vec![0]), ("65536", vec![1, 0, 0])] {
        forms.one(&format!("RSA, e is {name}"), &rsa(), changed(&rsa(), &["e"], |_| e.clone()), Refused);
    }
    forms.one("RSA, e is a number", &rsa(), with(rsa().public_jwk(), json!({ "e": 65537 })), Refused);
    let reversed = changed(&rsa(), &["n"], |n| n.into_iter().rev().collect());
    forms.one("RSA, n little-endian", &rsa(), reversed, Refused);
}

/// A key whose member has both letters that the alphabets of base64 write differently.
fn lettered() -> Key {
    let lettered = |key: &Key| {
        let jwk = key.public_jwk();
        jwk["n"].as_str().is_some_and(|n| n.contains('-') && n.contains('_'))
    };
    let mut keys = (0..).map(|n| Key::cached(Alg::RS256, &format!("lettered-{n}")));
    keys.find(lettered).expect("nearly all have both")
}

fn encodings(forms: &mut Forms) {
    let written = |key: &Key, names: &[&str], write: &dyn Fn(Vec<u8>) -> String| {
        names.iter().fold(key.public_jwk(), |jwk, name| {
            let text = write(bytes(&jwk, name));
            with(jwk, json!({ *name: text }))
        })
    };
    let padded = |bytes: Vec<u8>| BASE64_URL_SAFE.encode(bytes);
    for (key, names) in [(rsa(), &["n", "e"][..]), (ec(), &["x", "y"]), (ed(), &["x"])] {
        let alg = key.alg();
        forms.one(&format!("{alg}, padded base64url"), &key, written(&key, names, &padded), Accepted);
        let half = |bytes| padded(bytes).trim_end_matches('=').to_owned() + "=";
        let half_padded = written(&key, &names[..1], &half);
        // A modulus of 256 bytes is due two padding characters, a coordinate of 32 bytes one.
        let expected = if alg == Alg::RS256 { Refused } else { Accepted };
        forms.one(&format!("{alg}, one padding character"), &key, half_padded, expected);
        let more = |bytes| padded(bytes) + "==";
        forms.one(&format!("{alg}, too much padding"), &key, written(&key, &names[..1], &more), Refused);
        let lines = |bytes: Vec<u8>| {
            let text = b64(bytes);
            let (head, tail) = text.split_at(20);
            format!("{head}\r\n{tail}")
        };
        forms.one(
            &format!("{alg}, in two lines"),
            &key,
            written(&key, &names[..1], &lines),
            Differs("blanks"),
        );
        let blank = |bytes| format!(" {} ", b64(bytes));
        forms.one(
            &format!("{alg}, blanks around"),
            &key,
            written(&key, &names[..1], &blank),
            Differs("blanks"),
        );
    }
    let key = lettered();
    let standard = |bytes: Vec<u8>| BASE64_STANDARD.encode(bytes);
    forms.one("RSA, standard base64", &key, written(&key, &["n"], &standard), Refused);
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    forms.one("EC, hexadecimal", &ec(), written(&ec(), &["x", "y"], &hex), Refused);
    // The last letter of 32 bytes carries two bits that belong to nothing.
    let stray = |bytes: Vec<u8>| {
        let mut text = b64(bytes);
        let last = text.pop().expect("a letter");
        let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let next = letters.find(last).and_then(|at| letters.as_bytes().get(at + 1));
        text.push(char::from(*next.expect("a letter with two bits to spare")));
        text
    };
    forms.one("EC, stray bits at the end", &ec(), written(&ec(), &["x"], &stray), Differs("stray_bits"));
}

fn private_members(forms: &mut Forms) {
    for (key, name) in [(ec(), "d"), (ed(), "d"), (rsa(), "d"), (rsa(), "p"), (rsa(), "qi")] {
        let jwk = with(key.public_jwk(), json!({ name: b64([1; 32]) }));
        forms.one(&format!("{}, with {name}", key.alg()), &key, jwk, Differs("private_key"));
    }
    for value in [json!(7), json!({}), json!([null]), json!(false)] {
        let jwk = with(ec().public_jwk(), json!({ "d": value }));
        forms.one(&format!("EC, d is {value}"), &ec(), jwk, Differs("private_key"));
    }
    let private = with(other().public_jwk(), json!({ "d": b64([1; 32]) }));
    forms.set("another key is private", vec![private, ec().public_jwk()], &ec(), Accepted);
}

fn mixed_sets(forms: &mut Forms) {
    for (name, stranger) in [
        ("null", json!(null)),
        ("a number", json!(7)),
        ("a text", json!("key")),
        ("a list", json!([])),
        ("an empty object", json!({})),
        ("a key of an unknown kind", json!({ "kty": "AKP", "alg": "ML-DSA-65", "pub": "AA", "kid": "q" })),
        ("a key of an unknown curve", json!({ "kty": "OKP", "crv": "X25519", "x": "AA", "kid": "x" })),
        ("a key off its curve", json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" })),
        ("a key that is no base64url", json!({ "kty": "RSA", "n": "?", "e": "AQAB" })),
        ("a secret", json!({ "kty": "oct", "k": b64([7; 32]), "kid": "s" })),
        ("a key for encryption", with(other().public_jwk(), json!({ "use": "enc" }))),
        ("a secp256k1 key", json!({ "kty": "EC", "crv": "secp256k1", "x": b64([2; 32]), "y": b64([3; 32]) })),
        ("the same key for encryption", with(ec().public_jwk(), json!({ "use": "enc", "alg": "ECDH-ES" }))),
    ] {
        let last = vec![stranger.clone(), ec().public_jwk()];
        forms.set(&format!("{name} before the key"), last, &ec(), Accepted);
        forms.set(&format!("{name} behind the key"), vec![ec().public_jwk(), stranger], &ec(), Accepted);
    }
    let all = vec![rsa().public_jwk(), ec().public_jwk(), ed().public_jwk()];
    for key in [rsa(), ec(), ed()] {
        forms.set(&format!("keys of three kinds, {}", key.alg()), all.clone(), &key, Accepted);
    }
    let members = json!({ "x-note": "…", "iat": 1_700_000_000, "ext": true, "oth2": { "a": [1, null] } });
    forms.one("members that nobody knows", &ec(), with(ec().public_jwk(), members), Accepted);
    let many = |count: usize| {
        let mut keys: Vec<Value> =
            (1..count).map(|n| with(other().public_jwk(), json!({ "kid": format!("k{n}") }))).collect();
        keys.push(ec().public_jwk());
        keys
    };
    forms.set("500 keys", many(500), &ec(), Accepted);
    forms.set("501 keys", many(501), &ec(), Differs("max_keys"));
}

/// One good key, in all manners of text around it.
fn texts(forms: &mut Forms) {
    let set = json!({ "keys": [ec().public_jwk()] }).to_string();
    let jwk = ec().public_jwk().to_string();
    let mut add = |name: &str, document: Vec<u8>, expected| {
        forms.add(name, document, mint(&ec()).sign(), expected);
    };
    let text = |text: String| text.into_bytes();
    add("a byte order mark", text(format!("\u{feff}{set}")), Differs("byte_order_mark"));
    add("two byte order marks", text(format!("\u{feff}\u{feff}{set}")), Refused);
    add("blanks and line ends around", text(format!("\r\n\t {set} \n\n")), Accepted);
    add(
        "indented",
        serde_json::to_vec_pretty(&json!({ "keys": [ec().public_jwk()] })).expect("JSON"),
        Accepted,
    );
    let utf16: Vec<u8> = set.encode_utf16().flat_map(u16::to_le_bytes).collect();
    add("UTF-16", [vec![0xff, 0xfe], utf16].concat(), Refused);
    add("escapes in names", text(set.replace("\"kty\"", "\"\\u006bty\"")), Accepted);
    add("escapes in values", text(set.replace("\"EC\"", "\"\\u0045C\"")), Accepted);
    add(
        "more members around",
        text(set.replacen('{', "{\"cache\":{\"ttl\":300},\"version\":1,", 1)),
        Accepted,
    );
    add(
        "300 KB of other things",
        text(set.replacen('{', &format!("{{\"x\":\"{}\",", "x".repeat(300_000)), 1)),
        Differs("max_bytes"),
    );
    add("a comma at the end", text(set.replace("}]}", "},]}")), Differs("json"));
    add("a comment", text(format!("/* keys */{set}")), Refused);
    add("single quotes", text(set.replace('"', "'")), Differs("json"));
    add("more behind it", text(format!("{set}{set}")), Refused);
    add("cut off", text(set[..set.len() - 2].to_owned()), Refused);
    add("as a script", text(format!("callback({set})")), Refused);
    add("a member twice in a key", text(set.replace("\"kty\"", "\"kid\":\"x\",\"kty\"")), Refused);
    add("keys twice", text(format!("{{\"keys\":[],\"keys\":[{jwk}]}}")), Refused);
    let deep = format!("{{\"x\":{}{},", "[".repeat(80), "]".repeat(80));
    add("nested 80 levels deep", text(set.replacen('{', &deep, 1)), Differs("json"));
    add("a control character", text(set.replacen('{', "{\"x\":\"\u{1}\",", 1)), Differs("json"));
    add(
        "a letter that is no UTF-8",
        [b"{\"x\":\"\xff\",".to_vec(), set.as_bytes()[1..].to_vec()].concat(),
        Refused,
    );
    add("a text with JSON in it", json!(set).to_string().into_bytes(), Refused);
}

fn other_forms(forms: &mut Forms) {
    let jwk = ec().public_jwk();
    for (name, document) in [
        ("a single key", jwk.to_string()),
        ("a list of keys", json!([jwk]).to_string()),
        ("a list of sets", json!([{ "keys": [jwk] }]).to_string()),
        ("keys is an object", json!({ "keys": { "form-ec": jwk } }).to_string()),
        ("keys is one key", json!({ "keys": jwk }).to_string()),
        ("keys is null", json!({ "keys": null }).to_string()),
        ("keys is empty", json!({ "keys": [] }).to_string()),
        ("keys in other letters", json!({ "Keys": [jwk] }).to_string()),
        ("a set inside", json!({ "jwks": { "keys": [jwk] } }).to_string()),
        ("keys by their ids", json!({ "form-ec": jwk }).to_string()),
        ("a metadata document", json!({ "issuer": ISSUER, "jwks_uri": "https://idp.example/k" }).to_string()),
        ("an error in JSON", json!({ "error": "server_error" }).to_string()),
        ("a page", "<!DOCTYPE html><html><body>Log in</body></html>".to_owned()),
        ("nothing", String::new()),
        ("null", "null".to_owned()),
        ("an empty object", "{}".to_owned()),
        ("a PEM text", ec().public_pem()),
        ("a signed set", mint(&ec()).claim("keys", json!([jwk])).sign()),
    ] {
        forms.add(&format!("no set: {name}"), document, mint(&ec()).sign(), Refused);
    }
}

fn pem_maps(forms: &mut Forms) {
    let mut map = |name: &str, members: Value, key: &Key, expected| {
        forms.add(&format!("PEM map: {name}"), members.to_string(), mint(key).sign(), expected);
    };
    let stranger = Key::cached(Alg::RS256, "form-stranger");
    let certificate = |key: &Key| json!({ key.kid(): pem_of(key) });
    map("a certificate, RSA", certificate(&rsa()), &rsa(), Accepted);
    let two = with(certificate(&stranger), certificate(&rsa()));
    map("two certificates", two.clone(), &rsa(), Accepted);
    map("two certificates, the other kid", two, &rsa().with_kid(stranger.kid()), Refused);
    map("a kid that is not in it", certificate(&rsa()), &rsa().with_kid("nobody"), Refused);
    map("a certificate, for PS256", certificate(&rsa()), &rsa().with_alg(Alg::PS256), Accepted);
    for key in [ec(), Key::cached(Alg::ES384, "form-plain"), Key::cached(Alg::ES512, "form-plain"), ed()] {
        map(&format!("a certificate, {}", key.alg()), certificate(&key), &key, Differs("pem_map"));
    }
    for key in
        [rsa(), ec(), Key::cached(Alg::ES384, "form-plain"), Key::cached(Alg::ES512, "form-plain"), ed()]
    {
        let members = json!({ key.kid(): key.public_pem() });
        map(&format!("a public key, {}", key.alg()), members, &key, Differs("pem_map"));
    }
    let kid = rsa().kid().to_owned();
    let of = |text: String| json!({ kid.clone(): text });
    map(
        "a certificate with CRLF",
        of(pem("CERTIFICATE", &der_of(&rsa()), 64, "\r\n")),
        &rsa(),
        Differs("pem_map"),
    );
    map("a certificate in one long line", of(pem("CERTIFICATE", &der_of(&rsa()), 0, "\n")), &rsa(), Accepted);
    map("a certificate in lines of 76", of(pem("CERTIFICATE", &der_of(&rsa()), 76, "\n")), &rsa(), Accepted);
    map(
        "a certificate without the last line end",
        of(pem_of(&rsa()).trim_end().to_owned()),
        &rsa(),
        Differs("pem_map"),
    );
    map("a certificate and blanks", of(format!("\n  {}\n\n", pem_of(&rsa()))), &rsa(), Differs("pem_map"));
    // A SubjectPublicKeyInfo of RSA, 2048 bits, has 24 bytes before the key itself.
    let inner = pem("RSA PUBLIC KEY", &rsa().public_der()[24..], 64, "\n");
    map("an RSA public key of PKCS #1", of(inner), &rsa(), Differs("pem_map"));
    map("a chain", of(format!("{}{}", pem_of(&rsa()), pem_of(&stranger))), &rsa(), Accepted);
    map(
        "a chain, the authority's key",
        of(format!("{}{}", pem_of(&stranger), pem_of(&rsa()))),
        &rsa(),
        Refused,
    );
    map(
        "a certificate and another member",
        with(certificate(&rsa()), json!({ "version": 1 })),
        &rsa(),
        Differs("pem_map"),
    );
    map("an empty kid", json!({ "": pem_of(&rsa()) }), &rsa().with_kid("nobody"), Refused);
    map("a private key", of(pem("PRIVATE KEY", &[0x30, 0], 64, "\n")), &rsa(), Refused);
    map("a certificate that is none", of(pem("CERTIFICATE", &[0x30, 0], 64, "\n")), &rsa(), Refused);
    map("base64 without the lines around", of(BASE64_STANDARD.encode(der_of(&rsa()))), &rsa(), Refused);
    let in_a_set = json!({ "keys": [pem_of(&rsa())] });
    map("a certificate in a set", in_a_set, &rsa(), Refused);
}

fn certificates_beside(forms: &mut Forms) {
    for key in [rsa(), ec()] {
        let chain = json!([BASE64_STANDARD.encode(der_of(&key))]);
        let jwk = with(
            key.public_jwk(),
            json!({ "x5c": chain, "x5t": "AHK_", "x5t#S256": "AHK_", "x5u": "https://x/" }),
        );
        forms.one(&format!("{}, with a certificate", key.alg()), &key, jwk, Accepted);
        let other = json!([BASE64_STANDARD.encode(der_of(&other()))]);
        let jwk = with(key.public_jwk(), json!({ "x5c": other }));
        forms.one(&format!("{}, with another key's certificate", key.alg()), &key, jwk, Accepted);
        let alone = json!({ "kty": key.public_jwk()["kty"], "kid": key.kid(), "x5c": chain });
        forms.one(&format!("{}, a certificate alone", key.alg()), &key, alone, Refused);
    }
}

fn bundles(forms: &mut Forms) {
    let authority = |n: usize| {
        let key = Key::cached(Alg::ES256, &format!("authority-{}", n % 3));
        let chain = json!([BASE64_STANDARD.encode(der_of(&key))]);
        with(without(key.public_jwk(), &["kid", "alg", "use"]), json!({ "use": "x509-svid", "x5c": chain }))
    };
    let signer =
        |key: &Key, wanted: &str| with(without(key.public_jwk(), &["alg"]), json!({ "use": wanted }));
    let mut bundle = |name: &str, keys: Vec<Value>, key: &Key, expected| {
        let document = json!({ "spiffe_sequence": 7, "spiffe_refresh_hint": 300, "keys": keys });
        forms.add(&format!("SPIFFE: {name}"), document.to_string(), mint(key).sign(), expected);
    };
    for key in [rsa(), ec()] {
        bundle(
            &format!("a key for tokens, {}", key.alg()),
            vec![authority(0), signer(&key, "jwt-svid")],
            &key,
            Accepted,
        );
    }
    for wanted in ["x509-svid", "wit-svid", "sig", "enc"] {
        let keys = vec![signer(&ec(), wanted), signer(&other(), "jwt-svid")];
        bundle(&format!("a key for {wanted}"), keys, &ec(), Differs("spiffe"));
    }
    bundle("a key with a kid and no use", vec![without(ec().public_jwk(), &["use"])], &ec(), Accepted);
    let nameless = vec![without(ec().public_jwk(), &["use", "kid"]), signer(&other(), "jwt-svid")];
    bundle("a key without kid and use", nameless, &ec(), Differs("spiffe"));
    let chain = json!([BASE64_STANDARD.encode(der_of(&ec()))]);
    let certified = with(without(ec().public_jwk(), &["use"]), json!({ "x5c": chain }));
    bundle(
        "an authority without use",
        vec![certified, signer(&other(), "jwt-svid")],
        &ec(),
        Differs("spiffe"),
    );
    bundle("authorities alone", vec![authority(0), authority(1)], &ec(), Refused);
    bundle("no keys", vec![], &ec(), Refused);
    let many = [(0..272).map(authority).collect(), vec![signer(&ec(), "jwt-svid")]].concat();
    bundle("272 authorities", many, &ec(), Accepted);
    let many = [(0..600).map(authority).collect(), vec![signer(&ec(), "jwt-svid")]].concat();
    bundle("600 authorities", many, &ec(), Accepted);

    let token = || mint(&ec()).sign();
    let by_use = json!({ "keys": [authority(0), signer(&ec(), "jwt-svid")] }).to_string();
    forms.add("SPIFFE: known by use alone", by_use, token(), Accepted);
    let by_wit = json!({ "keys": [signer(&other(), "wit-svid"), ec().public_jwk()] }).to_string();
    forms.add("SPIFFE: known by wit-svid alone, our key for sig", by_wit, token(), Differs("spiffe"));
    let sequence = json!({ "spiffe_sequence": 1, "keys": [signer(&ec(), "jwt-svid")] }).to_string();
    forms.add("SPIFFE: without a refresh hint", sequence, token(), Accepted);
    let federated = json!({ "spiffe_x": null, "keys": [without(ec().public_jwk(), &["use"])] }).to_string();
    forms.add("SPIFFE: a member of another name", federated, token(), Accepted);
}

fn secrets(forms: &mut Forms) {
    let long = Key::hmac(Alg::HS256, "secret", &[7; 32]);
    let jwk = long.public_jwk();
    let beside = |jwk: Value| vec![jwk, Key::hmac(Alg::HS256, "beside", &[9; 64]).public_jwk()];
    forms.local("HS256, as the RFCs have it", beside(jwk.clone()), &long, Accepted);
    forms.local("HS256, without alg", beside(without(jwk.clone(), &["alg"])), &long, Accepted);
    forms.local("HS256, without kid", beside(without(jwk.clone(), &["kid"])), &long, Accepted);
    let empty = json!({ "kid": null, "use": "", "key_ops": [], "alg": null });
    forms.local("HS256, members that say nothing", beside(with(jwk.clone(), empty)), &long, Accepted);
    let padded = json!({ "k": BASE64_URL_SAFE.encode([7; 32]) });
    forms.local("HS256, padded", beside(with(jwk.clone(), padded)), &long, Accepted);
    let standard = Key::hmac(Alg::HS256, "secret", &[0xff; 32]);
    let written = with(standard.public_jwk(), json!({ "k": BASE64_STANDARD.encode([0xff; 32]) }));
    forms.local("HS256, standard base64", beside(written), &standard, Refused);
    forms.local("HS256, an empty secret", beside(with(jwk.clone(), json!({ "k": "" }))), &long, Refused);
    for (bits, alg) in [(384, Alg::HS384), (512, Alg::HS512)] {
        let key = Key::hmac(alg, "secret", &vec![7; bits / 8]);
        forms.local(&format!("{alg}, as the RFCs have it"), beside(key.public_jwk()), &key, Accepted);
        let short = Key::hmac(alg, "secret", &[7; 32]);
        forms.local(
            &format!("{alg}, a secret of 256 bits"),
            beside(short.public_jwk()),
            &short,
            Differs("short_secret"),
        );
    }
    let short = Key::hmac(Alg::HS256, "secret", &[7; 16]);
    forms.local("HS256, a secret of 128 bits", beside(short.public_jwk()), &short, Differs("short_secret"));
    forms.local("HS256, for PS256", beside(with(jwk.clone(), json!({ "alg": "PS256" }))), &long, Refused);
    forms.set("a secret that is published", vec![jwk, ec().public_jwk()], &long, Differs("published_secret"));
}

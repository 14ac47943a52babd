//! Any bytes as a DPoP proof, and any header and claims with a signature that is none: nothing holds but the one proof that
//! the key made (RFC 9449 section 7.1).
//!
//! The input is a proof; or, behind a `!`, a header and claims with a line feed between them.

#![no_main]

use std::cell::OnceCell;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use portcullis::{Backend, Config, Confirmation, Dpop, Request, Timestamp, parse_json};
use portcullis_fuzz::KEYS;

/// The proof of RFC 9449 section 7.1, and its token.
const GOOD: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
const CNF: &str = r#"{"cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}"#;
const NOW: u64 = 1_562_262_623;

thread_local! {
    static DPOP: OnceCell<Dpop> = const { OnceCell::new() };
}

fn dpop() -> Dpop {
    let text = format!(
        r#"{{"providers":{{"p":{{"issuer":"i","local_jwks":{{"inline":{KEYS}}},"algorithms":["ES256","HS256"],
        "sender_constrained":"enforce","dpop":{{"origins":["https://resource.example.org"]}}}}}},"rules":[]}}"#
    );
    let config = Config::parse(text.as_bytes(), &|_| None).expect("a configuration");
    config.providers[0].dpop().expect("dpop").clone()
}

fn holds(dpop: &Dpop, confirmation: &Confirmation, proof: &[u8]) -> bool {
    let fields: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":path", b"/protectedresource?a"),
        (b":authority", b"resource.example.org"),
        (b"dpop", proof),
    ];
    let (request, now) = (Request::new(&fields), Timestamp::from_secs(NOW));
    dpop.check(confirmation, TOKEN.as_bytes(), &request, &Backend::portable(), now).is_ok()
}

fuzz_target!(|input: &[u8]| {
    DPOP.with(|once| {
        let dpop = once.get_or_init(dpop);
        let claims = parse_json(CNF.as_bytes()).expect("JSON");
        let confirmation = Confirmation::of(claims.as_object().expect("an object")).expect("cnf");
        match input.strip_prefix(b"!") {
            None => {
                // An ECDSA signature has a twin, which holds too.
                let signed = |proof: &[u8]| proof.rsplitn(2, |byte| *byte == b'.').nth(1).map(<[u8]>::to_vec);
                let is_good = signed(input) == signed(GOOD.as_bytes());
                assert!(is_good || !holds(dpop, &confirmation, input), "a forged proof holds");
                // What was tried before changes nothing.
                assert!(holds(dpop, &confirmation, GOOD.as_bytes()), "the good one does not hold");
                assert!(is_good || !holds(dpop, &confirmation, input), "a forged proof holds");
            }
            Some(parts) => {
                let split = parts.iter().position(|byte| *byte == b'\n').unwrap_or(parts.len());
                let (header, claims) = (&parts[..split], parts.get(split + 1..).unwrap_or_default());
                let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
                let proof = [&encode(header), ".", &encode(claims), ".", &encode(&[7; 64])].concat();
                assert!(!holds(dpop, &confirmation, proof.as_bytes()), "a proof without a signature holds");
            }
        }
    });
});

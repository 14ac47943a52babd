//! What the fuzzers share: keys, a configuration, and the few tokens that it accepts.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use portcullis::{Config, Timestamp};
use sha2::Sha256;

/// The moment at which everything happens: just before the token of RFC 7515 appendix A.3 expires.
pub const NOW: u64 = 1_300_819_000;

/// The token of RFC 7515 appendix A.3, of the issuer `joe`.
pub const JOE: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

/// Its key and others: the RSA key of appendix A.2, the Ed25519 key of RFC 8037 appendix A, and a
/// secret, which only these fuzzers know.
pub const KEYS: &str = r#"{"keys":[
{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
{"kty":"RSA","kid":"r","alg":"RS256","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"},
{"kty":"OKP","kid":"o","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
{"kty":"oct","kid":"h","alg":"HS256","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}"#;

/// Two providers, a public rule, and rules that ask for a token.
pub fn config() -> Config {
    let text = format!(
        r#"{{"providers":{{
        "joe":{{"issuer":"joe","local_jwks":{{"inline":{KEYS}}},"algorithms":["ES256","RS256","EdDSA","HS256"],
            "forward_payload_header":"x-payload",
            "claim_to_headers":[{{"header_name":"x-user","claim_name":"sub"}},{{"header_name":"x-list","claim_name":"l","list_format":"repeat"}}]}},
        "ann":{{"issuer":"https://a/{{t}}","issuer_claims":{{"t":["1","2"]}},"audiences":["orders"],"local_jwks":{{"inline":{KEYS}}},
            "from_headers":[{{"name":"x-token"}}],"algorithms":["HS256"],"max_age":"3600s"}}}},
        "rules":[
        {{"name":"open","match":{{"path":"/open"}}}},
        {{"name":"ann","match":{{"path_template":"/t/{{x}}/**","methods":["GET","POST"]}},"requires":{{"provider_name":"ann"}}}},
        {{"name":"all","match":{{"prefix":"/"}},"requires":{{"provider_name":"joe"}}}}]}}"#
    );
    Config::parse(text.as_bytes(), &|_| None).expect("a configuration")
}

/// [`NOW`] for the filter.
pub fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

/// A token that the secret of [`KEYS`] signs.
pub fn signed(header: &[u8], claims: &[u8]) -> String {
    let secret: Vec<u8> = (0..32).collect();
    let text = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(claims));
    let mac = Hmac::<Sha256>::new_from_slice(&secret).expect("any length will do").chain_update(&text);
    let signature = BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{text}.{signature}")
}

/// A token of `ann` that is good at [`NOW`].
pub fn ann() -> String {
    let claims = format!(
        r#"{{"iss":"https://a/1","t":"1","aud":"orders","exp":{},"iat":{},"sub":"u"}}"#,
        NOW + 60,
        NOW - 60
    );
    signed(br#"{"alg":"HS256","kid":"h"}"#, claims.as_bytes())
}

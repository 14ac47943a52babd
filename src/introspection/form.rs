//! The request of a call (RFC 7662 section 2.1).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::answer::MAX_ANSWER_BYTES;
use super::settings::{AnswerForm, ClientAuthentication, Introspection};
use crate::fetch::{HttpMethod, HttpRequest, SecretValue};

/// Asks about a token.
pub(super) fn request(settings: &Introspection, token: &[u8]) -> HttpRequest {
    // The hint keeps refresh tokens out where a server heeds it, and does no harm elsewhere.
    let mut body = String::from("token=");
    encode(token, &mut body);
    body.push_str("&token_type_hint=access_token");
    let mut field = |name: &str, value: &str| {
        body.push('&');
        body.push_str(name);
        body.push('=');
        encode(value.as_bytes(), &mut body);
    };
    let authorization = match &settings.authentication {
        ClientAuthentication::Basic { id, secret } => Some(basic(id, &secret.0)),
        ClientAuthentication::Post { id, secret } => {
            field("client_id", id);
            field("client_secret", &secret.0);
            None
        }
        ClientAuthentication::Bearer(token) => Some(["Bearer ", &token.0].concat()),
        ClientAuthentication::None => {
            settings.client_id.iter().for_each(|id| field("client_id", id));
            None
        }
    };
    let accept = match settings.form {
        AnswerForm::Json => "application/json",
        AnswerForm::Jwt => "application/token-introspection+jwt",
    };
    let fields = [
        ("accept", accept.to_owned()),
        ("accept-encoding", "identity".to_owned()),
        ("content-type", "application/x-www-form-urlencoded".to_owned()),
    ];
    let fields = fields.into_iter().chain(authorization.map(|value| ("authorization", value)));
    HttpRequest {
        method: HttpMethod::Post,
        endpoint: settings.endpoint.clone(),
        headers: fields.map(|(name, value)| (name.to_owned(), SecretValue(value))).collect(),
        body: body.into_bytes(),
        max_bytes: MAX_ANSWER_BYTES,
    }
}

/// Both form-encoded first (RFC 6749 section 2.3.1).
fn basic(id: &str, secret: &str) -> String {
    let mut pair = String::new();
    encode(id.as_bytes(), &mut pair);
    pair.push(':');
    encode(secret.as_bytes(), &mut pair);
    let mut value = String::from("Basic ");
    BASE64_STANDARD.encode_string(pair, &mut value);
    value
}

/// Form encoding that every reader takes: a blank as `%20`, not as `+`.
fn encode(text: &[u8], into: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            into.push(char::from(*byte));
        } else {
            let digit =
                |nibble: u8| DIGITS.get(usize::from(nibble & 15)).map_or('0', |digit| char::from(*digit));
            into.extend(['%', digit(byte >> 4), digit(*byte)]);
        }
    }
}

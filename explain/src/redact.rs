//! Tokens are not shown: in their place stands how long they are.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The same text without tokens: without those that are given, and without anything that has the form of a JWT.
pub fn without_tokens(text: &str, known: &[String]) -> String {
    let mut text = text.to_owned();
    for token in known.iter().filter(|token| !token.is_empty()) {
        text = text.replace(token.as_str(), &placeholder(token));
    }
    let is_part = |byte: char| byte.is_ascii_alphanumeric() || "-_.".contains(byte);
    let mut shown = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(start) = rest.find(is_part) {
        let (before, from) = rest.split_at(start);
        let (word, after) = from.split_at(from.find(|byte| !is_part(byte)).unwrap_or(from.len()));
        let token = token_start(word).unwrap_or(word.len());
        let (word, token) = word.split_at(token);
        shown.extend([before, word]);
        if !token.is_empty() {
            shown.push_str(&placeholder(token));
        }
        rest = after;
    }
    shown + rest
}

fn placeholder(token: &str) -> String {
    format!("<token of {} bytes>", token.len())
}

/// Where in a word a JWS or a JWE begins: parts with dots between them, of which the first is a JSON object.
fn token_start(word: &str) -> Option<usize> {
    let starts = std::iter::once(0).chain(word.match_indices('.').map(|(at, _)| at + 1));
    starts.into_iter().find(|at| {
        let mut parts = word[*at..].split('.');
        let head = parts.next().and_then(|head| URL_SAFE_NO_PAD.decode(head).ok());
        head.is_some_and(|head| head.first() == Some(&b'{')) && parts.count() >= 2
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_shown() {
        let known = ["opaque-1".to_owned()];
        for (text, shown) in [
            ("Bearer eyJhIjoxfQ.e30.c2ln", "Bearer <token of 19 bytes>"),
            ("a=1; t=eyJhIjoxfQ.e30.c2ln; b=2", "a=1; t=<token of 19 bytes>; b=2"),
            ("/x?access_token=eyJhIjoxfQ.e30.&y", "/x?access_token=<token of 15 bytes>&y"),
            ("a.b.eyJhIjoxfQ.e30.c2ln", "a.b.<token of 19 bytes>"),
            ("eyJhIjoxfQ.e30", "eyJhIjoxfQ.e30"),
            ("Bearer opaque-1", "Bearer <token of 8 bytes>"),
            ("www.example.com", "www.example.com"),
            ("é eyJhIjoxfQ.e30.c2ln é", "é <token of 19 bytes> é"),
            ("", ""),
        ] {
            assert_eq!(without_tokens(text, &known), shown, "{text}");
        }
    }
}

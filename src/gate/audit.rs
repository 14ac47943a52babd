//! The audit line of a decision: who, what and why, in JSON, so seldom that nobody can flood the log.
//!
//! Nothing in it can be used in a token's place: a token shows as a keyed fingerprint of what it says,
//! a subject as a keyed hash, and whatever in a path or a header looks like a token is cut out.

use ::hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::cached_token::could_end_a_line;
use super::notes::Limiter;
use super::outcome::FilterState;
use crate::config::{AuditPolicy, ShownSubject};
use crate::fetch::SecretValue;
use crate::json::quoted;
use crate::request::Request;
use crate::time::Timestamp;
use crate::token::{Found, Jws, find};
use crate::upstream::{Decision, FilterStateField};

/// The writer of audit lines.
#[derive(Debug)]
pub(super) struct Audit {
    policy: AuditPolicy,
    key: SecretValue,
    limiter: Limiter,
    random: u64,
}

/// The longest text of a client's that is repeated, in characters.
pub const MAX_TEXT: usize = 200;

impl Audit {
    pub(super) fn new(policy: &AuditPolicy, random: u64) -> Self {
        let key = policy.key.clone().unwrap_or_else(|| SecretValue(format!("{random:032x}")));
        Self { limiter: Limiter::new(policy.max_per_second), policy: policy.clone(), key, random: random | 1 }
    }

    /// The line for a decision, where one is to be written.
    pub(super) fn line(
        &mut self,
        state: &FilterState,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Option<String> {
        let wanted = match state.decision {
            Decision::Allow => self.policy.allow_sample > 0.0 && self.draw() < self.policy.allow_sample,
            Decision::Deny | Decision::WouldDeny => self.policy.refusals,
        };
        let left_out = if wanted { self.limiter.admit(now)? } else { return None };
        let mut line = Line::default();
        line.raw("time", &format!("{}.{:03}", now.as_secs(), (now.as_nanos() / 1_000_000) % 1000));
        line.text("decision", state.decision.as_str());
        let shown = |entry| state.shown(entry);
        line.option("reason", shown(FilterStateField::Reason));
        line.option("rule", shown(FilterStateField::Rule));
        line.option("provider", shown(FilterStateField::Provider));
        line.option("route", state.route.as_deref().map(cut).as_deref());
        self.token(state, request, &mut line);
        if let Some(subject) = shown(FilterStateField::Subject) {
            match self.policy.subject {
                ShownSubject::Hash => line.text("subject_hash", &self.hash("subject", subject.as_bytes())),
                ShownSubject::Plain => line.text("subject", &cut(subject)),
                ShownSubject::None => {}
            }
        }
        line.option("client", request.properties().client_address().as_deref());
        for (name, field) in [
            ("method", ":method"),
            ("host", ":authority"),
            ("path", ":path"),
            ("user_agent", "user-agent"),
            ("request_id", "x-request-id"),
        ] {
            let Some(value) = request.first(field) else { continue };
            let value = String::from_utf8_lossy(value);
            line.text(name, &cut(value.split('?').next().filter(|_| name == "path").unwrap_or(&value)));
        }
        if left_out > 0 {
            line.raw("lines_left_out", &left_out.to_string());
        }
        Some(format!("audit {}", line.end()))
    }

    /// The key id and the fingerprint of the token that was judged, and the id of one that held.
    fn token(&self, state: &FilterState, request: &Request<'_>, line: &mut Line) {
        if let Some(jti) = state.principal.as_ref().and_then(|verdict| verdict.claims().all().get("jti")) {
            line.option("jti", jti.as_str().map(cut).as_deref());
        }
        let Some(provider) = &state.provider else { return };
        let Found::One(credential) = find(&provider.locations, request) else { return };
        if let Ok(jws) = Jws::parse(credential.text) {
            line.option("kid", jws.header().kid.as_deref().map(cut).as_deref());
            line.text("token_fingerprint", &self.hash("token", jws.signing_input().as_bytes()));
        }
    }

    fn hash(&self, what: &str, text: &[u8]) -> String {
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(self.key.0.as_bytes()) else { return String::new() };
        let tag = mac.chain_update(what).chain_update([0]).chain_update(text).finalize().into_bytes();
        tag.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The next number from 0 to 1 (xorshift64); which requests are written is no secret.
    fn draw(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A JSON object in the making.
#[derive(Default)]
struct Line(String);

impl Line {
    fn raw(&mut self, name: &str, json: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&format!("\"{name}\":{json}"));
    }

    fn text(&mut self, name: &str, text: &str) {
        let mut json = String::with_capacity(text.len());
        // JSON itself asks for escapes of the controls below U+0020 alone.
        for c in quoted(text).chars() {
            if could_end_a_line(c) {
                json.push_str(&format!("\\u{:04x}", u32::from(c)));
            } else {
                json.push(c);
            }
        }
        self.raw(name, &json);
    }

    fn option(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// A text of a client's, cut where it grows long or begins to look like a token: a JSON object in base64
/// begins with these letters.
fn cut(text: &str) -> String {
    let (text, looks_like_token) = match text.split_once("eyJ") {
        Some((before, _)) => (before, true),
        None => (text, false),
    };
    let mut out: String = text.chars().take(MAX_TEXT).collect();
    if looks_like_token {
        out.push_str("[cut: looks like a token]");
    } else if out.len() < text.len() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{self, Json};
    use crate::reason::Reason;

    fn object(line: &str) -> json::Object {
        let text = line.strip_prefix("audit ").expect("an audit line");
        let Ok(Json::Object(object)) = json::parse(text.as_bytes()) else { panic!("{text}") };
        object
    }

    fn refused() -> FilterState {
        FilterState { decision: Decision::Deny, reason: Some(Reason::Expired), ..FilterState::default() }
    }

    #[test]
    fn a_line_is_one_json_object_whatever_the_client_sends() {
        let mut audit = Audit::new(&AuditPolicy::default(), 7);
        let long = "x".repeat(1000);
        for (path, agent) in [
            ("/a?token=secret", "curl"),
            ("/a\"\\b", "a\r\nportcullis: audit {}"),
            ("/eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UifQ.c2ln", "eyJhbGciOiJFUzI1NiJ9"),
            ("/\u{1}\u{7f}", long.as_str()),
            ("/a\u{85}\u{2028}portcullis: audit {}", "a\u{2029}b"),
        ] {
            let fields = [
                (&b":method"[..], &b"GET"[..]),
                (b":path", path.as_bytes()),
                (b"user-agent", agent.as_bytes()),
            ];
            let line = audit.line(&refused(), &Request::new(&fields), Timestamp::from_secs(1)).unwrap();
            assert!(!line.contains(could_end_a_line), "{line:?}");
            assert!(!line.contains("secret") && !line.contains("eyJ"), "{line}");
            assert!(line.len() < 1000, "{line}");
            let line = object(&line);
            assert_eq!(line.get("reason").and_then(Json::as_str), Some("expired"));
            assert_eq!(line.get("method").and_then(Json::as_str), Some("GET"));
        }
    }

    #[test]
    fn lines_are_sampled_and_bounded() {
        let fields = [(&b":method"[..], &b"GET"[..])];
        let request = Request::new(&fields);
        let lines = |policy: AuditPolicy, state: &FilterState| {
            let mut audit = Audit::new(&policy, 7);
            (0..1000)
                .filter(|at| audit.line(state, &request, Timestamp::from_secs(at / 100)).is_some())
                .count()
        };
        let usual = AuditPolicy::default();
        assert_eq!(lines(usual.clone(), &FilterState::default()), 0);
        assert_eq!(lines(usual.clone(), &refused()), 200);
        assert_eq!(lines(AuditPolicy { refusals: false, ..usual.clone() }, &refused()), 0);
        let all = AuditPolicy { allow_sample: 1.0, max_per_second: 1000, ..usual.clone() };
        assert_eq!(lines(all.clone(), &FilterState::default()), 1000);
        let tenth = lines(AuditPolicy { allow_sample: 0.1, ..all }, &FilterState::default());
        assert!((50..150).contains(&tenth), "{tenth}");
    }
}

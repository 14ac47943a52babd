//! The audit line of a decision: who, what and why, in JSON, and so seldom that no client can flood the log.
//!
//! Nothing in it can be used in a token's place: a token is shown as a keyed fingerprint of what it says,
//! a subject as a keyed hash, and whatever in a path or a header looks like a token is cut out.

use std::borrow::Cow;
use std::io;

use ::hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use sha2::Sha256;

use crate::fetch::SecretValue;
use crate::reason::{Context, Reason};
use crate::request::Request;
use crate::text::could_end_a_line;
use crate::time::{Limiter, Timestamp};
use crate::token::{Claims, Found, Jws, Location, find, listed};
use crate::upstream::Decision;

/// What is written, and how much of it.
#[derive(Clone, PartialEq, Debug)]
pub struct AuditPolicy {
    /// Whether refusals are written, those that a rule only reports among them.
    pub refusals: bool,
    /// Which part of what passes is written, from 0 to 1.
    pub allow_sample: f64,
    /// How many lines one worker writes in a second at most.
    pub max_per_second: u32,
    /// How a subject is shown.
    pub subject: ShownSubject,
    /// What fingerprints are keyed with, so that they are the same in every proxy; none: a key of this
    /// instance's own, so that they are not.
    pub key: Option<SecretValue>,
}

/// How a subject is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShownSubject {
    /// As a keyed hash
    Hash,
    /// As it is
    Plain,
    /// Not at all
    None,
}

impl Default for AuditPolicy {
    fn default() -> Self {
        Self { refusals: true, allow_sample: 0.0, max_per_second: 20, subject: ShownSubject::Hash, key: None }
    }
}

/// The longest text of a client's that is repeated, in characters; and the longest detail of a rejection.
pub const MAX_TEXT: usize = 200;

/// A decision as the audit line tells of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuditRecord<'a> {
    /// What was decided.
    pub decision: Decision,
    /// Why the request was, or would have been, refused.
    pub reason: Option<Reason>,
    /// By how much, or what exactly.
    pub context: Option<&'a Context>,
    /// The name of the rule that decided.
    pub rule: Option<&'a str>,
    /// The name of the provider of the token.
    pub provider: Option<&'a str>,
    /// Where that provider's tokens are in a request.
    pub locations: &'a [Location],
    /// The name of the route that served, where it is not the one by which the request was judged.
    pub route: Option<&'a str>,
    /// The claims of the verified token whose subject is the principal.
    pub claims: Option<&'a Claims>,
}

/// The writer of audit lines.
#[derive(Debug)]
pub struct AuditLog {
    policy: AuditPolicy,
    key: SecretValue,
    limiter: Limiter,
    /// Draws the sample; which requests are written is no secret.
    random: fastrand::Rng,
}

/// The line, field by field in order.
#[derive(Serialize)]
struct Line<'a> {
    time: f64,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    lines_left_out: u64,
}

impl AuditLog {
    /// The writer for a policy. `random` keys the fingerprints where the policy has no key, and draws the sample.
    pub fn new(policy: &AuditPolicy, random: u64) -> Self {
        let key = policy.key.clone().unwrap_or_else(|| SecretValue(format!("{random:032x}")));
        Self {
            limiter: Limiter::new(policy.max_per_second),
            policy: policy.clone(),
            key,
            random: fastrand::Rng::with_seed(random),
        }
    }

    /// Whether a decision is one of those of which lines are written.
    pub fn wants(&mut self, decision: Decision) -> bool {
        match decision {
            Decision::Allow => self.policy.allow_sample > 0.0 && self.random.f64() < self.policy.allow_sample,
            Decision::Deny | Decision::WouldDeny => self.policy.refusals,
        }
    }

    /// The line for a decision that is [wanted](Self::wants); none where there were too many in this second.
    pub fn line(&mut self, record: AuditRecord<'_>, request: &Request<'_>, now: Timestamp) -> Option<String> {
        let lines_left_out = self.limiter.admit(now)?;
        let (kid, token_fingerprint) = self.token(record.locations, request).unwrap_or_default();
        let subject = record.claims.and_then(|claims| claims.subject.as_deref());
        let (subject_hash, subject) = match self.policy.subject {
            ShownSubject::Hash => (subject.map(|subject| self.hash("subject", subject.as_bytes())), None),
            ShownSubject::Plain => (None, subject.map(cut)),
            ShownSubject::None => (None, None),
        };
        let field = |name| request.first(name).map(|value| cut(&String::from_utf8_lossy(value)));
        let jti = record.claims.and_then(|claims| claims.all().get("jti")?.as_str());
        let line = Line {
            time: (now.as_nanos() / 1_000_000) as f64 / 1000.0,
            decision: record.decision.as_str(),
            reason: record.reason.map(Reason::as_str),
            detail: detail(&record).map(|detail| cut(&detail)),
            rule: record.rule,
            provider: record.provider,
            route: record.route.map(cut),
            jti: jti.map(cut),
            kid,
            token_fingerprint,
            subject_hash,
            subject,
            client: request.properties().client_address(),
            method: field(":method"),
            host: field(":authority"),
            path: request.first(":path").map(|target| cut(&path_of(target))),
            user_agent: field("user-agent"),
            request_id: field("x-request-id"),
            lines_left_out,
        };
        let mut text = b"audit ".to_vec();
        line.serialize(&mut Serializer::with_formatter(&mut text, OneLine)).ok()?;
        String::from_utf8(text).ok()
    }

    /// The key id and the fingerprint of the token that was judged.
    fn token(
        &self,
        locations: &[Location],
        request: &Request<'_>,
    ) -> Option<(Option<String>, Option<String>)> {
        let Found::One(credential) = find(locations, request) else { return None };
        let token = credential.token();
        let jws = Jws::parse(&token).ok()?;
        let fingerprint = self.hash("token", jws.signing_input().as_bytes());
        Some((jws.header().kid.as_deref().map(cut), Some(fingerprint)))
    }

    fn hash(&self, what: &str, text: &[u8]) -> String {
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(self.key.0.as_bytes()) else { return String::new() };
        let tag = mac.chain_update(what).chain_update([0]).chain_update(text).finalize().into_bytes();
        base16ct::lower::encode_string(tag.get(..16).unwrap_or_default())
    }
}

/// What led to a refusal. Of a missing token it is where that was looked for, which is put into words here and not on
/// the way of the request: most of them are written nowhere.
fn detail(record: &AuditRecord<'_>) -> Option<String> {
    match record.context.filter(|context| !context.is_none()) {
        Some(context) => Some(context.to_string()),
        None if record.reason == Some(Reason::TokenMissing) && !record.locations.is_empty() => {
            Some(["there is none in: ", &listed(record.locations)].concat())
        }
        None => None,
    }
}

/// JSON in which nothing could end a line of a log, and times have three decimals.
struct OneLine;

impl Formatter for OneLine {
    fn write_f64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        write!(writer, "{value:.3}")
    }

    /// JSON itself asks for escapes of the control characters below U+0020 alone.
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((before, c, after)) = split_at_line_end(rest) {
            write!(writer, "{before}\\u{:04x}", u32::from(c))?;
            rest = after;
        }
        writer.write_all(rest.as_bytes())
    }
}

/// A text around its first character that could end a line.
fn split_at_line_end(text: &str) -> Option<(&str, char, &str)> {
    let (before, rest) = text.split_at_checked(text.find(could_end_a_line)?)?;
    let mut chars = rest.chars();
    Some((before, chars.next()?, chars.as_str()))
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The path of a request target: its query may hold secrets.
fn path_of(target: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(target.split(|byte| *byte == b'?').next().unwrap_or_default())
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

    fn object(line: &str) -> json::Object {
        let text = line.strip_prefix("audit ").expect("an audit line");
        let Ok(Json::Object(object)) = json::parse(text.as_bytes()) else { panic!("{text}") };
        object
    }

    fn refused() -> AuditRecord<'static> {
        let reason = Some(Reason::Expired);
        AuditRecord { decision: Decision::Deny, reason, ..AuditRecord::default() }
    }

    #[test]
    fn a_line_is_one_json_object_whatever_the_client_sends() {
        let mut audit = AuditLog::new(&AuditPolicy::default(), 7);
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
            let line = audit.line(refused(), &Request::new(&fields), Timestamp::from_secs(1)).unwrap();
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
        let lines = |policy: AuditPolicy, record: AuditRecord<'_>| {
            let mut audit = AuditLog::new(&policy, 7);
            (0..1000)
                .filter(|at| {
                    audit.wants(record.decision)
                        && audit.line(record, &request, Timestamp::from_secs(at / 100)).is_some()
                })
                .count()
        };
        let usual = AuditPolicy::default();
        assert_eq!(lines(usual.clone(), AuditRecord::default()), 0);
        assert_eq!(lines(usual.clone(), refused()), 200);
        assert_eq!(lines(AuditPolicy { refusals: false, ..usual.clone() }, refused()), 0);
        let all = AuditPolicy { allow_sample: 1.0, max_per_second: 1000, ..usual.clone() };
        assert_eq!(lines(all.clone(), AuditRecord::default()), 1000);
        let tenth = lines(AuditPolicy { allow_sample: 0.1, ..all }, AuditRecord::default());
        assert!((50..150).contains(&tenth), "{tenth}");
    }
}

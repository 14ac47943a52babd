//! What an event means for tokens.

use std::time::Duration;

use portcullis::{Json, JsonObject, Timestamp};

use super::subject::{Subject, subject};
use super::{Refusal, date};
use crate::config::Issuer;
use crate::entry::{Entry, MAX_NAME, Name};

/// OpenID Connect Back-Channel Logout 1.0 section 2.4.
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// OpenID Continuous Access Evaluation Profile 1.0 section 3.1.
const SESSION_REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
/// Events that say nothing of tokens that are there, by their last part.
const WITHOUT_ENTRY: [(&str, &str); 3] = [
    ("https://schemas.openid.net/secevent/caep/event-type/credential-change", "credential_change"),
    ("https://schemas.openid.net/secevent/ssf/event-type/verification", "verification"),
    ("https://schemas.openid.net/secevent/ssf/event-type/stream-updated", "stream_updated"),
];
/// The name of all sessions.
const ALL: &str = "ALL";
/// How many events one token may have.
const MAX_EVENTS: usize = 16;

/// What an event is read from.
pub(super) struct From<'e> {
    pub(super) issuer: &'e Issuer,
    pub(super) claims: &'e JsonObject,
    pub(super) issued: Timestamp,
    pub(super) now: Timestamp,
    pub(super) keep: Duration,
}

type Meaning = (&'static str, Vec<Entry>);

impl From<'_> {
    fn events(&self) -> Result<&JsonObject, Refusal> {
        let events = self.claims.get("events").and_then(Json::as_object);
        let events = events.filter(|events| (1..=MAX_EVENTS).contains(&events.len()));
        events.ok_or_else(|| Refusal::request("\"events\" must be an object of 1 to 16 members"))
    }

    fn until(&self) -> Option<u64> {
        Some(self.now.plus(self.keep).as_secs())
    }

    fn entry(&self, issuer: &str, name: Name) -> Entry {
        let until = self.until();
        Entry { issuer: issuer.to_owned(), name, issued_before: None, until, drop_at: until }
    }

    /// Whole seconds are all that tokens say of when they were issued: the second of the event itself is among those that
    /// are cut off.
    fn cutoff(&self, issuer: &str, sub: &str, moment: Timestamp) -> Entry {
        let issued_before = Some(moment.as_secs().saturating_add(1));
        Entry { issued_before, ..self.entry(issuer, Name::Subject(sub.to_owned())) }
    }

    fn check_issuer(&self, issuer: &str) -> Result<(), Refusal> {
        let is_own =
            issuer == self.issuer.issuer || self.issuer.subject_issuers.iter().any(|own| own == issuer);
        let refusal =
            || Refusal::request("names a subject of another issuer; list that one in \"subject_issuers\"");
        if is_own { Ok(()) } else { Err(refusal()) }
    }
}

/// A logout token (OpenID Connect Back-Channel Logout 1.0 section 2.6).
pub(super) fn logout(from: &From<'_>) -> Result<Meaning, Refusal> {
    let event = from.events()?.get(LOGOUT);
    if event.and_then(Json::as_object).is_none() {
        return Err(Refusal::request("is no logout token: \"events\" has no object of that name"));
    }
    let issuer = &from.issuer.issuer;
    let (sid, sub) = (optional(from.claims, "sid")?, optional(from.claims, "sub")?);
    let entry = match (sid, sub) {
        (Some(sid), _) => from.entry(issuer, Name::Session(sid.to_owned())),
        (None, Some(sub)) => from.cutoff(issuer, sub, from.issued),
        (None, None) => return Err(Refusal::request("has neither \"sid\" nor \"sub\"")),
    };
    Ok(("backchannel_logout", vec![entry]))
}

/// A name that may be left out, but is a text where it is there.
fn optional<'c>(claims: &'c JsonObject, name: &str) -> Result<Option<&'c str>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Json::String(_)) => super::required_text(claims, name).map(Some),
        Some(_) => Err(Refusal::request(format!("{name:?} must be a text of 1 to {MAX_NAME} bytes"))),
    }
}

/// A Security Event Token (RFC 8417). An event that is not known is taken and says nothing.
pub(super) fn event(from: &From<'_>) -> Result<Meaning, Refusal> {
    let events = from.events()?;
    if let Some(event) = events.get(SESSION_REVOKED) {
        let Some(event) = event.as_object() else {
            return Err(Refusal::request("its session-revoked event is no object"));
        };
        return Ok(("session_revoked", session_revoked(from, event)?));
    }
    let known = WITHOUT_ENTRY.iter().find(|(uri, _)| events.contains(uri));
    Ok((known.map_or("other", |(_, kind)| kind), Vec::new()))
}

fn session_revoked(from: &From<'_>, event: &JsonObject) -> Result<Vec<Entry>, Refusal> {
    let own = &from.issuer.issuer;
    let subject = subject(from.claims, event)?;
    let moment = moment(from, event);
    if let Some(issuer) = subject.user.as_ref().and_then(|user| user.issuer.as_deref()) {
        from.check_issuer(issuer)?;
    }
    let of_user = |subject: &Subject| {
        let user = subject.user.as_ref()?;
        Some(from.cutoff(user.issuer.as_deref().unwrap_or(own), &user.sub, moment))
    };
    let session_issuer = subject.user.as_ref().and_then(|user| user.issuer.as_deref()).unwrap_or(own);
    let mut entries = Vec::new();
    match subject.session.as_deref() {
        Some(ALL) => entries.extend(of_user(&subject)),
        Some(sid) => entries.push(from.entry(session_issuer, Name::Session(sid.to_owned()))),
        None => entries.extend(of_user(&subject)),
    }
    if let Some((issuer, jti)) = &subject.token {
        from.check_issuer(issuer)?;
        entries.push(from.entry(issuer, Name::Token(jti.clone())));
    }
    // A name alone is that of a session or of a user: it could be either.
    if let Some(name) = &subject.either {
        entries.push(from.entry(own, Name::Session(name.clone())));
        entries.push(from.cutoff(own, name, moment));
    }
    if entries.is_empty() {
        return Err(Refusal::request(
            "names no session and no user in a form that a token has: \"iss_sub\", \"opaque\" or \"jwt_id\"",
        ));
    }
    Ok(entries)
}

/// When the sessions ended: as the event says, where that is not after the token was issued.
fn moment(from: &From<'_>, event: &JsonObject) -> Timestamp {
    let said = date(event, "event_timestamp").ok().flatten();
    said.filter(|said| *said <= from.issued).unwrap_or(from.issued)
}

//! What came of a request, as a value that can be shown and written as JSON.

use std::collections::BTreeMap;

use portcullis::{
    Allow, Answer, Check, Gate, LocalReply, Outcome, Reason, Rejection, Request, Step, StepOutcome,
};
use serde::Serialize;

use crate::redact::without_tokens;
use crate::request::{RequestSketch, by_name};

/// What the gate does with a request, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Explanation {
    /// `allow`, `deny`, or `would_deny` under a rule that only reports.
    pub decision: &'static str,
    /// The status that the client gets: 200 where the request goes on to the upstream, which may answer otherwise.
    pub status: u16,
    /// Why it is refused, or would be.
    pub reason: Option<&'static str>,
    /// The reason in a sentence, with what the audit line would say besides; for the operator alone.
    pub detail: Option<String>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// The provider of the token that was accepted, or asked for.
    pub provider: Option<String>,
    /// What programs behind the gate could take the path for, as far as the rules look at it: the first as it was sent.
    pub readings: Vec<String>,
    /// What each step saw.
    pub steps: Vec<StepReport>,
    /// What the gate itself answers, where it does.
    pub answer: Option<LocalAnswer>,
    /// What goes on to the upstream, where it does.
    pub upstream: Option<Upstream>,
    /// What was assumed.
    pub notes: Vec<String>,
    /// The version of the core that decided.
    pub version: &'static str,
}

/// A step of the request's way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StepReport {
    /// Its name, as `docs/architecture.md` has it.
    pub step: &'static str,
    /// The provider whose token it was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// `passed`, `failed` or `waits`.
    pub outcome: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What there is to say of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What it looked at.
    pub checks: Vec<CheckReport>,
}

/// One thing that a step looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CheckReport {
    /// What.
    pub what: String,
    /// Whether it does.
    pub ok: bool,
    /// What was seen, or why it does not do.
    pub text: String,
}

/// Header fields by name, those of a name in their order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fields(pub BTreeMap<String, Vec<String>>);

/// One value as a text, several as a list of texts.
impl Serialize for Fields {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Values<'v> {
            One(&'v str),
            Several(&'v [String]),
        }
        serializer.collect_map(self.0.iter().map(|(name, values)| match &values[..] {
            [one] => (name, Values::One(one)),
            several => (name, Values::Several(several)),
        }))
    }
}

/// What the gate answers in the upstream's place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LocalAnswer {
    /// The status.
    pub status: u16,
    /// The fields that the gate writes; the proxy adds its own.
    pub headers: Fields,
    /// The body.
    pub body: String,
}

/// What the upstream gets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Upstream {
    /// The fields of the request as it leaves the gate, without tokens: in the place of one is how long it is.
    pub headers: Fields,
    /// The names of the fields that came and do not go on, or not as they came.
    pub removed: Vec<String>,
}

impl Explanation {
    pub(crate) fn new(
        gate: &Gate,
        request: &Request<'_>,
        sketch: &RequestSketch,
        outcome: Outcome,
        steps: Vec<Step>,
        notes: Vec<String>,
        secrets: &[String],
    ) -> Self {
        let hide = |text: &str| without_tokens(text, secrets);
        let view = gate.config().rules.view(request);
        let has_path = request.target().is_some() && !request.is_connect();
        let readings =
            if has_path { view.path().iter().map(|one| hide(&one.text)).collect() } else { Vec::new() };
        let (state, answer, upstream) = match outcome {
            Outcome::Allow(allow) => {
                let upstream = Upstream::new(&allow, request, &hide);
                (allow.state, None, Some(upstream))
            }
            Outcome::Deny(Rejection { response, state }) => {
                let reply = response.reply(request.is_grpc());
                (state, Some(LocalAnswer::new(&reply, sketch)), None)
            }
            Outcome::Answer(Answer { reply, state }) => (state, Some(LocalAnswer::new(&reply, sketch)), None),
            // Whatever it waits for does not come here.
            Outcome::Wait => {
                let reply = portcullis::ErrorResponse::new(Reason::Overloaded, "").reply(request.is_grpc());
                let state = portcullis::FilterState::refused(Reason::Overloaded);
                (state, Some(LocalAnswer::new(&reply, sketch)), None)
            }
        };
        let detail = state.reason.map(|reason| {
            let more = state.context.to_string();
            if more.is_empty() {
                reason.detail().to_owned()
            } else {
                format!("{}: {more}", reason.detail().trim_end_matches('.'))
            }
        });
        Self {
            decision: state.decision.as_str(),
            status: answer.as_ref().map_or(200, |answer| answer.status),
            reason: state.reason.map(Reason::as_str),
            detail: detail.as_deref().map(hide),
            rule: state.rule.as_ref().map(|rule| rule.name.clone()),
            provider: state.provider.as_ref().map(|provider| provider.name.clone()),
            readings,
            steps: steps.iter().map(|step| StepReport::new(step, &hide)).collect(),
            answer,
            upstream,
            notes,
            version: crate::VERSION,
        }
    }
}

impl StepReport {
    fn new(step: &Step, hide: &impl Fn(&str) -> String) -> Self {
        let (outcome, rejected) = match &step.outcome {
            StepOutcome::Passed => ("passed", None),
            StepOutcome::Failed(rejected) => ("failed", Some(rejected)),
            StepOutcome::Waits => ("waits", None),
        };
        let text = rejected.map(|rejected| rejected.context.to_string()).filter(|text| !text.is_empty());
        Self {
            step: step.name.as_str(),
            provider: step.provider.clone(),
            outcome,
            reason: rejected.map(|rejected| rejected.reason.as_str()),
            text: text.as_deref().map(hide),
            checks: step.checks.iter().map(|check| CheckReport::new(check, hide)).collect(),
        }
    }
}

impl CheckReport {
    fn new(Check { what, outcome }: &Check, hide: &impl Fn(&str) -> String) -> Self {
        let (ok, text) = match outcome {
            Ok(text) => (true, text.clone()),
            Err(rejected) => (false, rejected.to_string()),
        };
        Self { what: what.clone(), ok, text: hide(&text) }
    }
}

impl LocalAnswer {
    /// As the client gets it: a gRPC client gets the status in a field (gRPC over HTTP/2, "Responses"), and a HEAD request
    /// no body (RFC 9110 section 9.3.2).
    fn new(reply: &LocalReply, sketch: &RequestSketch) -> Self {
        let own = reply.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into_owned()));
        let mut headers: Vec<(String, String)> = own.collect();
        let (status, body) = match reply.grpc_status {
            Some(grpc_status) => {
                headers.extend([
                    ("content-type".to_owned(), "application/grpc".to_owned()),
                    ("grpc-status".to_owned(), grpc_status.to_string()),
                ]);
                if !reply.body.is_empty() {
                    headers.push(("grpc-message".to_owned(), reply.body.clone()));
                }
                (200, String::new())
            }
            None if sketch.method == "HEAD" => (reply.status, String::new()),
            None => (reply.status, reply.body.clone()),
        };
        Self { status, headers: Fields(by_name(headers)), body }
    }
}

impl Upstream {
    /// What the filter does to the fields: the same in the same order as in `host/apply.rs`.
    fn new(allow: &Allow, request: &Request<'_>, hide: &impl Fn(&str) -> String) -> Self {
        let mut fields: Vec<(Vec<u8>, Vec<u8>)> =
            request.fields().iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        let mut removed: Vec<String> = Vec::new();
        let mut remove = |fields: &mut Vec<(Vec<u8>, Vec<u8>)>, name: &[u8]| {
            fields.retain(|(own, _)| own != name);
            let name = String::from_utf8_lossy(name).into_owned();
            if !removed.contains(&name) {
                removed.push(name);
            }
        };
        allow.remove.iter().for_each(|name| remove(&mut fields, name));
        for (name, left) in &allow.left {
            remove(&mut fields, name.as_bytes());
            fields.extend(left.iter().map(|value| (name.as_bytes().to_vec(), value.clone())));
        }
        if let Some(target) = &allow.target {
            let path = fields.iter_mut().find(|(name, _)| name == b":path");
            path.into_iter().for_each(|(_, value)| value.clone_from(target));
        }
        fields
            .extend(allow.added().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = fields.iter().map(|(name, value)| (text(name), hide(&text(value))));
        Self { headers: Fields(by_name(fields)), removed }
    }
}

//! One step: what is sent, what should come back, and why.

use std::fmt::Write;
use std::net::SocketAddr;

use serde_json::Value;

use super::{Paint, Walker};
use crate::client::{Request, Response};
use crate::wait::{SOON, poll};

/// A further demand on the answer: what is wrong with it, if anything.
type Demand = Box<dyn Fn(&Response) -> Result<(), String>>;

/// A step of the walk.
pub(super) struct Step {
    method: &'static str,
    target: &'static str,
    with: &'static str,
    why: &'static str,
    request: Request,
    /// Where it is sent, if not to the gateway.
    addr: Option<SocketAddr>,
    status: u16,
    /// What the client is told.
    reasons: &'static [&'static str],
    /// What the access log says.
    logged: Option<&'static str>,
    demands: Vec<Demand>,
}

impl Step {
    /// A request, and in words what is special about it.
    pub(super) fn new(method: &'static str, target: &'static str, with: &'static str) -> Self {
        let request = Request::new(method, target).host("gateway.example");
        let request = if method == "POST" { request.body("{}") } else { request };
        Self {
            method,
            target,
            with,
            why: "",
            request,
            addr: None,
            status: 200,
            reasons: &[],
            logged: None,
            demands: Vec::new(),
        }
    }

    /// It is for this address, and names it.
    pub(super) fn at(mut self, addr: SocketAddr) -> Self {
        self.request = self.request.host(addr.to_string());
        self.addr = Some(addr);
        self
    }

    /// It is a message of MCP.
    pub(super) fn message(mut self, message: &Value) -> Self {
        self.request = self.request.body(message.to_string());
        self.header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
    }

    pub(super) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// It passes.
    pub(super) fn passes(mut self, why: &'static str) -> Self {
        self.why = why;
        self
    }

    /// It is refused, for a reason that is both told and logged.
    pub(super) fn refused(self, status: u16, reason: &'static [&'static str; 1], why: &'static str) -> Self {
        self.refused_as(status, reason, reason[0], why)
    }

    /// It is refused. The client is told one thing (or one of several), the log another.
    pub(super) fn refused_as(
        mut self,
        status: u16,
        told: &'static [&'static str],
        logged: &'static str,
        why: &'static str,
    ) -> Self {
        self.status = status;
        self.reasons = told;
        self.logged = Some(logged);
        self.why = why;
        self.demand(|response| {
            let kind = response.header("content-type").unwrap_or_default();
            if kind.starts_with("application/problem+json") {
                Ok(())
            } else {
                Err(format!("a body of type application/problem+json, got {kind:?}"))
            }
        })
    }

    /// Its challenge holds these texts.
    pub(super) fn challenge(self, parts: &'static [&'static str]) -> Self {
        self.demand(move |response| {
            let challenge = response.header("www-authenticate").unwrap_or_default();
            match parts.iter().find(|part| !challenge.contains(**part)) {
                None => Ok(()),
                Some(part) => Err(format!("WWW-Authenticate with {part}, got {challenge:?}")),
            }
        })
    }

    /// Its body holds these texts.
    pub(super) fn says(self, parts: Vec<String>) -> Self {
        self.demand(move |response| {
            let body = response.text();
            match parts.iter().find(|part| !body.contains(part.as_str())) {
                None => Ok(()),
                Some(part) => Err(format!("a body with {part}, got {body:?}")),
            }
        })
    }

    /// The upstream got a header field with exactly these values, however the name was spelt.
    pub(super) fn upstream_saw(self, name: &'static str, values: &'static [&'static str]) -> Self {
        self.demand(move |response| {
            let seen: Vec<String> = spellings(name).iter().flat_map(|name| response.echoed(name)).collect();
            if seen == values {
                Ok(())
            } else {
                Err(format!("{name} at the upstream to be {values:?}, got {seen:?}"))
            }
        })
    }

    fn demand(mut self, demand: impl Fn(&Response) -> Result<(), String> + 'static) -> Self {
        self.demands.push(Box::new(demand));
        self
    }

    /// Sends it, and compares.
    pub(super) fn take(self, number: usize, walker: &mut Walker<'_>) -> Result<Taken, String> {
        let mark = format!("{number}-{:x}", std::process::id());
        let request = self.request.clone().header("x-walk-step", &mark);
        let response = match self.addr {
            None => walker.ask(&request)?,
            Some(addr) => request.try_send(addr).map_err(|error| format!("gateway {addr}: {error}"))?,
        };
        let told = response.reason();
        let mut differences = Vec::new();
        if response.status != self.status {
            differences.push(format!("status {}, got {}", self.status, response.status));
        }
        if !self.reasons.is_empty() && !told.as_deref().is_some_and(|told| self.reasons.contains(&told)) {
            differences.push(format!(
                "reason {}, got {}",
                self.reasons.join(" or "),
                told.as_deref().unwrap_or("none")
            ));
        }
        if differences.is_empty() {
            differences.extend(self.demands.iter().filter_map(|demand| demand(&response).err()));
        }
        let logged = self.look_up(&mark, walker);
        if let (Some(expected), Some(found)) = (self.logged, &logged)
            && found != expected
        {
            differences.push(format!("the access log to say {expected}, got {found}"));
        }

        let mut came = response.status.to_string();
        if let Some(told) = &told {
            let _ = write!(came, " {told}");
        }
        // What the client is not told and the operator sees.
        let hidden = logged.filter(|logged| self.logged.is_some() && told.as_deref() != Some(logged));
        if let Some(hidden) = hidden {
            let _ = write!(came, " ({hidden})");
        }
        Ok(Taken {
            number,
            sent: format!("{} {}, {}", self.method, self.target, self.with),
            came,
            why: self.why,
            differences,
        })
    }

    /// The reason in the response code details of the access log, where there is one to read.
    fn look_up(&self, mark: &str, walker: &Walker<'_>) -> Option<String> {
        let access_log = walker.target.access_log?;
        self.logged?;
        let line = poll(SOON, || access_log(mark));
        let Some(line) = line else { return Some("nothing in the access log".to_owned()) };
        let details = line["details"].as_str().unwrap_or("no details");
        Some(details.strip_prefix("portcullis_").unwrap_or(details).to_owned())
    }
}

/// A name with dashes and with underscores.
fn spellings(name: &str) -> Vec<String> {
    let folded = name.replace('-', "_");
    if folded == name { vec![folded] } else { vec![name.to_owned(), folded] }
}

/// A step that was taken.
pub(super) struct Taken {
    number: usize,
    sent: String,
    came: String,
    why: &'static str,
    /// What was expected and what came, where they differ.
    pub(super) differences: Vec<String>,
}

impl Taken {
    /// The step as a line, and one more for each difference.
    pub(super) fn show(&self, paint: Paint) -> String {
        let good = self.differences.is_empty();
        let mark = if good { paint.good("✔") } else { paint.bad("✘") };
        let came = format!("{:<42}", self.came);
        let came = if good { paint.strong(&came) } else { paint.bad(&came) };
        let why = paint.faint(self.why);
        let mut text = format!("{:>3} {mark} {:<50} → {came} {why}\n", self.number, self.sent);
        for difference in &self.differences {
            let _ = writeln!(text, "      {}", paint.bad(&format!("expected {difference}")));
        }
        text
    }
}

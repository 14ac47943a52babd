//! The demonstration behind `make run`: numbered requests that show what the filter allows and what it refuses.
//!
//! [`Stage`] brings up everything on loopback; [`run`] walks through the steps against any [`Target`], also one
//! that runs elsewhere (in containers, say), for it speaks to the gateway and the identity provider over HTTP only.

mod forge;
mod mcp;
mod paint;
mod prover;
mod recipe;
mod stage;
mod step;
mod steps;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

pub use paint::Paint;
pub use stage::Stage;

use step::Step;

use crate::client::{Connection, Request, Response};
use crate::wait::{SOON, poll};

/// How long gateway and identity provider may take until they answer.
const PATIENCE: Duration = SOON;

/// How long a gateway may take until it refuses a token that was revoked: the `poll_interval` or the time for which an
/// answer counts, a second, and what a busy machine adds.
const REVOKED_WITHIN: Duration = Duration::from_secs(15);

/// Looks up what the access log says of a step, by the value of its `x-walk-step` header.
pub type AccessLog<'a> = dyn Fn(&str) -> Option<Value> + 'a;

/// Where the walk goes.
pub struct Target<'a> {
    /// The gateway: Envoy with the filter.
    pub gateway: SocketAddr,
    /// The demo identity provider.
    pub idp: SocketAddr,
    /// The gateway in front of an MCP server, where there is one: its steps are left out otherwise.
    pub mcp: Option<SocketAddr>,
    /// Envoy's access log, where it can be read: it holds the full reason of each refusal.
    pub access_log: Option<&'a AccessLog<'a>>,
}

impl fmt::Debug for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target(gateway {}, identity provider {})", self.gateway, self.idp)
    }
}

/// How a walk went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The steps that were taken.
    pub steps: usize,
    /// Those that came out otherwise than they say.
    pub different: usize,
}

/// Takes every step, printing a line for each.
///
/// # Errors
/// When gateway or identity provider cannot be reached: what was asked, and what came.
pub fn run(target: &Target<'_>, paint: Paint) -> Result<Tally, String> {
    let mut walker = Walker { target, paint, tally: Tally::default(), connection: None };
    walker.wait_until_ready()?;
    println!("Each line: a request → the answer, its reason, in brackets what only the log says, and why.");
    steps::all(&mut walker)?;
    Ok(walker.tally)
}

/// Goes from step to step.
struct Walker<'a> {
    target: &'a Target<'a>,
    paint: Paint,
    tally: Tally,
    /// One connection for the whole walk, so that one worker answers all of it.
    connection: Option<Connection>,
}

impl Walker<'_> {
    fn wait_until_ready(&mut self) -> Result<(), String> {
        for (what, addr) in [("identity provider", self.target.idp), ("gateway", self.target.gateway)] {
            let request = Request::get("/healthz").timeout(Duration::from_secs(2));
            let mut last = String::from("nothing");
            let ready = poll(PATIENCE, || match request.try_send(addr) {
                Ok(answer) if answer.status == 200 => Some(()),
                Ok(answer) => {
                    last = format!("status {}", answer.status);
                    None
                }
                Err(error) => {
                    last = error.to_string();
                    None
                }
            });
            if ready.is_none() {
                return Err(format!(
                    "waited {PATIENCE:?} for the {what} at {addr}: GET /healthz gives {last}"
                ));
            }
        }
        Ok(())
    }

    /// Says what the next steps are about.
    fn title(&self, text: &str) {
        println!("\n{}", self.paint.strong(text));
    }

    /// Takes a step and prints how it went.
    fn take(&mut self, step: Step) -> Result<(), String> {
        self.tally.steps += 1;
        let taken = step.take(self.tally.steps, self)?;
        self.tally.different += usize::from(!taken.differences.is_empty());
        print!("{}", taken.show(self.paint));
        Ok(())
    }

    /// Sends a request to the gateway.
    fn ask(&mut self, request: &Request) -> Result<Response, String> {
        let addr = self.target.gateway;
        if let Some(connection) = &mut self.connection
            && let Ok(response) = connection.try_send(request)
        {
            return Ok(response);
        }
        // The first request, or the gateway has closed the connection.
        let opened = Connection::open(addr).and_then(|mut connection| {
            let response = connection.try_send(request)?;
            Ok((connection, response))
        });
        let (connection, response) = opened.map_err(|error| format!("gateway {addr}: {error}"))?;
        self.connection = Some(connection);
        Ok(response)
    }

    /// A token from the identity provider, with these claims.
    fn token(&self, claims: &[(&str, &str)]) -> Result<String, String> {
        let form: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(claims).finish();
        let request =
            Request::post("/token", form).header("content-type", "application/x-www-form-urlencoded");
        let answer = self.provider(&request)?;
        match answer["access_token"].as_str() {
            Some(token) => Ok(token.to_owned()),
            None => Err(format!("the identity provider gave no token: {answer}")),
        }
    }

    /// A token that is bound to a key or a certificate.
    fn bound_token(&self, confirmation: &Value) -> Result<String, String> {
        let asked = json!({ "scope": "orders:read", "cnf": confirmation });
        let request = Request::post("/token", asked.to_string()).header("content-type", "application/json");
        let answer = self.provider(&request)?;
        let token = answer["access_token"].as_str();
        token.map(str::to_owned).ok_or_else(|| format!("the identity provider gave no token: {answer}"))
    }

    /// Makes the identity provider sign with a new key.
    fn rotate(&self, retire: bool) -> Result<(), String> {
        self.provider(&Request::post(format!("/rotate?retire={retire}"), "")).map(drop)
    }

    /// Makes the identity provider revoke a token, and waits until the gateway refuses it at a path. Where it never does,
    /// the next step shows what becomes of the token.
    fn revoke(&mut self, token: &str, path: &str) -> Result<(), String> {
        let form: String =
            form_urlencoded::Serializer::new(String::new()).append_pair("token", token).finish();
        let request =
            Request::post("/revoke", form).header("content-type", "application/x-www-form-urlencoded");
        self.provider(&request)?;
        let request = Request::get(path).host("gateway.example").bearer(token);
        let refused = poll(REVOKED_WITHIN, || match self.ask(&request) {
            Ok(answer) if answer.status == 200 => None,
            other => Some(other),
        });
        refused.transpose().map(drop)
    }

    fn provider(&self, request: &Request) -> Result<Value, String> {
        let addr = self.target.idp;
        let answer = request.try_send(addr).map_err(|error| format!("identity provider {addr}: {error}"))?;
        serde_json::from_slice(&answer.body)
            .map_err(|error| format!("identity provider {addr}: status {}, {error}", answer.status))
    }
}

//! The test behind `make compose-test`: the stack of `envoy/docker-compose.yaml`, from outside, in good days and bad.
//!
//! First the walk of `make run` through each gateway; then failures, while requests of every kind keep coming. An
//! answer is either the right one or, where a gateway cannot have keys, 503. What must never be seen is a request that
//! passes and should not, or a good one that is told it is bad.

mod docker;
mod judge;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::client::{Request, Response};
use crate::wait::poll;
use crate::walk::{self, Paint, Target};
use docker::Container;
use judge::{Cases, Keys, Traffic};

/// The deadline of every wait. Reached only when something is broken: an Envoy that found its provider gone for long tries
/// again after a minute and a fifth.
const SOON: Duration = Duration::from_secs(150);
/// After this long an Envoy may again fetch keys for as many unknown kids as it ever may at once: three times the
/// `unknown_kid_cooldown` of the stack's configuration, and a second.
const REFILL: Duration = Duration::from_secs(7);
/// How long a token may still pass after it was revoked: the `poll_interval` of the stack's configuration, the second in
/// which every worker follows, and what a busy machine adds.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);
/// How often in a row a token is sent, each time on a new connection, so that every worker gets it.
const EACH_WORKER: usize = 16;
/// The ports inside the containers.
const GATEWAY: u16 = 10000;
const IDP: u16 = 8081;
const PROMETHEUS: u16 = 9090;

/// What is tried, in this order; each leaves the stack whole for the next.
type Trial = fn(&Stack) -> Result<String, String>;
const TRIALS: [(&str, Trial); 6] = [
    ("the keys are rotated, and the old ones removed", rotation),
    ("a token is revoked, and both Envoys refuse it", revocation),
    ("a session is logged out at the provider, and both Envoys refuse its tokens", logout),
    ("an Envoy is killed and comes back", crash),
    ("the identity provider goes away, an Envoy starts without it, and it comes back with new keys", outage),
    ("Prometheus sees both Envoys, their refusals by reason, and what the rules make of them", metrics),
];

/// The containers of the stack.
struct Stack {
    gateways: [Gateway; 2],
    idp: Container,
    prometheus: Container,
}

/// One of the Envoys.
struct Gateway {
    container: Container,
    /// Where it listens, which changes when it starts anew and Docker chooses the port.
    addr: Arc<Mutex<Option<SocketAddr>>>,
}

/// Runs everything; `compose` is the command that knows the stack, such as `docker compose --file FILE`, a word a line.
///
/// # Errors
/// The first thing that was not as it should be.
pub fn run(compose: &str, paint: Paint) -> Result<(), String> {
    let stack = Stack::find(compose)?;
    for gateway in &stack.gateways {
        println!("\n{}", paint.strong(&format!("The walk through {}", gateway.container.service)));
        let access_log = |step: &str| -> Option<Value> {
            gateway.container.json_lines().into_iter().find(|line| line["step"] == step)
        };
        let target = Target {
            gateway: gateway.addr()?,
            idp: stack.idp_addr()?,
            mcp: None,
            access_log: Some(&access_log),
        };
        let tally = walk::run(&target, paint)?;
        if tally.different > 0 {
            return Err(format!("{} of {} steps came out otherwise", tally.different, tally.steps));
        }
    }
    println!("\n{}", paint.strong("Across both"));
    for (name, trial) in TRIALS {
        match trial(&stack) {
            Ok(found) => println!("  {} {name} ({found})", paint.good("held")),
            Err(error) => return Err(format!("{name}: {error}")),
        }
    }
    println!("\n{}\n", paint.good("Both gateways did as they should."));
    Ok(())
}

/// New tokens pass on both at once, old ones as long as their key is published.
fn rotation(stack: &Stack) -> Result<String, String> {
    // The walks have rotated several times in a second, which no provider does.
    thread::sleep(REFILL);
    let before = stack.token(&[("scope", "orders:read")])?;
    stack.rotate(false)?;
    let after = stack.token(&[("scope", "orders:read")])?;
    for gateway in &stack.gateways {
        gateway.expect("a token of the new key", &after, 200, &[])?;
        gateway.expect("a token of the key before", &before, 200, &[])?;
    }
    stack.rotate(true)?;
    let last = stack.token(&[("scope", "orders:read")])?;
    for gateway in &stack.gateways {
        gateway.expect("a token of the next key", &last, 200, &[])?;
        gateway.settles_on_refusal("a token of a removed key", &before)?;
        gateway.settles_on_refusal("a token of another removed key", &after)?;
    }
    Ok("2 rotations".to_owned())
}

/// It passes until the list names it, and then nowhere any more; all others fare as before.
fn revocation(stack: &Stack) -> Result<String, String> {
    let cases = stack.settled_cases()?;
    // Of the same person and client as the good one of the cases, and alive as long.
    let token = stack.token(&[("scope", "orders:read")])?;
    for gateway in &stack.gateways {
        for _ in 0..EACH_WORKER {
            gateway.expect("a token before it is revoked", &token, 200, &[])?;
        }
    }
    let traffic = stack.gateways.each_ref().map(|gateway| gateway.traffic(&cases, Keys::Known));
    stack.revoke(&token)?;
    let after = stack.until_revoked(&token, Keys::Known)?;
    let mut right = 0;
    for (gateway, traffic) in stack.gateways.iter().zip(traffic) {
        let service = gateway.container.service;
        let sent = traffic.end(service)?;
        if sent.unanswered > 0 {
            return Err(format!("{service} did not answer {} requests", sent.unanswered));
        }
        right += sent.right;
    }
    Ok(format!("on both after {:.1} s, {right} right verdicts meanwhile", after.as_secs_f64()))
}

/// The provider tells the receiver, whose list both poll: the session's tokens pass nowhere any more, those of another do.
fn logout(stack: &Stack) -> Result<String, String> {
    let session = |sid: &str| stack.token(&[("scope", "orders:read"), ("sid", sid)]);
    // A session of this run alone: the receiver keeps those that an earlier one ended.
    let sid =
        format!("ended-{}", SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos());
    let (ended, other) = (session(&sid)?, session("other")?);
    for gateway in &stack.gateways {
        gateway.expect("a token before its session ends", &ended, 200, &[])?;
    }
    let request = Request::post("/logout", format!("sid={sid}"))
        .header("content-type", "application/x-www-form-urlencoded");
    let answer = stack.ask_idp(&request)?;
    let parsed: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if parsed["status"] != 200 {
        return Err(format!("the logout did not reach the receiver: {}", answer.text()));
    }
    let after = stack.until_revoked(&ended, Keys::Known)?;
    for gateway in &stack.gateways {
        gateway.expect("a token of another session", &other, 200, &[])?;
    }
    Ok(format!("on both after {:.1} s", after.as_secs_f64()))
}

/// The other Envoy answers everything meanwhile, and the killed one nothing wrong.
fn crash(stack: &Stack) -> Result<String, String> {
    let cases = stack.settled_cases()?;
    let [kept, killed] = &stack.gateways;
    let traffic = [kept.traffic(&cases, Keys::Known), killed.traffic(&cases, Keys::Known)];
    killed.container.kill()?;
    killed.expect_gone()?;
    cases.judge(kept.addr()?, Keys::Known)?;
    killed.restart()?;
    cases.judge(killed.addr()?, Keys::Known)?;
    let [of_kept, of_killed] = traffic;
    let (of_kept, of_killed) = (of_kept.end("envoy-1")?, of_killed.end("envoy-2")?);
    if of_kept.unanswered > 0 {
        return Err(format!("envoy-1, which was left alone, did not answer {} requests", of_kept.unanswered));
    }
    Ok(format!(
        "{} right verdicts, {} requests unanswered",
        of_kept.right + of_killed.right,
        of_killed.unanswered
    ))
}

/// Whoever has keys judges on; whoever has none refuses with 503; new keys are found when the provider is back.
fn outage(stack: &Stack) -> Result<String, String> {
    let cases = stack.settled_cases()?;
    let [warm, cold] = &stack.gateways;
    for gateway in &stack.gateways {
        cases.judge(gateway.addr()?, Keys::Known)?;
    }
    stack.idp.stop()?;
    let traffic = warm.traffic(&cases, Keys::Known);
    cases.judge(cold.addr()?, Keys::Known)?;

    cold.container.kill()?;
    cold.expect_gone()?;
    cold.restart()?;
    let of_cold = cold.traffic(&cases, Keys::Unknown);
    let good = cases.good_token();
    cold.expect("a good token at an Envoy that never got keys", good, 503, &[])?;
    let (of_warm, of_cold) = (traffic.end("envoy-1")?, of_cold.end("envoy-2")?);
    if of_warm.unanswered + of_cold.unanswered > 0 {
        return Err(format!("{} requests were not answered", of_warm.unanswered + of_cold.unanswered));
    }

    stack.idp.start()?;
    stack.wait_for_idp()?;
    // It has forgotten its keys and made new ones, under new names: what it signs now has to pass on both, as soon as
    // they can reach it, and what it signed before passes on neither.
    let fresh = stack.cases()?;
    for gateway in &stack.gateways {
        // Not yet reachable is 503 without keys, and 401 with those of before.
        gateway.expect("a good token of the provider that is back", fresh.good_token(), 200, &[503, 401])?;
    }
    // Its list is new as well, and comes to one worker after the other.
    stack.until_revoked(fresh.revoked_token(), Keys::Unknown)?;
    for gateway in &stack.gateways {
        fresh.judge(gateway.addr()?, Keys::Known)?;
        gateway.settles_on_refusal("a token of the provider's former keys", good)?;
    }
    Ok(format!("{} right verdicts", of_warm.right + of_cold.right))
}

/// Both targets are up, labels are labels, and the rules are read and evaluated.
fn metrics(stack: &Stack) -> Result<String, String> {
    for (what, query, wanted) in [
        ("two targets up", "sum(up{job=\"envoy\"})", "2"),
        (
            "refusals by reason on both",
            "count(sum by (instance) (portcullis_requests{provider=\"demo\",reason=\"token_missing\"}))",
            "2",
        ),
    ] {
        stack.prometheus_says(what, query, |value| value == wanted)?;
    }
    stack.prometheus_says(
        "a revoked token on the lists of both",
        "count(portcullis_revocation_entries{list=\"demo\"} >= 1)",
        |value| value == "2",
    )?;
    // The walks have brought forged tokens: a rule counts those.
    let forged = "count(portcullis:forged:rate5m{provider=\"demo\"})";
    stack.prometheus_says("a rule's own series", forged, |value| value == "1")?;
    Ok("2 targets up, rules evaluated".to_owned())
}

impl Stack {
    fn find(compose: &str) -> Result<Self, String> {
        let gateway = |service| -> Result<Gateway, String> {
            let container = Container::find(compose, service)?;
            let addr = Arc::new(Mutex::new(Some(container.published(GATEWAY)?)));
            Ok(Gateway { container, addr })
        };
        Ok(Self {
            gateways: [gateway("envoy-1")?, gateway("envoy-2")?],
            idp: Container::find(compose, "idp")?,
            prometheus: Container::find(compose, "prometheus")?,
        })
    }

    fn idp_addr(&self) -> Result<SocketAddr, String> {
        self.idp.published(IDP)
    }

    /// Cases made of tokens that the provider signs now, each of which every worker judges as it should.
    fn settled_cases(&self) -> Result<Cases, String> {
        let cases = self.cases()?;
        self.until_revoked(cases.revoked_token(), Keys::Known)?;
        Ok(cases)
    }

    /// Cases made of tokens that the provider signs now; the revoked one may still pass where the list is older.
    fn cases(&self) -> Result<Cases, String> {
        let good = self.token(&[("scope", "orders:read")])?;
        let poor = self.token(&[])?;
        let expired = self.token(&[("scope", "orders:read"), ("ttl", "-600")])?;
        let revoked = self.token(&[("scope", "orders:read")])?;
        self.revoke(&revoked)?;
        Ok(Cases::new(&good, &poor, &expired, &revoked))
    }

    fn token(&self, claims: &[(&str, &str)]) -> Result<String, String> {
        let form: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(claims).finish();
        let request =
            Request::post("/token", form).header("content-type", "application/x-www-form-urlencoded");
        let answer = self.ask_idp(&request)?;
        let parsed: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let token = parsed["access_token"].as_str().map(str::to_owned);
        token.ok_or_else(|| format!("the identity provider gives no token: {}", answer.text()))
    }

    fn rotate(&self, retire: bool) -> Result<(), String> {
        let answer = self.ask_idp(&Request::post(format!("/rotate?retire={retire}"), ""))?;
        if answer.status == 200 { Ok(()) } else { Err(format!("rotate: {}", answer.text())) }
    }

    fn revoke(&self, token: &str) -> Result<(), String> {
        let form: String =
            form_urlencoded::Serializer::new(String::new()).append_pair("token", token).finish();
        let request =
            Request::post("/revoke", form).header("content-type", "application/x-www-form-urlencoded");
        let answer = self.ask_idp(&request)?;
        if answer.status == 200 { Ok(()) } else { Err(format!("revoke: {}", answer.text())) }
    }

    /// Asks both gateways for as long as a token that was just revoked still passes anywhere; how long that was. Where a
    /// gateway may have had no keys or no list, 503 is no wrong answer until it has.
    fn until_revoked(&self, token: &str, keys: Keys) -> Result<Duration, String> {
        let start = Instant::now();
        let (mut last, mut settled) = (Duration::ZERO, 0);
        while settled < EACH_WORKER {
            let asked = start.elapsed();
            let mut open = None;
            for gateway in &self.gateways {
                if !gateway.refuses_as_revoked(token, keys)? {
                    open = Some(gateway.container.service);
                }
            }
            match open {
                None => settled += 1,
                Some(service) if asked > REVOKED_WITHIN => {
                    return Err(format!(
                        "{service} does not refuse a token {asked:.1?} after it was revoked"
                    ));
                }
                Some(_) => (last, settled) = (start.elapsed(), 0),
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(last)
    }

    fn ask_idp(&self, request: &Request) -> Result<Response, String> {
        request.try_send(self.idp_addr()?).map_err(|error| format!("identity provider: {error}"))
    }

    /// Asks Prometheus until the one value of the answer is as it should be.
    fn prometheus_says(&self, what: &str, query: &str, holds: impl Fn(&str) -> bool) -> Result<(), String> {
        let encoded: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let mut last = String::from("nothing");
        let said = poll(SOON, || {
            let addr = self.prometheus.published(PROMETHEUS).ok()?;
            let answer = Request::get(format!("/api/v1/query?query={encoded}")).try_send(addr).ok()?;
            last = answer.text();
            let answer: Value = serde_json::from_slice(&answer.body).ok()?;
            answer["data"]["result"][0]["value"][1].as_str().filter(|value| holds(value)).map(drop)
        });
        said.ok_or_else(|| format!("waited {SOON:?} for {what}, got {last}"))
    }

    fn wait_for_idp(&self) -> Result<(), String> {
        let ready = poll(SOON, || {
            let addr = self.idp_addr().ok()?;
            let answer = Request::get("/healthz").try_send(addr).ok()?;
            (answer.status == 200).then_some(())
        });
        ready.ok_or_else(|| format!("waited {SOON:?} in vain for the identity provider"))
    }
}

impl Gateway {
    fn addr(&self) -> Result<SocketAddr, String> {
        let addr = *self.addr.lock().unwrap_or_else(PoisonError::into_inner);
        addr.ok_or_else(|| format!("{} is down", self.container.service))
    }

    fn traffic(&self, cases: &Cases, keys: Keys) -> Traffic {
        let addr = self.addr.clone();
        Traffic::start(cases, keys, move || *addr.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Starts the container that was killed, and waits until it answers.
    fn restart(&self) -> Result<(), String> {
        self.container.start()?;
        let ready = poll(SOON, || {
            let addr = self.container.published(GATEWAY).ok()?;
            let answer = Request::get("/healthz").timeout(Duration::from_secs(2)).try_send(addr).ok()?;
            (answer.status == 200).then_some(addr)
        });
        let addr =
            ready.ok_or_else(|| format!("waited {SOON:?} for {} to answer", self.container.service))?;
        *self.addr.lock().unwrap_or_else(PoisonError::into_inner) = Some(addr);
        Ok(())
    }

    /// That it answers no more: a test that kills something looks whether it did.
    fn expect_gone(&self) -> Result<(), String> {
        let addr = self.addr()?;
        let gone = poll(SOON, || {
            Request::get("/healthz").timeout(Duration::from_secs(2)).try_send(addr).is_err().then_some(())
        });
        gone.ok_or_else(|| format!("{} was killed and still answers", self.container.service))
    }

    /// Asks until the answer has this status; every one before must have one of those that are `passing`.
    fn expect(&self, what: &str, token: &str, status: u16, passing: &[u16]) -> Result<(), String> {
        let end = poll(SOON, || match self.answers(what, token, status, passing) {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        });
        end.unwrap_or_else(|| {
            Err(format!("{}: {what}: waited {SOON:?} for {status}", self.container.service))
        })
    }

    /// Whether the answer has this status; if not, it must have one of those that are `passing`.
    fn answers(&self, what: &str, token: &str, status: u16, passing: &[u16]) -> Result<bool, String> {
        let request = Request::get("/orders/7").host("gateway.example").bearer(token);
        let service = self.container.service;
        match request.try_send(self.addr()?) {
            Ok(answer) if answer.status == status => Ok(true),
            Ok(answer) if passing.contains(&answer.status) => Ok(false),
            Ok(answer) => {
                Err(format!("{service}: {what}: expected {status}, got {} {}", answer.status, answer.text()))
            }
            Err(error) => Err(format!("{service}: {what}: {error}")),
        }
    }

    /// Whether one of its workers refuses the token as revoked; not yet is no error, any other verdict is.
    fn refuses_as_revoked(&self, token: &str, keys: Keys) -> Result<bool, String> {
        let request = Request::get("/orders/7").host("gateway.example").bearer(token);
        let service = self.container.service;
        let answer =
            request.try_send(self.addr()?).map_err(|error| format!("{service}: a revoked token: {error}"))?;
        match (answer.status, answer.reason().as_deref()) {
            (401, Some("revoked")) => Ok(true),
            (200, _) => Ok(false),
            (503, Some("keys_unavailable" | "revocation_unavailable")) if keys == Keys::Unknown => Ok(false),
            _ => Err(format!("{service}: a revoked token: got {} {}", answer.status, answer.text())),
        }
    }

    /// Asks until every worker refuses the token, as it must soon: each takes new keys over at its next tick, and a new
    /// connection may come to any of them.
    fn settles_on_refusal(&self, what: &str, token: &str) -> Result<(), String> {
        let start = Instant::now();
        let mut settled = 0;
        while settled < EACH_WORKER {
            let passing: &[u16] = if start.elapsed() < REVOKED_WITHIN { &[200] } else { &[] };
            settled = if self.answers(what, token, 401, passing)? { settled + 1 } else { 0 };
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

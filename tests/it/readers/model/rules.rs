//! Rules, and which of them a reader would say that a request meets: by trying one after the other, to the letter.

use serde_json::{Value, json};

use super::head::Head;
use super::parts::{FieldReader, Host, Places, QueryReader};
use super::paths::{self, PathReader};

/// What a rule asks of the path.
#[derive(Clone, PartialEq, Debug)]
pub enum PathRule {
    Exact(&'static str),
    Prefix(&'static str),
    Separated(&'static str),
    Template(&'static str),
    Regex(Expression),
}

/// A regular expression, and what it means in plain code.
#[derive(Clone, Copy, Debug)]
pub struct Expression {
    pub text: &'static str,
    pub holds: fn(&[u8]) -> bool,
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// What a value must be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ValueTest {
    Exact(&'static str),
    Prefix(&'static str),
    Suffix(&'static str),
    Contains(&'static str),
    Present,
}

/// A condition on a header field or a query parameter.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Condition {
    pub name: &'static str,
    pub test: ValueTest,
    pub invert: bool,
}

/// What the rule asks of the token.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Demand {
    /// Nothing.
    Public,
    /// A good one, or none.
    AllowMissing,
    /// Whatever there is; a bad one is taken away.
    AllowMissingOrFailed,
    /// A good one.
    Token,
    /// A good one with the scope `admin`.
    Admin,
}

/// With what part of the request the token's claim is compared.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Bind {
    /// `tenant` with the variable `tenant` of the path template.
    Path,
    /// `tenant` with the field `x-tenant`.
    Header,
    /// `site` with the host.
    Host,
}

/// What becomes of ambiguous paths.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Policy {
    Reject,
    Normalize,
    MatchRaw,
}

impl Policy {
    pub fn name(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Normalize => "normalize",
            Self::MatchRaw => "match_raw",
        }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct Rule {
    pub path: PathRule,
    pub any_case: bool,
    pub hosts: Vec<&'static str>,
    pub headers: Vec<Condition>,
    pub query: Vec<Condition>,
    pub methods: Vec<&'static str>,
    pub demand: Demand,
    pub bind: Option<Bind>,
    pub report: bool,
    pub policy: Option<Policy>,
}

/// A whole configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct RuleSet {
    pub rules: Vec<Rule>,
    pub policy: Policy,
    pub allow_unmatched: bool,
    pub places: Places,
    pub forward: bool,
    /// Whether tokens count without their proofs: then `DPoP` is a scheme too, and nobody has to name it.
    pub ignores_proofs: bool,
}

/// One reader of each part of a request.
#[derive(Clone, Copy)]
pub struct View<'v> {
    pub head: &'v Head,
    pub reader: &'v PathReader,
    pub path: &'v [u8],
    pub host: &'v Host,
    pub fields: FieldReader,
    pub query: QueryReader,
}

impl RuleSet {
    /// The first rule that a request meets.
    pub fn met(&self, view: &View<'_>) -> Option<usize> {
        let literal = paths::literal();
        self.rules.iter().position(|rule| {
            // The operator vouches that everybody reads this rule's paths to the letter.
            let raw = rule.policy.unwrap_or(self.policy) == Policy::MatchRaw;
            let (reader, path) =
                if raw { (&literal, view.head.path().as_bytes()) } else { (view.reader, view.path) };
            rule.holds(&View { reader, path, ..*view })
        })
    }

    /// What counts of ambiguous paths under a rule, or where there is none.
    pub fn policy_of(&self, rule: Option<usize>) -> Policy {
        rule.and_then(|at| self.rules[at].policy).unwrap_or(self.policy)
    }

    /// The configuration, with the rules named `r0`, `r1` and so on. `keys` is the key set of the one provider.
    pub fn to_json(&self, keys: &Value) -> Value {
        let rules: Vec<Value> =
            self.rules.iter().enumerate().map(|(at, rule)| rule.to_json(&format!("r{at}"))).collect();
        let headers: Vec<Value> = self
            .places
            .headers
            .iter()
            .filter(|(_, prefix)| *prefix != "DPoP ")
            .map(|(name, prefix)| json!({ "name": name, "value_prefix": prefix }))
            .collect();
        let mut provider = json!({
            "issuer": "https://idp.example/",
            "audiences": ["orders"],
            "algorithms": ["HS256"],
            "local_jwks": { "inline": keys },
            "from_headers": headers,
            "forward": self.forward,
            "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }],
        });
        if self.ignores_proofs {
            provider["sender_constrained"] = json!("ignore");
        }
        if !self.places.cookies.is_empty() {
            provider["from_cookies"] = json!(self.places.cookies);
        }
        if !self.places.params.is_empty() {
            provider["from_params"] = json!(self.places.params);
        }
        json!({
            "providers": { "corp": provider },
            "rules": rules,
            "ambiguous_paths": self.policy.name(),
            "unmatched": if self.allow_unmatched { "allow" } else { "deny" },
            "filter_state": ["decision", "reason", "rule", "provider", "subject", "scopes"],
            "audit": { "refusals": false },
        })
    }
}

impl Rule {
    fn holds(&self, view: &View<'_>) -> bool {
        (self.methods.is_empty() || self.methods.contains(&view.head.method.as_str()))
            && (self.hosts.is_empty() || self.hosts.iter().any(|own| host_holds(own, view.host)))
            && self.headers.iter().all(|own| own.holds(&view.fields.read(view.head, own.name)))
            && self.query.iter().all(|own| own.holds(&view.query.read(view.head, own.name)))
            && self.path_holds(view.reader, view.path)
    }

    /// Whether the path holds.
    pub fn path_holds(&self, reader: &PathReader, path: &[u8]) -> bool {
        let fold = |text: &[u8]| if self.any_case { text.to_ascii_lowercase() } else { text.to_vec() };
        let path = fold(path);
        let own = |text: &str| fold(&reader.literal(text.as_bytes()));
        match &self.path {
            PathRule::Exact(text) => path == own(text),
            PathRule::Prefix(text) => path.starts_with(&own(text)),
            PathRule::Separated(text) => path
                .strip_prefix(&own(text)[..])
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")),
            PathRule::Template(text) => bound(text, reader, &path).is_some(),
            PathRule::Regex(expression) => (expression.holds)(&path),
        }
    }

    /// What the variable `tenant` takes of a path, decoded once; nothing where the path does not fit.
    pub fn tenant(&self, reader: &PathReader, path: &[u8]) -> Option<Vec<u8>> {
        let PathRule::Template(text) = &self.path else { return None };
        bound(text, reader, path)?.map(|piece| reader.decoded_once(&piece))
    }

    fn to_json(&self, name: &str) -> Value {
        let mut conditions = match &self.path {
            PathRule::Exact(text) => json!({ "path": text }),
            PathRule::Prefix(text) => json!({ "prefix": text }),
            PathRule::Separated(text) => json!({ "path_separated_prefix": text }),
            PathRule::Template(text) => json!({ "path_template": text }),
            PathRule::Regex(expression) => json!({ "safe_regex": { "regex": expression.text } }),
        };
        if self.any_case {
            conditions["case_sensitive"] = json!(false);
        }
        for (field, texts) in [("hosts", &self.hosts), ("methods", &self.methods)] {
            if !texts.is_empty() {
                conditions[field] = json!(texts);
            }
        }
        for (field, own) in [("headers", &self.headers), ("query_parameters", &self.query)] {
            if !own.is_empty() {
                conditions[field] = own.iter().map(|own| own.to_json(field == "headers")).collect();
            }
        }
        let mut rule = json!({ "name": name, "match": conditions });
        if let Some(requires) = self.demand.to_json() {
            rule["requires"] = requires;
        }
        if self.demand == Demand::Admin {
            rule["authorize"] = json!({ "scopes": { "all_of": ["admin"] } });
        }
        if let Some(bind) = self.bind {
            let condition = match bind {
                Bind::Path => json!({ "claim": "tenant", "equals_path": "tenant" }),
                Bind::Header => json!({ "claim": "tenant", "equals_header": "x-tenant" }),
                Bind::Host => json!({ "claim": "site", "equals_host": true }),
            };
            rule["authorize"]["claims"] = json!([condition]);
        }
        if self.report {
            rule["mode"] = json!("report");
        }
        if let Some(policy) = self.policy {
            rule["ambiguous_paths"] = json!(policy.name());
        }
        rule
    }
}

impl Demand {
    /// Whether the token is looked at.
    pub fn looks(self) -> bool {
        self != Self::Public
    }

    fn to_json(self) -> Option<Value> {
        let beside = |more: &str| json!({ "requires_any": { "requirements": [{ "provider_name": "corp" }, { more: {} }] } });
        match self {
            Self::Public => None,
            Self::AllowMissing => Some(beside("allow_missing")),
            Self::AllowMissingOrFailed => Some(beside("allow_missing_or_failed")),
            Self::Token | Self::Admin => Some(json!({ "provider_name": "corp" })),
        }
    }
}

impl Condition {
    /// Whether it holds of one of the values; what is not there meets neither it nor its opposite.
    fn holds(&self, values: &[String]) -> bool {
        if self.test == ValueTest::Present {
            return values.is_empty() == self.invert;
        }
        !values.is_empty() && values.iter().any(|value| self.test.holds(value)) != self.invert
    }

    fn to_json(self, header: bool) -> Value {
        let test = match self.test {
            ValueTest::Exact(text) => json!({ "exact": text }),
            ValueTest::Prefix(text) => json!({ "prefix": text }),
            ValueTest::Suffix(text) => json!({ "suffix": text }),
            ValueTest::Contains(text) => json!({ "contains": text }),
            ValueTest::Present if header => {
                return json!({ "name": self.name, "present_match": true, "invert_match": self.invert });
            }
            ValueTest::Present => return json!({ "name": self.name, "present_match": !self.invert }),
        };
        let mut condition = json!({ "name": self.name, "string_match": test });
        if self.invert {
            condition["invert_match"] = json!(true);
        }
        condition
    }
}

impl ValueTest {
    fn holds(self, value: &str) -> bool {
        match self {
            Self::Exact(text) => value == text,
            Self::Prefix(text) => value.starts_with(text),
            Self::Suffix(text) => value.ends_with(text),
            Self::Contains(text) => value.contains(text),
            Self::Present => true,
        }
    }
}

/// Whether an entry of `hosts` is for what a reader takes for the host. An entry with a port vouches for readers that
/// drop that port.
fn host_holds(entry: &str, host: &Host) -> bool {
    if let Some(suffix) = entry.strip_prefix('*') {
        return host.text.len() > suffix.len() && host.text.ends_with(suffix);
    }
    let Some((name, port)) = entry.split_once(':') else { return host.text == entry };
    let port_holds = |own: &str| port == "*" || port == own;
    match &host.port {
        Some(own) => host.text == name && port_holds(own),
        None => match host.text.split_once(':') {
            Some((own, own_port)) => own == name && port_holds(own_port),
            None => host.text == name && port == "*",
        },
    }
}

/// What `{tenant}` takes of a path of this form: `Some(None)` where the template has no such place.
#[allow(clippy::option_option, reason = "no match, and a match without the variable")]
fn bound(template: &str, reader: &PathReader, path: &[u8]) -> Option<Option<Vec<u8>>> {
    let mut segments = path.strip_prefix(b"/")?.split(|byte| *byte == b'/');
    let mut tenant = None;
    for own in template.strip_prefix('/')?.split('/') {
        if own == "**" {
            return segments.next().map(|_| tenant);
        }
        let segment = segments.next()?;
        match own {
            "*" | "{tenant}" if segment.is_empty() => return None,
            "{tenant}" => tenant = Some(segment.to_vec()),
            "*" => {}
            literal if segment == reader.literal(literal.as_bytes()) => {}
            _ => return None,
        }
    }
    segments.next().is_none().then_some(tenant)
}

//! What the filter takes and is dangerous all the same: rules and providers.

use portcullis::{
    ClaimPath, Config, KeyFormat, Keys, Provider, RequestMatch, Requirement, Rule, RuleMode, Unmatched,
    member_path,
};

use super::entries::Kind;
use super::finding::Findings;
use super::written::place;
use crate::source::{Mark, Member, Node};

/// One configuration, and where its parts are.
pub(super) struct Policy<'c> {
    pub(super) config: &'c Config,
    pub(super) tree: &'c Node,
    pub(super) kind: Kind,
}

impl Policy<'_> {
    /// Adds what there is to warn of.
    pub(super) fn warn(&self, findings: &mut Findings<'_>) {
        let rules: Vec<&Rule> = self.config.rules.iter().collect();
        for (at, rule) in rules.iter().enumerate() {
            self.warn_of_order(rule, rules.get(at + 1..).unwrap_or_default(), findings);
            self.warn_of_dodging(rule, rules.get(at + 1..).unwrap_or_default(), findings);
        }
        let used = self.used(&rules);
        for provider in &self.config.providers {
            self.warn_of_provider(provider, &rules, findings);
            if !used.iter().any(|name| *name == provider.name) {
                self.add(
                    findings,
                    "provider-unused",
                    &member_path("providers", &provider.name),
                    "no rule and no requirement asks for a token of this provider, so its tokens are taken nowhere; name it in \"requires\", or remove it",
                );
            }
        }
    }

    fn add(&self, findings: &mut Findings<'_>, rule: &'static str, path: &str, message: impl Into<String>) {
        findings.warn(rule, place(self.tree, path), path, message);
    }

    /// Rules that stand behind one that takes their requests.
    fn warn_of_order(&self, rule: &Rule, later: &[&Rule], findings: &mut Findings<'_>) {
        let strict = |other: &&&Rule| !is_open(other);
        let is_under = |other: &&&Rule| {
            let (paths, others) = (path_alone(&rule.matches), path_alone(&other.matches));
            rule.matches.covers(&other.matches)
                || (paths.covers(&others) && !others.covers(&paths) && rule.matches.overlaps(&other.matches))
        };
        if is_open(rule)
            && let Some(stricter) = later.iter().filter(strict).find(is_under)
        {
            let text = format!(
                "stands before the stricter rule {} and takes requests of it, which pass without a token; put the stricter rule first, or narrow the \"match\" of this one",
                path_of(stricter)
            );
            self.add(findings, "public-over-stricter", &path_of(rule), text);
        }
        for other in later.iter().filter(|other| rule.matches.covers(&other.matches)) {
            let text = format!(
                "can never match: the rule {} before it takes every request that it is for; put this one first, or remove it",
                path_of(rule)
            );
            self.add(findings, "rule-never-matches", &path_of(other), text);
        }
    }

    /// A rule that asks for more, and what a request meets that does not fulfil its conditions.
    fn warn_of_dodging(&self, rule: &Rule, later: &[&Rule], findings: &mut Findings<'_>) {
        if is_open(rule) {
            return;
        }
        let matches = &rule.matches;
        let is_without = |own: &RequestMatch| own.headers.is_empty() && own.query_parameters.is_empty();
        let (has_method, has_fields, has_metadata) =
            (!matches.methods.is_empty(), !is_without(matches), !matches.metadata.is_empty());
        let lands = |is_for: &dyn Fn(&RequestMatch) -> bool| {
            let next = later.iter().find(|other| {
                let own = &other.matches;
                !own.grpc && is_for(own) && paths_and_hosts(own).covers(&paths_and_hosts(matches))
            });
            match next {
                Some(next) if is_weaker(next, rule) => Some(format!("the rule {}", path_of(next))),
                None if self.unmatched_passes() => Some("no rule, and passes".to_owned()),
                _ => None,
            }
        };
        let methods = |own: &RequestMatch| {
            own.methods.is_empty() || matches.methods.iter().any(|method| own.methods.contains(method))
        };
        let any_method =
            |own: &RequestMatch| own.methods.is_empty() && is_without(own) && own.metadata.is_empty();
        let other_fields = |own: &RequestMatch| methods(own) && is_without(own) && own.metadata.is_empty();
        let no_metadata = |own: &RequestMatch| methods(own) && own.metadata.is_empty();
        let path = member_path(&path_of(rule), "match");
        if has_method && let Some(next) = lands(&any_method) {
            let text = format!(
                "does not hold a request with another method: it meets {next}, which asks for less; leave \"methods\" out of the stricter rule, or name the methods of the weaker one"
            );
            self.add(findings, "method-dodges-rule", &member_path(&path, "methods"), text);
        }
        if has_fields && let Some(next) = lands(&other_fields) {
            let name = if matches.headers.is_empty() { "query_parameters" } else { "headers" };
            let text = format!(
                "does not hold a client that sends other {name}: its request meets {next}, which asks for less; let the rule for everything else be the stricter one"
            );
            self.add(findings, "header-dodges-rule", &member_path(&path, name), text);
        }
        if has_metadata && let Some(next) = lands(&no_metadata) {
            let text = format!(
                "can be missing: where the filter that writes this metadata did not read the request (another content type, a large body, a route that turns it off), the request meets {next}, which asks for less; let the rule for everything else be the stricter one"
            );
            self.add(findings, "metadata-can-be-missing", &member_path(&path, "metadata"), text);
        }
    }

    fn unmatched_passes(&self) -> bool {
        self.kind == Kind::JwtAuthn || self.config.unmatched == Unmatched::Allow
    }

    /// The names of the providers whose tokens are taken somewhere.
    fn used(&self, rules: &[&Rule]) -> Vec<&str> {
        let named = self.config.requirements.values().map(|rule| &**rule);
        let mut ids = Vec::new();
        for requirement in rules.iter().copied().chain(named).filter_map(|rule| rule.requires.as_ref()) {
            if requirement.looks_at_all() {
                return self.config.providers.iter().map(|provider| provider.name.as_str()).collect();
            }
            requirement.collect_providers(&mut ids);
        }
        ids.into_iter().filter_map(|id| Some(self.config.provider(id)?.name.as_str())).collect()
    }

    fn warn_of_provider(&self, provider: &Provider, rules: &[&Rule], findings: &mut Findings<'_>) {
        let path = member_path("providers", &provider.name);
        if provider.policy.algorithms.iter().any(|algorithm| algorithm.is_symmetric()) {
            self.add(
                findings,
                "symmetric-algorithm",
                &member_path(&path, "algorithms"),
                "names an HS algorithm: whoever can verify these tokens can make them too, and every service with the secret is an issuer; let the provider sign with RS256, ES256 or EdDSA",
            );
        }
        if let Some((path, at)) = self.plain_key_source(&path) {
            findings.warn(
                "jwks-over-http",
                at,
                path,
                "fetches keys over http: whoever is on the way can put keys of their own in, and sign every token; write https, with a cluster that checks the certificate",
            );
        }
        let told = self.tells_access_tokens(provider, rules);
        if self.kind != Kind::JwtAuthn && !told {
            self.add(
                findings,
                "id-token-passes",
                &path,
                "nothing tells an access token from an ID token, which many providers sign with the same keys and send to browsers; write what only access tokens have: \"token_types\": [at+jwt], a claim in \"required_claims\" such as scope or client_id, or scopes in every rule",
            );
        }
    }

    /// The path and place of a URI of keys that come over a connection that anybody can change.
    fn plain_key_source(&self, path: &str) -> Option<(String, Mark)> {
        let name = self.tree.field("providers")?;
        let provider = name.members().iter().rfind(|own| member_path("providers", &own.key) == path)?;
        for source in ["remote_jwks", "discovery"] {
            let Some(source) = provider.value.field(source) else { continue };
            let Some(http) = source.field("http_uri") else { continue };
            let Some(member) = http.member("uri") else { continue };
            let uri = member.value.as_str()?;
            let host = uri.strip_prefix("http://").map(|rest| rest.split(['/', '?']).next().unwrap_or(rest));
            if host.is_some_and(|host| !is_loopback(host)) {
                let path = provider_path(path, provider, source, http);
                return Some((path, member.at));
            }
        }
        None
    }

    /// Whether anything is asked of a provider's tokens that ID tokens do not have.
    fn tells_access_tokens(&self, provider: &Provider, rules: &[&Rule]) -> bool {
        /// What an ID token may have of its own (OpenID Connect Core 2 and 5.1, and what providers add to all tokens).
        const OF_ID_TOKENS: &[&str] = &[
            "iss",
            "sub",
            "aud",
            "exp",
            "iat",
            "nbf",
            "jti",
            "auth_time",
            "nonce",
            "acr",
            "amr",
            "azp",
            "at_hash",
            "c_hash",
            "sid",
            "name",
            "email",
            "email_verified",
            "preferred_username",
        ];
        let policy = &provider.policy;
        let is_jwt = policy.token_types.absent || policy.token_types.names.iter().any(|name| name == "jwt");
        let is_own = |claim: &ClaimPath| {
            let text = claim.to_string();
            !OF_ID_TOKENS.contains(&text.trim_matches('"').trim_start_matches('/'))
        };
        let conditions = policy.required_conditions.iter().map(|condition| &condition.claim);
        let has_claim = policy.required_claims.iter().chain(conditions).any(is_own);
        let is_bundle = matches!(&provider.keys, Keys::Remote(remote) if remote.format == KeyFormat::Spiffe)
            || matches!(&provider.keys, Keys::Local(set) if set.is_bundle());
        if !is_jwt
            || has_claim
            || is_bundle
            || provider.introspection.is_some()
            || matches!(provider.keys, Keys::None)
        {
            return true;
        }
        let mut asks = rules.iter().filter(|rule| {
            let mut ids = Vec::new();
            let requirement = rule.requires.as_ref();
            requirement.iter().for_each(|requirement| requirement.collect_providers(&mut ids));
            ids.contains(&provider.id) || requirement.is_some_and(Requirement::looks_at_all)
        });
        asks.clone().next().is_some() && asks.all(|rule| rule.authorize.is_some())
    }
}

fn provider_path(path: &str, provider: &Member, source: &Node, http: &Node) -> String {
    let key = |of: &Node, value: &Node| {
        let own = of.members().iter().find(|own| own.value.at == value.at);
        own.map(|own| own.key.clone()).unwrap_or_default()
    };
    let path = member_path(path, &key(&provider.value, source));
    let path = member_path(&path, &key(source, http));
    member_path(&path, "uri")
}

/// Whether a host is this machine.
fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name == "[::1]" || name.starts_with("127.")
}

fn path_of(rule: &Rule) -> String {
    format!("rules[{}]", rule.id.0)
}

/// Whether a request passes without a token.
fn is_open(rule: &Rule) -> bool {
    rule.mode == RuleMode::Report || rule.requires.as_ref().is_none_or(can_be_missing)
}

fn can_be_missing(requirement: &Requirement) -> bool {
    match requirement {
        Requirement::AllowMissing | Requirement::AllowMissingOrFailed => true,
        Requirement::Provider { .. } => false,
        Requirement::Any(parts) => parts.iter().any(can_be_missing),
        Requirement::All(parts) => parts.iter().all(can_be_missing),
    }
}

/// Whether a rule asks for less than another.
fn is_weaker(rule: &Rule, than: &Rule) -> bool {
    is_open(rule) || (than.authorize.is_some() && rule.authorize.is_none())
}

/// What a match says of paths alone.
fn path_alone(of: &RequestMatch) -> RequestMatch {
    RequestMatch { hosts: Vec::new(), ..paths_and_hosts(of) }
}

fn paths_and_hosts(of: &RequestMatch) -> RequestMatch {
    RequestMatch {
        methods: Vec::new(),
        headers: Vec::new(),
        query_parameters: Vec::new(),
        metadata: Vec::new(),
        grpc: false,
        ..of.clone()
    }
}

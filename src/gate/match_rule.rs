//! The step that finds the rule which decides a request.

use std::ops::ControlFlow;
use std::rc::Rc;

use super::build_outcome::Refusal;
use super::flow::RequestFlow;
use super::outcome::Outcome;
use super::route::{RouteCheck, RouteMetadata};
use super::trace::Check;
use crate::config::Unmatched;
use crate::gate::Effect;
use crate::reason::{Reason, Rejected};
use crate::request::{Held, PathKind, Request, canonical};
use crate::rules::{Mode, Rule, RuleMatch, Trial as RuleTrial};

const UNREADABLE: Rejected = Reason::RouteUnmatched.because(
    "the metadata of the route cannot be read: \"rule\", \"requirement\", \"scopes\" or \"disabled\"",
);

impl RequestFlow<'_, '_> {
    /// Finds the rule that decides: the one that matches the request, or the one that its route names. Breaks off
    /// where that settles the outcome, as for a public rule.
    pub(super) fn match_rule(&mut self) -> ControlFlow<Outcome, Rc<Rule>> {
        let (rules, view) = (&self.config.rules, &self.view);
        self.gate.trace.saw(|| rules.trials(view).iter().map(trial_check).collect::<Vec<_>>());
        let matched = self.match_request()?;
        self.answer_metadata()?;
        let matched_id = matched.as_ref().map(|rule| rule.id);
        self.pass_preflight(&matched)?;
        let has_path = self.request.target().is_some() && !self.request.is_connect();
        let route = RouteMetadata::read(self.request.properties(), self.config.route_rules);
        let named = match &route {
            Some(route) => self.heed_route(route, has_path)?,
            None => None,
        };
        let by_requirement = || self.requirement.clone().filter(|_| has_path);
        self.rule = named.or(matched).or_else(by_requirement);
        let reports = self.rule.as_ref().is_some_and(|rule| rule.mode == Mode::Report);
        self.allow.route = RouteCheck::new(route.as_ref(), reports);
        self.refuse_spoofed()?;
        if let Some(route) = route {
            let Ok(scopes) = route.scopes else { return self.refuse(UNREADABLE) };
            self.route_scopes = scopes;
        }
        let Some(rule) = self.rule.clone() else { return self.pass_unmatched(has_path) };
        self.is_matched = matched_id == Some(rule.id);
        if !self.is_matched && rule.matches.others_held(&self.view) != Held::Always {
            self.note_named(&rule);
        }
        let asks = self.requirement.is_some() || rule.requires.is_some();
        match (asks, self.route_scopes.is_empty()) {
            (true, _) => ControlFlow::Continue(rule),
            (false, true) => {
                self.allow.state.rule = Some(rule);
                self.pass()
            }
            (false, false) => self
                .refuse(Reason::RouteUnmatched.because("the route asks for scopes, and its rule is public")),
        }
    }

    /// Does what the route says but for its scopes, and finds the rule that it names.
    fn heed_route(
        &mut self,
        route: &RouteMetadata,
        has_path: bool,
    ) -> ControlFlow<Outcome, Option<Rc<Rule>>> {
        if self.is_disabled(route)? && has_path {
            self.allow.route = RouteCheck::new(Some(route), false);
            self.refuse_spoofed()?;
            return self.pass();
        }
        self.requirement = self.named_requirement(route)?;
        self.named_rule(route, has_path)
    }

    /// The rule that the route names. It may mean any rule, so that the one of the path, which may only report, has no
    /// say where that is not known.
    fn named_rule(
        &mut self,
        route: &RouteMetadata,
        has_path: bool,
    ) -> ControlFlow<Outcome, Option<Rc<Rule>>> {
        match &route.rule {
            Err(_) => self.refuse(UNREADABLE),
            // Only a rule for CONNECT is for a request without a path (RFC 9113 section 8.5).
            Ok(Some(name)) if has_path => match self.config.rules.named(name) {
                None => {
                    let words = format!("the route names the rule {name:?}, which is not configured");
                    self.refuse(Reason::RouteUnmatched.explained(words))
                }
                named => ControlFlow::Continue(named),
            },
            Ok(_) => ControlFlow::Continue(None),
        }
    }

    /// The requirement that the route names, in place of the rule's.
    fn named_requirement(&mut self, route: &RouteMetadata) -> ControlFlow<Outcome, Option<Rc<Rule>>> {
        match &route.requirement {
            Err(_) => self.refuse(UNREADABLE),
            Ok(None) => ControlFlow::Continue(None),
            Ok(Some(name)) => match self.config.requirements.get(name) {
                None => {
                    let words = format!(
                        "the route names the requirement {name:?}, which \"requirement_map\" does not have"
                    );
                    self.refuse(Reason::RouteUnmatched.explained(words))
                }
                named => ControlFlow::Continue(named.map(Rc::clone)),
            },
        }
    }

    /// Whether the route says that nothing is asked of its requests, and nothing else.
    fn is_disabled(&mut self, route: &RouteMetadata) -> ControlFlow<Outcome, bool> {
        match route.is_disabled {
            Ok(false) => ControlFlow::Continue(false),
            Ok(true) if *route == RouteMetadata::disabled() => ControlFlow::Continue(true),
            Ok(true) => self.refuse(
                Reason::RouteUnmatched
                    .because("the route says \"disabled\" beside \"rule\", \"requirement\" or \"scopes\""),
            ),
            Err(_) => self.refuse(UNREADABLE),
        }
    }

    /// The rule that matches the request itself.
    fn match_request(&mut self) -> ControlFlow<Outcome, Option<Rc<Rule>>> {
        match self.config.rules.find(&self.view) {
            RuleMatch::Rule(rule) => ControlFlow::Continue(Some(rule)),
            RuleMatch::Nothing => ControlFlow::Continue(None),
            // Whatever its mode: a request that may be another rule's is not this rule's to let through.
            RuleMatch::Ambiguous(reason, rule) => {
                self.rule = rule;
                let refusal = Refusal { is_enforced: true, ..Refusal::new(self.ambiguous(reason)) };
                ControlFlow::Break(self.build_refusal(refusal))
            }
        }
    }

    fn ambiguous(&self, reason: Reason) -> Rejected {
        if reason == Reason::RequestAmbiguous {
            return reason.because(match self.view.authority() {
                Some(_) => {
                    "a host, header, parameter or metadata that the rule asks for depends on the reader"
                }
                None => "there is no host, or it is not one name or address with a port",
            });
        }
        match (canonical(&self.view.path().sent()), self.view.path().kind()) {
            (Err(why), _) => reason.explained(why.to_string()),
            (Ok(_), PathKind::Excessive) => reason.because("it has more readings than are looked at"),
            (Ok(_), _) => reason.because("its readings meet different rules, or differ in path variables"),
        }
    }

    /// Passes a browser's question whether it may send a request of another origin, where that is configured.
    fn pass_preflight(&mut self, matched: &Option<Rc<Rule>>) -> ControlFlow<Outcome> {
        if !self.config.bypass_cors_preflight || !is_preflight(self.request) {
            return ControlFlow::Continue(());
        }
        self.allow.route = RouteCheck::Exempt;
        self.rule = matched.clone();
        self.refuse_spoofed()?;
        self.pass()
    }

    /// Refuses a header that only the filter writes, where that is configured: to take it away can make the proxy
    /// choose another route than the one that chose this filter.
    fn refuse_spoofed(&mut self) -> ControlFlow<Outcome> {
        match self.allow.remove.first() {
            Some(name) if self.config.refuses_spoofed_headers => {
                let name = String::from_utf8_lossy(name);
                let words = format!(
                    "it has the header {}, which only this filter writes; spoofed_headers is \"reject\"",
                    crate::reason::excerpt(&name)
                );
                self.refuse(Reason::RequestAmbiguous.explained(words))
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn pass_unmatched<T>(&mut self, has_path: bool) -> ControlFlow<Outcome, T> {
        let is_open = self.config.unmatched == Unmatched::Allow && has_path;
        if is_open && self.route_scopes.is_empty() {
            return self.pass();
        }
        self.refuse(Reason::RouteUnmatched.because(match (is_open, has_path) {
            (true, _) => "no rule matches, and the route asks for scopes",
            (false, true) => "no rule matches; unmatched is \"deny\"",
            (false, false) => "no rule matches, and it has no path",
        }))
    }

    /// The request passes as it is, but for headers that only the filter writes.
    fn pass<T>(&mut self) -> ControlFlow<Outcome, T> {
        ControlFlow::Break(Outcome::Allow(std::mem::take(&mut self.allow)))
    }

    /// Tells the log of a rule that a route named for a request which the rule's own conditions are not for.
    fn note_named(&mut self, rule: &Rule) {
        if let Some(more) = self.gate.route_notes.room(self.now) {
            let text = format!(
                "a route names the rule {:?} for a request that its methods, hosts, headers or parameters are not for; on a route they are not asked{more}",
                rule.name
            );
            self.gate.effects.push_back(Effect::Log(log::Level::Warn, text));
        }
    }
}

/// A rule that was tried, with what holds of its conditions.
fn trial_check(trial: &RuleTrial) -> Check {
    let words = trial.conditions.iter().map(|(what, held)| {
        let word = match held {
            Held::Always => "holds",
            Held::Depends => "depends on the reader",
            Held::Never => "does not hold",
        };
        format!("{what} {word}")
    });
    Check::seen(format!("rule {:?}", trial.rule), words.collect::<Vec<_>>().join(", "))
}

/// Whether a browser asks whether it may send a request of another origin (Fetch, CORS-preflight).
fn is_preflight(request: &Request<'_>) -> bool {
    let given = |name| request.first(name).is_some_and(|value| !value.is_empty());
    request.method() == b"OPTIONS" && given("origin") && given("access-control-request-method")
}

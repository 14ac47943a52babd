//! A judge of the machine's own, which knows every reading but the one that is taken away from it: the proof that the
//! machine misses none of them.

use std::collections::BTreeSet;

use super::gate::{Judge, Passed};
use super::grammar::Token;
use super::head::Head;
use super::machine::views;
use super::parts::{FieldReader, HostReader, Places, QueryReader, TokenReader, Which, folded};
use super::paths::{PathReader, Step, is_plain, literal};
use super::rules::{Bind, Demand, RuleSet, View};

/// A reading, or a care, that the judge goes without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lacks {
    Path(Step),
    /// Dots that are escaped are dots too; they go together.
    AllDots,
    /// It decodes once where others decode twice.
    SecondDecoding,
    /// All readings of the host but these.
    AllHostsBut(&'static [HostReader]),
    Field(Which),
    FoldedConditions,
    QueryWhich(Which),
    QuerySemicolons,
    QueryDecoding,
    QueryVariables,
    Token(TokenReader),
    /// Names of identity headers are folded in this character alone.
    FoldedIdentity,
    /// The compared header is that of the exact name.
    FoldedBinding,
    /// It lets pass under a report rule whatever one reading takes for that rule's.
    Report,
    /// It binds by position where the path does not fit.
    RouteRule,
}

impl Lacks {
    /// Whether a request could show it. The others would only take time.
    pub fn could_show(self, head: &Head) -> bool {
        let plain = is_plain(head.path());
        match self {
            Self::Path(_) | Self::AllDots | Self::SecondDecoding | Self::Report | Self::RouteRule => {
                head.fields.iter().all(|(name, _)| name == "authorization") && head.query().is_empty()
            }
            // All but one that is lacking alone know users; those would be found first.
            Self::AllHostsBut(kept) => {
                plain && head.fields.is_empty() && (kept.len() > 4 || !head.authority.contains('@'))
            }
            Self::Field(_) | Self::FoldedConditions | Self::FoldedBinding | Self::FoldedIdentity => {
                plain && head.fields.len() > 1 && head.query().is_empty()
            }
            Self::QueryWhich(_) | Self::QuerySemicolons | Self::QueryDecoding | Self::QueryVariables => {
                plain && !head.query().is_empty() && head.fields.is_empty()
            }
            Self::Token(_) => plain,
        }
    }
}

/// The judge.
pub struct Naive<'n> {
    set: &'n RuleSet,
    tokens: &'n [Token],
    lacks: Option<Lacks>,
}

impl<'n> Naive<'n> {
    pub fn new(set: &'n RuleSet, tokens: &'n [Token], lacks: Option<Lacks>) -> Self {
        Self { set, tokens, lacks }
    }

    fn lacks(&self, what: Lacks) -> bool {
        self.lacks == Some(what)
    }

    /// Everything that any order of steps makes of a path, each with the steps that made it so.
    fn paths(&self, target: &str) -> Vec<(PathReader, Vec<u8>)> {
        use Step::*;
        let all = [
            Query,
            Tabs,
            Cut,
            Unreserved,
            Slashes,
            Decode,
            Encode,
            CutNul,
            Backslash,
            Merge,
            Dots,
            EscapedDots,
            Authority,
            NormPath,
        ];
        let dots = |step: Step| matches!(step, Dots | EscapedDots | NormPath) && self.lacks(Lacks::AllDots);
        let steps: Vec<Step> =
            all.into_iter().filter(|step| !self.lacks(Lacks::Path(*step)) && !dots(*step)).collect();
        if is_plain(target.split('?').next().unwrap_or_default()) && !self.lacks(Lacks::Path(Query)) {
            let reader = literal();
            return reader.read(target).map(|path| (reader, path)).into_iter().collect();
        }
        let most = if self.lacks(Lacks::SecondDecoding) { 1 } else { 3 };
        let start = PathReader { name: "naive".to_owned(), steps: vec![Query] };
        let Some(path) = start.read(target) else { return Vec::new() };
        let mut seen = BTreeSet::from([(path.clone(), 0, false)]);
        let mut found = vec![(start, path.clone())];
        // Not everybody ends a path at `#`.
        found.extend(literal().read(target).filter(|whole| *whole != path).map(|whole| (literal(), whole)));
        let mut at = 0;
        while at < found.len() && found.len() < 3000 {
            let (reader, path) = found[at].clone();
            at += 1;
            let decodes = reader.steps.iter().filter(|step| **step == Decode).count();
            let encodes = reader.steps.iter().filter(|step| **step == Encode).count();
            for step in &steps {
                if (*step == Decode && decodes >= most) || (*step == Encode && encodes >= decodes) {
                    continue;
                }
                let Some(next) = step.apply(path.clone()) else { continue };
                let unreserved = *step == Unreserved || reader.steps.contains(&Unreserved);
                let depth = decodes + usize::from(*step == Decode)
                    - encodes.min(decodes)
                    - usize::from(*step == Encode);
                if seen.insert((next.clone(), depth, unreserved)) {
                    let mut steps = reader.steps.clone();
                    steps.push(*step);
                    found.push((PathReader { steps, ..start_of(&reader) }, next));
                }
            }
        }
        found
    }

    fn hosts(&self) -> Vec<HostReader> {
        let all = HostReader::ALL.into_iter();
        match self.lacks {
            Some(Lacks::AllHostsBut(kept)) => kept.to_vec(),
            _ => all.collect(),
        }
    }

    fn fields(&self) -> Vec<FieldReader> {
        let joined = |which: Which| matches!(which, Which::Joined(_));
        let gone = |own: &FieldReader| match self.lacks {
            Some(Lacks::Field(which)) => own.which == which || (joined(own.which) && joined(which)),
            Some(Lacks::FoldedConditions) => own.folds,
            _ => false,
        };
        FieldReader::all().into_iter().filter(|own| !gone(own)).collect()
    }

    fn queries(&self) -> Vec<QueryReader> {
        let gone = |own: &QueryReader| match self.lacks {
            Some(Lacks::QueryWhich(which)) => own.which == which,
            Some(Lacks::QuerySemicolons) => own.semicolons,
            Some(Lacks::QueryDecoding) => own.decodes,
            Some(Lacks::QueryVariables) => own.variables,
            _ => false,
        };
        QueryReader::all().into_iter().filter(|own| !gone(own)).collect()
    }

    /// The one rule of all readings; `Err` where they part.
    fn met(&self, head: &Head) -> Result<Option<usize>, ()> {
        if !head.target.starts_with('/') {
            return Err(());
        }
        let mut met: Option<Option<usize>> = None;
        let hosts = views(self.hosts().into_iter(), |own| own.read(&head.authority));
        let fields = views(self.fields().into_iter(), |own| own.read(head, "x-operation"));
        let queries = views(self.queries().into_iter(), |own| own.read(head, "op"));
        for (reader, path) in self.paths(&head.target) {
            for host in &hosts {
                let host = host.read(&head.authority);
                for fields in &fields {
                    for query in &queries {
                        let (fields, query) = (*fields, *query);
                        let view = View { head, reader: &reader, path: &path, host: &host, fields, query };
                        let own = self.set.met(&view);
                        if let Some(rule) = own
                            && self.lacks(Lacks::Report)
                            && self.set.rules[rule].report
                        {
                            return Ok(own);
                        }
                        if met.is_some_and(|met| met != own) {
                            return Err(());
                        }
                        met = Some(own);
                    }
                }
            }
        }
        met.ok_or(())
    }

    /// Whether every reading of what the rule binds is this token's.
    fn bound(&self, head: &Head, rule: usize, token: &Token) -> bool {
        let rule = &self.set.rules[rule];
        match rule.bind {
            None => true,
            Some(Bind::Path) => self.paths(&head.target).iter().all(|(reader, path)| {
                if self.lacks(Lacks::RouteRule) && head.route_rule.is_some() {
                    let mut segments = path.split(|byte| *byte == b'/').skip(2);
                    return segments.next() == Some(token.tenant.as_bytes());
                }
                rule.tenant(reader, path).is_some_and(|tenant| tenant == token.tenant.as_bytes())
            }),
            Some(Bind::Header) => self.fields().iter().all(|own| {
                let own = FieldReader { folds: own.folds && !self.lacks(Lacks::FoldedBinding), ..*own };
                let values = own.read(head, "x-tenant");
                !values.is_empty() && values.iter().all(|value| value == token.tenant)
            }),
            Some(Bind::Host) => self.hosts().iter().all(|own| {
                let host = own.read(&head.authority).text;
                host.rsplit_once(':').map_or(&*host, |(host, _)| host) == token.site
            }),
        }
    }

    fn credentials(&self, head: &Head, places: &Places) -> BTreeSet<String> {
        let readers = TokenReader::ALL.into_iter().filter(|own| !self.lacks(Lacks::Token(*own)));
        readers.flat_map(|own| own.read(head, places)).collect()
    }
}

fn start_of(reader: &PathReader) -> PathReader {
    PathReader { name: reader.name.clone(), steps: Vec::new() }
}

impl Judge for Naive<'_> {
    fn ask(&mut self, head: &Head) -> Option<Passed> {
        let met = self.met(head).ok()?;
        let named = head.route_rule.as_ref().and_then(|name| name.strip_prefix('r')?.parse().ok());
        let rule = named.or(met);
        let mut forwarded = head.clone();
        let is_identity = |name: &str| match self.lacks(Lacks::FoldedIdentity) {
            true => name.to_ascii_lowercase().replace('_', "-") == "x-user",
            false => folded(name) == "x_user",
        };
        forwarded.fields.retain(|(name, _)| !is_identity(name));
        let passed = |subject: Option<&Token>, forwarded: Head, only_reported| {
            let subject = subject.map(|token| token.subject.to_owned());
            Some(Passed { rule, only_reported, subject, forwarded })
        };
        let Some(at) = rule else { return self.set.allow_unmatched.then(|| passed(None, forwarded, false))? };
        let (demand, report) = (self.set.rules[at].demand, self.set.rules[at].report);
        if demand == Demand::Public {
            return passed(None, forwarded, false);
        }
        // Its own place of a token is not searched cleverly: what has one is taken away whole.
        let found = self.credentials(head, &self.set.places);
        let good = self.tokens.iter().find(|token| found.len() == 1 && found.contains(&token.text));
        let admin = |token: &&Token| demand != Demand::Admin || matches!(token.subject, "root" | "eve");
        let good = good.filter(|token| self.bound(head, at, token)).filter(admin);
        let binds = self.set.rules[at].bind.is_some();
        let missing = !binds
            && match demand {
                Demand::AllowMissing => found.is_empty(),
                Demand::AllowMissingOrFailed => true,
                _ => false,
            };
        if good.is_none() && !missing {
            return if report { passed(None, forwarded, true) } else { None };
        }
        let travels = self.set.forward && good.is_some();
        if !(report || travels || found.is_empty()) {
            let places = &self.set.places;
            let is_place = |name: &str| {
                places.headers.iter().any(|(own, _)| folded(own) == folded(name))
                    || (!places.cookies.is_empty() && name.eq_ignore_ascii_case("cookie"))
            };
            forwarded.fields.retain(|(name, _)| !is_place(name));
            if !places.params.is_empty() {
                // Every part that anybody could take for it.
                let is_token = |part: &&str| {
                    folded(&part.replace("%5f", "_").replace("%5F", "_")).contains("access_token")
                };
                let kept: Vec<&str> =
                    head.query().split_inclusive(['&', ';']).filter(|part| !is_token(part)).collect();
                forwarded.target = format!("{}?{}", head.path(), kept.concat());
            }
        }
        passed(good, forwarded, false)
    }
}

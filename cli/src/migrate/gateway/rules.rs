//! Rules of which the first one decides by its request alone, for rules that are passed over where the token does not
//! meet them.

use serde_json::{Value, json};

use super::super::formula::Formula;
use super::policy::Rule;
use super::region::Region;

/// How many rules are written at most.
const MAX_RULES: usize = 200;

/// What the policy asks of every request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token {
    Required,
    /// It may be missing; under `failOpen` it may also be bad.
    Optional,
}

/// The rules, and whether some are for requests without a token, with others for those with one.
pub(super) struct Made {
    pub(super) rules: Vec<Value>,
    pub(super) is_split: bool,
}

/// A rule to be.
struct Draft {
    region: Region,
    formula: Formula,
}

/// The rules for a policy's.
///
/// # Errors
/// What cannot be said here.
pub(super) fn rules(rules: &[Rule], is_rest_allowed: bool, token: Token) -> Result<Made, String> {
    let mut drafts = Vec::new();
    let mut walk = Walk { is_rest_allowed, drafts: &mut drafts };
    walk.walk(rules, &Region::all(), &mut Vec::new())?;
    prune(&mut drafts);
    let is_split = drafts.iter().any(|draft| draft.is_split(token));
    Ok(Made { rules: drafts.iter().flat_map(|draft| draft.to_rules(token)).collect(), is_split })
}

struct Walk<'d> {
    is_rest_allowed: bool,
    drafts: &'d mut Vec<Draft>,
}

impl Walk<'_> {
    /// Writes drafts for all requests of a region that no draft before takes. `before`: the rules for all of the region
    /// that a token may fail to meet, and what each does.
    fn walk(
        &mut self,
        rules: &[Rule],
        region: &Region,
        before: &mut Vec<(Formula, bool)>,
    ) -> Result<(), String> {
        if self.drafts.iter().any(|draft| region.is_within(&draft.region)) {
            return Ok(());
        }
        let Some((rule, rest)) = rules.split_first() else {
            return self.draft(region, before, self.is_rest_allowed);
        };
        let Some(both) = region.both(&rule.region)? else { return self.walk(rest, region, before) };
        if let Some(except) = &rule.except
            && let Some(out) = both.both(&Region::of_paths(except.clone()))?
        {
            if both.is_within(&out) {
                return self.walk(rest, region, before);
            }
            self.walk(rest, &out, before)?;
        }
        if rule.condition == Formula::Is(true) {
            self.draft(&both, before, rule.is_allow)?;
        } else {
            before.push((rule.condition.clone(), rule.is_allow));
            self.walk(rest, &both, before)?;
            before.pop();
        }
        if region.is_within(&both) { Ok(()) } else { self.walk(rest, region, before) }
    }

    fn draft(&mut self, region: &Region, before: &[(Formula, bool)], is_allowed: bool) -> Result<(), String> {
        if self.drafts.iter().any(|draft| region.is_within(&draft.region)) {
            return Ok(());
        }
        let formula = before.iter().rev().fold(Formula::Is(is_allowed), |rest, (condition, is_allow)| {
            let condition = condition.clone();
            if *is_allow { Formula::any([condition, rest]) } else { Formula::all([condition.not(), rest]) }
        });
        self.drafts.push(Draft { region: region.clone(), formula });
        match self.drafts.len() > MAX_RULES {
            true => {
                Err(format!("more than {MAX_RULES} rules would be needed; carry the policy over in parts"))
            }
            false => Ok(()),
        }
    }
}

/// Takes out each draft whose requests meet the same in a later one.
fn prune(drafts: &mut Vec<Draft>) {
    let mut at = drafts.len();
    while at > 0 {
        at -= 1;
        let Some((draft, later)) = drafts.get(at..).and_then(<[Draft]>::split_first) else { break };
        let mut is_needless = draft.formula == Formula::Is(false);
        for other in later.iter().filter(|other| draft.region.may_overlap(&other.region)) {
            if other.formula != draft.formula {
                is_needless = false;
                break;
            }
            if draft.region.is_within(&other.region) {
                is_needless = true;
                break;
            }
        }
        if is_needless {
            drafts.remove(at);
        }
    }
}

impl Draft {
    /// Whether requests without a token pass, and a token has to meet something.
    fn is_split(&self, token: Token) -> bool {
        token == Token::Optional && self.formula.is_met_without_token() && self.formula != Formula::Is(true)
    }

    fn to_rules(&self, token: Token) -> Vec<Value> {
        let whole = self.region.to_match(None);
        if self.formula == Formula::Is(true) {
            let name = if token == Token::Optional { "open" } else { "token" };
            return vec![json!({ "match": whole, "requirement_name": name })];
        }
        let mut rule = json!({ "match": whole, "requirement_name": "token" });
        if let Some(authorize) = self.formula.to_authorize() {
            rule["authorize"] = authorize;
        }
        if !self.is_split(token) {
            return vec![rule];
        }
        let absent = json!({ "name": "authorization", "present_match": false });
        let without = self.region.to_match(Some(absent));
        vec![json!({ "match": without, "requirement_name": "open" }), rule]
    }
}

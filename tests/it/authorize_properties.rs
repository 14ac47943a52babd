//! `authorize` is Boolean algebra over its conditions, and means what a plain reading of the configuration
//! means: proptest looks for a rule and a token of which that does not hold.
//!
//! Rules go through [`Config::parse`] as an operator writes them, and are judged beside a reading of the same
//! JSON that shares nothing with the filter. `PROPTEST_CASES` asks for more cases.

use std::borrow::Cow;

use portcullis::{Authorize, Bindings, Claims, Config, Grants, Json, Reason};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

/// The request to which conditions are bound.
#[derive(Debug)]
struct Asked {
    tenant: &'static str,
    header: Option<&'static str>,
    host: Option<&'static str>,
}

impl Bindings for Asked {
    fn path_variable(&self, name: &str) -> Option<Cow<'_, str>> {
        (name == "tenant").then_some(Cow::Borrowed(self.tenant))
    }

    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.header.filter(|_| name == "x-tenant").map(Cow::Borrowed)
    }

    fn host(&self) -> Option<Cow<'_, str>> {
        self.host.map(Cow::Borrowed)
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    let text = || prop::option::of(select(&["a", "b", "1", ""][..]));
    (select(&["a", "b", "1", ""][..]), text(), text()).prop_map(|(tenant, header, host)| Asked {
        tenant,
        header,
        host,
    })
}

/// The rule's `authorize`, and how its provider's claims are read.
fn compiled(authorize: &Value) -> (Authorize, Grants) {
    let config = json!({
        "providers": { "p": {
            "issuer": "i",
            "role_claims": ["roles"],
            "remote_jwks": { "http_uri": { "uri": "https://i/k", "cluster": "c", "timeout": "1s" } },
        } },
        "rules": [{
            "match": { "path_template": "/{tenant}" },
            "requires": { "provider_name": "p" },
            "authorize": authorize,
        }],
    });
    let config = Config::parse(config.to_string().as_bytes(), &|_| None)
        .unwrap_or_else(|errors| panic!("{authorize}: {errors:?}"));
    let authorize = config.rules.iter().next().and_then(|rule| rule.authorize.clone());
    (authorize.expect("a rule that authorizes"), config.providers[0].policy.grants.clone())
}

fn outcome(authorize: &Value, claims: &Value, request: &dyn Bindings) -> Result<(), Reason> {
    let (authorize, grants) = compiled(authorize);
    let Ok(Json::Object(claims)) = portcullis::parse_json(claims.to_string().as_bytes()) else {
        panic!("an object: {claims}")
    };
    Ok(authorize.check(&Claims::new(claims, &grants).expect("claims"), request)?)
}

fn passes(authorize: &Value, claims: &Value, request: &dyn Bindings) -> bool {
    outcome(authorize, claims, request).is_ok()
}

/// A few values, so that they often meet.
fn scalar() -> impl Strategy<Value = Value> {
    select(vec![
        json!("a"),
        json!("b"),
        json!("1"),
        json!(1),
        json!(1.5),
        json!(-2),
        json!(true),
        json!(false),
    ])
}

fn word() -> impl Strategy<Value = &'static str> {
    select(&["a", "b", "c"][..])
}

fn claim_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => scalar(),
        1 => select(vec![json!(null), json!(""), json!({ "a": 1 }), json!([]), json!([["a"]]), json!(["a", null])]),
        2 => prop::collection::vec(scalar(), 0..4).prop_map(Value::from),
    ]
}

fn claims() -> impl Strategy<Value = Value> {
    let words = || prop::collection::vec(word(), 0..3);
    let claim = || prop::option::of(claim_value());
    (words(), words(), claim(), claim()).prop_map(|(scopes, roles, x, y)| {
        let mut claims = json!({ "scope": scopes.join(" "), "roles": roles });
        for (name, value) in [("x", x), ("y", y)] {
            if let Some(value) = value {
                claims[name] = value;
            }
        }
        claims
    })
}

fn members() -> impl Strategy<Value = Value> {
    (select(&["all_of", "any_of", "none_of"][..]), prop::collection::vec(word(), 1..3))
        .prop_map(|(name, words)| json!({ name: words }))
}

fn condition() -> impl Strategy<Value = Value> {
    let list = || prop::collection::vec(scalar(), 1..3);
    let test = prop_oneof![
        scalar().prop_map(|value| json!({ "equals": value })),
        list().prop_map(|values| json!({ "any_of": values })),
        list().prop_map(|values| json!({ "all_of": values })),
        list().prop_map(|values| json!({ "none_of": values })),
        any::<bool>().prop_map(|value| json!({ "present": value })),
        select(&["a|1", ".*", "b"][..]).prop_map(|expression| json!({ "matches": expression })),
        (-3..3).prop_map(|bound| json!({ "gte": bound })),
        (-3..3).prop_map(|bound| json!({ "lte": bound })),
        (-3..1, 1..3).prop_map(|(least, most)| json!({ "gte": least, "lte": most })),
        Just(json!({ "equals_path": "tenant" })),
        Just(json!({ "equals_header": "X-Tenant" })),
        Just(json!({ "equals_host": true })),
    ];
    (select(&["x", "y"][..]), test).prop_map(|(claim, mut test)| {
        test["claim"] = json!(claim);
        test
    })
}

/// Any `authorize` of a few levels.
fn clause() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        members().prop_map(|members| json!({ "scopes": members })),
        members().prop_map(|members| json!({ "roles": members })),
        prop::collection::vec(condition(), 1..3).prop_map(|claims| json!({ "claims": claims })),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        let list = prop::collection::vec(inner.clone(), 1..4);
        let part = prop_oneof![
            list.clone().prop_map(|list| json!({ "all": list })),
            list.prop_map(|list| json!({ "any": list })),
            inner.clone().prop_map(|clause| json!({ "not": clause })),
        ];
        // Parts side by side in one clause.
        (part, inner).prop_map(|(mut part, other)| {
            for (name, value) in other.as_object().into_iter().flatten() {
                if part.get(name).is_none() {
                    part[name] = value.clone();
                }
            }
            part
        })
    })
}

/// The plain reading.
mod reading {
    use serde_json::Value;

    use super::Asked;

    pub(super) fn clause(clause: &Value, claims: &Value, asked: &Asked) -> bool {
        let inner = |inner: &Value| self::clause(inner, claims, asked);
        clause.as_object().expect("an object").iter().all(|(name, value)| match name.as_str() {
            "scopes" => {
                let held = claims["scope"].as_str().expect("a text").split_whitespace();
                members(value, &held.collect::<Vec<_>>())
            }
            "roles" => {
                let held = claims["roles"].as_array().expect("a list").iter().filter_map(Value::as_str);
                members(value, &held.collect::<Vec<_>>())
            }
            "claims" => list(value).iter().all(|condition| self::condition(condition, claims, asked)),
            "all" => list(value).iter().all(inner),
            "any" => list(value).iter().any(inner),
            "not" => !inner(value),
            other => panic!("{other}"),
        })
    }

    fn list(value: &Value) -> &[Value] {
        value.as_array().expect("a list")
    }

    fn members(members: &Value, held: &[&str]) -> bool {
        members.as_object().expect("an object").iter().all(|(name, names)| {
            let mut held = list(names).iter().map(|name| held.contains(&name.as_str().expect("a text")));
            match name.as_str() {
                "all_of" => held.all(|held| held),
                "any_of" => held.any(|held| held),
                _ => !held.any(|held| held),
            }
        })
    }

    fn same(a: &Value, b: &Value) -> bool {
        match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => a == b,
            _ => a == b,
        }
    }

    fn condition(condition: &Value, claims: &Value, asked: &Asked) -> bool {
        let mut operators =
            condition.as_object().expect("an object").iter().filter(|(name, _)| *name != "claim");
        let value = match claims.get(condition["claim"].as_str().expect("a text")) {
            None | Some(Value::Null) => {
                return operators.all(|(name, own)| name == "none_of" || (name == "present" && own == false));
            }
            Some(value) => value,
        };
        let elements = value.as_array().map_or_else(|| vec![value.clone()], Clone::clone);
        let holds = |own: &Value| elements.iter().any(|element| same(own, element));
        let is = |text: Option<&str>| {
            let written = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) if !number.is_f64() => number.to_string(),
                _ => return false,
            };
            !written.is_empty() && text == Some(&written)
        };
        operators.all(|(name, own)| match name.as_str() {
            "equals" => same(own, value),
            "any_of" => list(own).iter().any(holds),
            "all_of" => list(own).iter().all(holds),
            "none_of" => {
                !list(own).iter().any(holds)
                    && !elements.iter().any(|one| one.is_null() || one.is_array() || one.is_object())
            }
            "present" => own == true,
            "matches" => elements.iter().filter_map(|one| one.as_str()).any(|text| match own.as_str() {
                Some("a|1") => text == "a" || text == "1",
                Some("b") => text == "b",
                _ => true,
            }),
            "gte" => value.as_f64().is_some_and(|value| value >= own.as_f64().expect("a number")),
            "lte" => value.as_f64().is_some_and(|value| value <= own.as_f64().expect("a number")),
            "equals_path" => is(Some(asked.tenant)),
            "equals_header" => is(asked.header),
            "equals_host" => is(asked.host),
            other => panic!("{other}"),
        })
    }
}

/// Fewer cases than proptest's own number are too few here: a clause has many parts.
fn cases() -> ProptestConfig {
    let wanted = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    if asked { wanted } else { ProptestConfig { cases: 3000, ..wanted } }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_rule_means_what_it_says(clause in clause(), claims in claims(), asked in asked()) {
        let expected = reading::clause(&clause, &claims, &asked);
        prop_assert_eq!(passes(&clause, &claims, &asked), expected);
    }

    #[test]
    fn not_any_and_all_are_boolean_algebra(
        a in clause(), b in clause(), c in clause(), claims in claims(), asked in asked(),
    ) {
        let holds = |clause: &Value| passes(clause, &claims, &asked);
        let not = |clause: &Value| json!({ "not": clause });
        let any = |list: &[&Value]| json!({ "any": list });
        let all = |list: &[&Value]| json!({ "all": list });
        prop_assert_eq!(holds(&not(&a)), !holds(&a));
        prop_assert_eq!(holds(&not(&not(&a))), holds(&a));
        prop_assert_eq!(holds(&any(&[&a, &b])), holds(&a) || holds(&b));
        prop_assert_eq!(holds(&all(&[&a, &b])), holds(&a) && holds(&b));
        prop_assert!(holds(&any(&[&a, &not(&a)])));
        prop_assert!(!holds(&all(&[&a, &not(&a)])));
        // De Morgan
        prop_assert_eq!(holds(&not(&any(&[&a, &b]))), holds(&all(&[&not(&a), &not(&b)])));
        prop_assert_eq!(holds(&not(&all(&[&a, &b]))), holds(&any(&[&not(&a), &not(&b)])));
        // Order and brackets do not count, and one distributes over the other.
        prop_assert_eq!(holds(&any(&[&a, &b, &c])), holds(&any(&[&c, &any(&[&b, &a])])));
        prop_assert_eq!(holds(&all(&[&a, &any(&[&b, &c])])), holds(&any(&[&all(&[&a, &b]), &all(&[&a, &c])])));
    }

    #[test]
    fn a_condition_on_a_missing_claim_holds_for_its_absence_alone(
        condition in condition(), null in any::<bool>(), asked in asked(),
    ) {
        let mut claims = json!({ "scope": "", "roles": [] });
        if null {
            claims["x"] = Value::Null;
            claims["y"] = Value::Null;
        }
        let right = condition.get("none_of").is_some() || condition.get("present") == Some(&json!(false));
        prop_assert_eq!(passes(&json!({ "claims": [condition] }), &claims, &asked), right);
    }

    #[test]
    fn an_outcome_that_does_not_depend_on_the_request_is_the_same_for_every_request(
        clause in clause(), claims in claims(), one in asked(), other in asked(),
    ) {
        let bound = clause.to_string().contains("\"equals_");
        prop_assert_eq!(compiled(&clause).0.depends_on_request(), bound);
        if !bound {
            prop_assert_eq!(outcome(&clause, &claims, &one), outcome(&clause, &claims, &other));
        }
    }

    /// Who holds no scope and is refused for want of one can ask for what the challenge names, and is then refused
    /// for no scope that it could ask for.
    #[test]
    fn a_challenge_asks_for_enough(clause in clause(), claims in claims(), asked in asked()) {
        let (compiled, _) = compiled(&clause);
        let forbids = clause.to_string().contains("none_of") || clause.to_string().contains("\"not\"");
        if !forbids && outcome(&clause, &claims, &asked) == Err(Reason::ScopeInsufficient) {
            let challenge = compiled.challenge();
            prop_assert!(challenge.is_some(), "{clause} asks for no scope");
            let held = claims["scope"].as_str().unwrap_or_default();
            let mut more = claims.clone();
            more["scope"] = json!(format!("{held} {}", challenge.unwrap_or_default()));
            prop_assert_ne!(outcome(&clause, &more, &asked), Err(Reason::ScopeInsufficient));
        }
    }
}

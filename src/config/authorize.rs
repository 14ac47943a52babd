//! `rules[].authorize`: what a token must grant.

pub(super) use super::conditions::some;
use super::conditions::{self, Owner};
use super::fields::{Fields, Item};
use super::values::{SECOND, WEEK};
use crate::rules::{Authentication, Authorize, Clause, SetRequirement};

/// How deep `any`, `all` and `not` go.
const MAX_DEPTH: usize = 8;

/// Reads it. `variables` are the names that the rule's path template binds; none: not known, for the
/// rule's match cannot be read.
pub(super) fn read(item: &Item<'_>, variables: Option<&[&str]>) -> Option<Authorize> {
    clause(item, variables, MAX_DEPTH).map(Authorize::new)
}

fn clause(item: &Item<'_>, variables: Option<&[&str]>, depth: usize) -> Option<Clause> {
    const KNOWN: [&str; 7] = ["authentication", "scopes", "roles", "claims", "any", "all", "not"];
    let mut fields = item.fields()?;
    let Some(depth) = depth.checked_sub(1) else {
        item.error(format!(
            "is nested deeper than {MAX_DEPTH} levels of \"any\", \"all\" and \"not\"; write it with fewer levels"
        ));
        return None;
    };
    if fields.present(&KNOWN).is_empty() {
        fields.error("is empty; say what the token must grant, such as { scopes: { all_of: [...] } }");
    }
    let authentication = fields.get("authentication").and_then(|item| authentication(&item));
    let scopes = fields.get("scopes").and_then(|item| members(&item, &SCOPE));
    let roles = fields.get("roles").and_then(|item| members(&item, &ROLE));
    let claims = fields.get("claims").and_then(|item| {
        let conditions = some(&item, "condition")?;
        Some(conditions.iter().filter_map(|item| conditions::read(item, Owner::Rule(variables))).collect())
    });
    let mut clauses = |name| {
        let clauses = some(&fields.get(name)?, "clause")?;
        Some(clauses.iter().filter_map(|item| clause(item, variables, depth)).collect())
    };
    let (all, any) = (clauses("all"), clauses("any"));
    let not = fields.get("not").and_then(|item| clause(&item, variables, depth));
    fields.finish();
    Some(Clause {
        authentication,
        scopes,
        roles,
        claims: claims.unwrap_or_default(),
        all: all.unwrap_or_default(),
        any: any.unwrap_or_default(),
        not: not.map(Box::new),
    })
}

/// How the user has to have logged in (RFC 9470).
fn authentication(item: &Item<'_>) -> Option<Authentication> {
    let mut fields = item.fields()?;
    if fields.present(&["acr_values", "max_age"]).is_empty() {
        fields.error(
            "is empty; say what the log-in must have been, such as { acr_values: [phr], max_age: 300s }",
        );
    }
    let acr_values = names(&mut fields, "acr_values", &ACR);
    let max_age = fields.get("max_age").and_then(|item| {
        let age = item.duration(SECOND, WEEK.saturating_mul(52))?;
        if age.subsec_nanos() > 0 {
            item.error("must be a whole number of seconds, because the challenge has no fractions");
        }
        Some(age)
    });
    fields.finish();
    Some(Authentication { acr_values, max_age })
}

/// A kind of name that tokens hold.
struct Kind {
    what: &'static str,
    /// What is wrong with a name that is not sound.
    sound: fn(&str) -> Result<(), &'static str>,
}

const SCOPE: Kind = Kind { what: "scope", sound: sound_scope };
const ROLE: Kind = Kind { what: "role", sound: |_| Ok(()) };
const ACR: Kind = Kind {
    what: "value",
    sound: |acr| {
        sound_scope(acr).map_err(|_| "is not one value; write it without spaces, quotes, backslashes and non-ASCII letters (RFC 9470 section 3)")
    },
};

/// Scopes as RFC 6749 section 3.3 spells them: a blank would be two, a quote would break a challenge.
pub(super) fn sound_scope(scope: &str) -> Result<(), &'static str> {
    if scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
        Ok(())
    } else {
        Err(
            "is not one scope; write it without spaces, quotes, backslashes and non-ASCII letters (RFC 6749 section 3.3)",
        )
    }
}

fn members(item: &Item<'_>, kind: &Kind) -> Option<SetRequirement> {
    let mut fields = item.fields()?;
    let members = SetRequirement {
        all_of: names(&mut fields, "all_of", kind),
        any_of: names(&mut fields, "any_of", kind),
        none_of: names(&mut fields, "none_of", kind),
    };
    if fields.present(&["all_of", "any_of", "none_of"]).is_empty() {
        fields.error("needs \"all_of\", \"any_of\" or \"none_of\"");
    }
    let forbidden = |name: &&String| members.none_of.contains(name);
    if let Some(name) = members.all_of.iter().find(forbidden) {
        fields.error(format!(
            "asks for {name:?} and forbids it, so that no token can pass; remove one of the two"
        ));
    } else if !members.any_of.is_empty() && members.any_of.iter().all(|name| forbidden(&name)) {
        fields.error("forbids everything that \"any_of\" names, so that no token can pass; remove a name from \"none_of\"");
    }
    fields.finish();
    Some(members)
}

fn names(fields: &mut Fields<'_>, name: &'static str, kind: &Kind) -> Vec<String> {
    let items = fields.get(name).and_then(|item| some(&item, kind.what)).unwrap_or_default();
    let mut names = Vec::new();
    for item in items {
        let Some(text) = item.text() else { continue };
        if let Err(error) = (kind.sound)(text) {
            item.error(error);
        }
        names.push(text.to_owned());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    const TEMPLATE: &str = r#"{"path_template":"/t/{tenant}/{rest=**}"}"#;

    fn read(provider: &str, matches: &str, authorize: &str) -> Result<Config, Vec<String>> {
        let text = format!(
            r#"{{"providers":{{"p":{{"issuer":"i","audiences":["a"],
            "remote_jwks":{{"http_uri":{{"uri":"https://i/k","cluster":"c","timeout":"1s"}}}}{provider}}}}},
            "rules":[{{"match":{matches},"requires":{{"provider_name":"p"}},"authorize":{authorize}}}]}}"#
        );
        Config::parse(text.as_bytes(), &|_| None)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn everything_that_the_interface_names_is_read() {
        for authorize in [
            r#"{"scopes":{"all_of":["a"],"any_of":["b","c"],"none_of":["d"]}}"#,
            r#"{"roles":{"anyOf":["Midwest Sales","ops"]}}"#,
            r#"{"claims":[{"claim":"a","equals":true},{"claim":"b","equals":-1.5},{"claim":"c","equals":""}]}"#,
            r#"{"claims":[{"claim":"/r/a","any_of":["a",1,false]},{"claim":["r","web.app"],"all_of":["a"]}]}"#,
            r#"{"claims":[{"claim":"a","none_of":["b"]},{"claim":"a","present":false}]}"#,
            r#"{"claims":[{"claim":"a","matches":"a|b"},{"claim":"n","gte":1},{"claim":"n","lte":1.5}]}"#,
            r#"{"claims":[{"claim":"n","gte":1,"lte":1}]}"#,
            r#"{"claims":[{"claim":"n","equals":9007199254740991},{"claim":"n","gte":-9007199254740991.0}]}"#,
            r#"{"claims":[{"claim":"a","equals_path":"tenant"},{"claim":"a","equalsPath":"rest"}]}"#,
            r#"{"claims":[{"claim":"a","equals_header":"X-Tenant"},{"claim":"a","equals_host":true}]}"#,
            r#"{"authentication":{"acr_values":["phr","urn:x:mfa"],"max_age":"300s"}}"#,
            r#"{"not":{"authentication":{"acrValues":["none"]}},"all":[{"authentication":{"maxAge":"1s"}}]}"#,
            r#"{"any":[{"roles":{"any_of":["a"]}},{"all":[{"not":{"scopes":{"any_of":["a"]}}}]}]}"#,
        ] {
            if let Err(errors) = read("", TEMPLATE, authorize) {
                panic!("{authorize}: {errors:?}");
            }
        }
        for provider in [
            r#","role_claims":["roles",["a","b.c"],{"claim":"o.per","format":"comma"},{"claim":["x"]}]"#,
            r#","roleClaims":[{"claim":"r","format":"keys"},{"claim":"s","format":"space"}]"#,
            r#","scope_hierarchy":{"orders:write":["orders:read"],"orders:*":["x"],"api/*":["y"],"z":["z"]}"#,
        ] {
            if let Err(errors) = read(provider, TEMPLATE, r#"{"roles":{"any_of":["a"]}}"#) {
                panic!("{provider}: {errors:?}");
            }
        }
    }

    #[test]
    fn every_mistake_is_told_with_its_place_and_what_to_do() {
        let one = |condition: &str| format!(r#"{{"claims":[{{"claim":"a",{condition}}}]}}"#);
        let deep = format!(r#"{}{{"roles":{{"any_of":["a"]}}}}{}"#, r#"{"not":"#.repeat(9), "}".repeat(9));
        for (authorize, expected) in [
            ("{}".to_owned(), ": is empty; say what"),
            (r#"{"any":[]}"#.into(), ".any: must name at least one clause"),
            (r#"{"all":[{}]}"#.into(), ".all[0]: is empty"),
            (r#"{"not":{}}"#.into(), ".not: is empty"),
            (r#"{"not":[]}"#.into(), ".not: expected an object, not a list"),
            (r#"{"authentication":{}}"#.into(), ".authentication: is empty; say what"),
            (r#"{"authentication":["phr"]}"#.into(), ".authentication: expected an object"),
            (r#"{"authentication":{"acr":"phr"}}"#.into(), ".authentication.acr: unknown field"),
            (
                r#"{"authentication":{"acr_values":[]}}"#.into(),
                ".authentication.acr_values: must name at least",
            ),
            (
                r#"{"authentication":{"acr_values":["a b"]}}"#.into(),
                ".authentication.acr_values[0]: is not one value",
            ),
            (r#"{"authentication":{"max_age":"0s"}}"#.into(), ".authentication.max_age: must be from 1s"),
            (
                r#"{"authentication":{"max_age":"1.5s"}}"#.into(),
                ".authentication.max_age: must be a whole number of seconds",
            ),
            (r#"{"authentication":{"max_age":300}}"#.into(), ".authentication.max_age: expected a duration"),
            (r#"{"claims":[]}"#.into(), ".claims: must name at least one condition"),
            (r#"{"claims":{"a":1}}"#.into(), ".claims: expected a list"),
            (r#"{"role":{}}"#.into(), ".role: unknown field; did you mean \"roles\"?"),
            (r#"{"roles":{}}"#.into(), ".roles: needs \"all_of\""),
            (r#"{"roles":{"any_of":[]}}"#.into(), ".roles.any_of: must name at least one role"),
            (r#"{"roles":{"any_of":[""]}}"#.into(), ".roles.any_of[0]: must not be empty"),
            (r#"{"roles":["a"]}"#.into(), ".roles: expected an object"),
            (r#"{"roles":{"all_of":["a"],"none_of":["a"]}}"#.into(), ".roles: asks for \"a\" and forbids it"),
            (
                r#"{"scopes":{"any_of":["a","b"],"none_of":["b","a"]}}"#.into(),
                ".scopes: forbids everything that \"any_of\" names",
            ),
            (r#"{"claims":[{"equals":1}]}"#.into(), ".claims[0].claim: is missing; name the claim"),
            (r#"{"claims":[{"claim":"a"}]}"#.into(), ".claims[0]: has no condition; add one of"),
            (r#"{"claims":[{"claim":7,"present":true}]}"#.into(), ".claims[0].claim: expected a string"),
            (
                r#"{"claims":[{"claim":{"a":1},"present":true}]}"#.into(),
                ".claims[0].claim: expected a string",
            ),
            (
                r#"{"claims":[{"claim":[],"present":true}]}"#.into(),
                ".claims[0].claim: must name at least one",
            ),
            (r#"{"claims":[{"claim":"","present":true}]}"#.into(), ".claims[0].claim: must not be empty"),
            (one(r#""equals":1,"present":true"#), ".claims[0]: has equals and present; keep one"),
            (one(r#""gte":1,"equals":1"#), ".claims[0]: has equals and gte; keep one"),
            (one(r#""equal":1"#), ".claims[0].equal: unknown field; did you mean \"equals\"?"),
            (one(r#""equals":null"#), ".claims[0].equals: is null; write \"present\": false"),
            (one(r#""equals":["a"]"#), ".claims[0].equals: is a list; compare lists with \"any_of\""),
            (one(r#""equals":{}"#), ".claims[0].equals: is an object"),
            (one(r#""equals":9007199254740993"#), ".claims[0].equals: is larger than 2^53 - 1"),
            (one(r#""equals":9007199254740992"#), ".claims[0].equals: is larger than 2^53 - 1"),
            (one(r#""equals":9007199254740992.0"#), ".claims[0].equals: is larger than 2^53 - 1"),
            (one(r#""any_of":[-9007199254740992]"#), ".claims[0].any_of[0]: is larger than 2^53 - 1"),
            (one(r#""gte":1e16"#), ".claims[0].gte: is larger than 2^53 - 1"),
            (one(r#""none_of":[1,-1E16]"#), ".claims[0].none_of[1]: is larger than 2^53 - 1"),
            (one(r#""any_of":"a""#), ".claims[0].any_of: expected a list"),
            (one(r#""any_of":[]"#), ".claims[0].any_of: must name at least one value"),
            (one(r#""none_of":[["a"]]"#), ".claims[0].none_of[0]: is a list"),
            (one(r#""present":"yes""#), ".claims[0].present: expected true or false"),
            (one(r#""matches":"(""#), ".claims[0].matches: is not a regular expression"),
            (one(r#""gte":"1""#), ".claims[0].gte: expected a number, not a string"),
            (one(r#""gte":2,"lte":1"#), ".claims[0]: has a \"gte\" above its \"lte\""),
            (
                one(r#""equals_path":"tenent""#),
                ".claims[0].equals_path: the rule's path template has no variable \"tenent\"; use one of tenant, rest",
            ),
            (one(r#""equals_header":"a b""#), ".claims[0].equals_header: is not a header name"),
            (one(r#""equals_host":false"#), ".claims[0].equals_host: can only be true"),
            (one(r#""equals_host":"a""#), ".claims[0].equals_host: expected true or false"),
            (deep, ".not.not.not.not.not.not.not.not: is nested deeper than 8 levels"),
        ] {
            let errors = read("", TEMPLATE, &authorize).expect_err(&authorize);
            let expected = format!("rules[0].authorize{expected}");
            assert!(
                errors.iter().any(|error| error.starts_with(&expected)),
                "{authorize}\nsaid {errors:#?}\nnot {expected}"
            );
        }
        for (provider, expected) in [
            (r#""role_claims":[]"#, "role_claims: must name at least one claim"),
            (r#""role_claims":"roles""#, "role_claims: expected a list"),
            (r#""role_claims":[7]"#, "role_claims[0]: expected a string"),
            (r#""role_claims":[{"format":"comma"}]"#, "role_claims[0].claim: is missing"),
            (
                r#""role_claims":[{"claim":"a","format":"csv"}]"#,
                "role_claims[0].format: must be one of \"auto\", \"space\", \"comma\", \"keys\"",
            ),
            (r#""scope_hierarchy":[]"#, "scope_hierarchy: expected an object"),
            (r#""scope_hierarchy":{"a":[]}"#, "scope_hierarchy.a: must name at least one scope"),
            (r#""scope_hierarchy":{"a":"b"}"#, "scope_hierarchy.a: expected a list"),
            (r#""scope_hierarchy":{"a b":["c"]}"#, "scope_hierarchy[\"a b\"]: is not one scope"),
            (r#""scope_hierarchy":{"a":["b c"]}"#, "scope_hierarchy.a[0]: is not one scope"),
            (r#""scope_hierarchy":{"*":["a"]}"#, "scope_hierarchy[\"*\"]: has a \"*\""),
            (r#""scope_hierarchy":{"a*":["a"]}"#, "scope_hierarchy[\"a*\"]: has a \"*\""),
            (r#""scope_hierarchy":{"a:*:b":["a"]}"#, "scope_hierarchy[\"a:*:b\"]: has a \"*\""),
            (r#""scope_hierarchy":{"a":["a:*"]}"#, "scope_hierarchy.a[0]: has a \"*\", which can only"),
        ] {
            let rule = r#"{"roles":{"any_of":["a"]}}"#;
            let errors = read(&format!(",{provider}"), TEMPLATE, rule).expect_err(provider);
            let expected = format!("providers.p.{expected}");
            assert!(
                errors.iter().any(|error| error.starts_with(&expected)),
                "{provider}\nsaid {errors:#?}\nnot {expected}"
            );
        }
        let writes = r#","claim_to_headers":[{"header_name":"X-Tenant","claim_name":"t"}]"#;
        let header = r#"{"not":{"claims":[{"claim":"a","equals_header":"x-tenant"}]}}"#;
        assert_eq!(
            read(writes, TEMPLATE, header).unwrap_err(),
            [
                "rules[0].authorize: compares a claim with the header \"x-tenant\", which a provider writes; choose another"
            ]
        );
        let path = r#"{"claims":[{"claim":"a","equals_path":"tenant"}]}"#;
        let errors = read("", r#"{"prefix":"/"}"#, path).unwrap_err();
        assert_eq!(
            errors,
            [
                "rules[0].authorize.claims[0].equals_path: the rule's match has no variable; write {tenant} in a \"path_template\""
            ]
        );
    }
}

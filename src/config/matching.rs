//! `rules[].match`: which requests a rule is for. Envoy's `RouteMatch`, and more.

use super::fields::{Fields, Item};
use super::text::{expression, regex, text_match};
use super::{metadata, protobuf};
use crate::request::{Authority, canonical};
use crate::rules::{
    AmbiguousPaths, HeaderMatch, HostMatch, HostName, HostPort, Match, PathMatch, PathRegex, QueryMatch,
    QueryValue, Template, UriTemplate, ValueMatch,
};
use crate::text::{TextMatch, literal_prefix};

/// The most regular expressions that all rules together have. Each may take a mebibyte.
pub(super) const MAX_EXPRESSIONS: usize = 1000;

/// The conditions on the path, of which a rule has one.
const KINDS: &[&str] = &[
    "prefix",
    "path",
    "safe_regex",
    "path_separated_prefix",
    "path_template",
    "path_match_policy",
    "connect_matcher",
];

/// What Envoy's routes can ask for and neither host sees, with the way here.
const REFUSED: &[(&str, &str)] = &[
    ("runtime_fraction", "try a rule out with \"mode: report\", or choose by a header"),
    ("tls_context", "ask for TLS with \"require_tls\", or choose by \"hosts\" or \"headers\""),
    ("dynamic_metadata", "write it as \"metadata\", which has the same fields"),
    ("filter_state", "name a rule or a requirement in the metadata of the route, or choose by \"headers\""),
    ("cookies", "choose by \"headers\", with the name cookie and \"safe_regex\""),
];

/// Reads the conditions of a rule that makes this of ambiguous paths.
pub(super) fn read(item: &Item<'_>, ambiguous_paths: AmbiguousPaths) -> Option<Match> {
    let mut fields = item.message(protobuf::ROUTE_MATCH)?;
    let raw = ambiguous_paths == AmbiguousPaths::MatchRaw;
    let given = fields.present(KINDS);
    if given.len() != 1 {
        fields.error(if given.is_empty() {
            let kinds: Vec<_> = KINDS.iter().map(|kind| format!("{kind:?}")).collect();
            format!("needs one of {}", kinds.join(", "))
        } else {
            format!("has {}; keep one", given.join(" and "))
        });
    }
    let path = path(&mut fields, raw);
    let case_sensitive = fields.get("case_sensitive").and_then(|item| {
        let sensitive = item.bool_value()?;
        let own_business = ["safe_regex", "path_match_policy", "connect_matcher"];
        if !sensitive && own_business.iter().any(|kind| given.contains(kind)) {
            item.warning(
                "does not count here, as in Envoy; in a regular expression, write \"(?i)\" at its start",
            );
        }
        Some(sensitive)
    });
    let connect = given.contains(&"connect_matcher");
    let methods = fields.get("methods").and_then(|item| methods(&item, connect)).unwrap_or_default();
    let hosts = fields.get("hosts").and_then(|item| hosts(&item)).unwrap_or_default();
    let headers = each(&mut fields, "headers", header);
    let query_parameters = each(&mut fields, "query_parameters", query_parameter);
    let grpc = fields.get("grpc").and_then(|item| item.fields()).map(Fields::finish).is_some();
    let metadata = each(&mut fields, "metadata", metadata::read);
    fields.refuse(REFUSED);
    fields.finish();
    let case_sensitive = case_sensitive.unwrap_or(true);
    Some(Match { path: path?, case_sensitive, methods, hosts, headers, query_parameters, grpc, metadata })
}

fn path(fields: &mut Fields<'_>, raw: bool) -> Option<PathMatch> {
    let plain = |item: Item<'_>| plain(&item, raw);
    let prefix = fields.get("prefix").and_then(plain).map(PathMatch::Prefix);
    let exact = fields.get("path").and_then(plain).map(PathMatch::Exact);
    let separated = fields.get("path_separated_prefix").and_then(|item| {
        let text = plain(item.clone())?;
        if text.ends_with('/') {
            item.error("must not end with \"/\", which is implied; write /orders, and for every path \"prefix\": \"/\"");
        }
        Some(PathMatch::Separated(text))
    });
    let template = fields.get("path_template").and_then(|item| {
        let text = item.text()?;
        let template = if raw { Template::parse_raw(text) } else { Template::parse(text) };
        template.map_err(|error| item.error(error.to_string())).ok().map(PathMatch::Template)
    });
    let regex = fields.get("safe_regex").and_then(|item| {
        let (item, text) = expression(&item)?;
        if text.ends_with("/*") {
            item.warning("ends with \"/*\", which in a regular expression is any number of \"/\" and nothing else; write \"/.*\", or \"path_template\": \"/orders/**\"");
        }
        let expression = TextMatch::regex(text).map_err(|error| item.error(error)).ok()?;
        Some(PathMatch::Regex(PathRegex { expression, prefix: literal_prefix(text) }))
    });
    let policy = fields.get("path_match_policy").and_then(|item| uri_template(&item, raw));
    let connect = fields.get("connect_matcher").and_then(|item| {
        item.fields()?.finish();
        Some(PathMatch::Connect)
    });
    prefix.or(exact).or(separated).or(template).or(regex).or(policy).or(connect)
}

/// A path or the start of one, in the form in which request paths are compared.
fn plain(item: &Item<'_>, raw: bool) -> Option<String> {
    let text = item.string()?;
    if text.is_empty() {
        item.error("must not be empty; write the path, and for every path the prefix \"/\"");
        return None;
    }
    if text.contains('?') || (!raw && text.contains(';')) {
        item.error("must be a path alone; leave out queries and \";parameters\" (\"query_parameters\" matches a parameter)");
        return None;
    }
    warn_of_patterns(item, text);
    if raw {
        return Some(text.to_owned());
    }
    match canonical(text) {
        Ok(path) => Some(path.into_owned()),
        Err(ambiguous) => {
            item.error(format!(
                "no request path can match: {ambiguous}; write a path as requests have it, such as /orders"
            ));
            None
        }
    }
}

/// Warns of a path that is compared literally and looks like a pattern.
fn warn_of_patterns(item: &Item<'_>, text: &str) {
    if let Some(sign) = text.chars().find(|c| matches!(c, '*' | '{' | '}' | '[' | '^' | '|')) {
        item.warning(format!(
            "has a \"{sign}\", which is compared literally here; write \"path_template\", where * and {{name}} stand for one segment and ** for the rest, \"prefix\" without a sign for whatever follows it, or \"safe_regex\" for a regular expression"
        ));
    }
}

/// Envoy's extension for path templates.
fn uri_template(item: &Item<'_>, raw: bool) -> Option<PathMatch> {
    const TYPE: &str =
        "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";
    let mut fields = item.fields()?;
    let name = fields.get("name");
    name.and_then(|item| item.text());
    let config = fields.required("typed_config", "give the template, or write it as \"path_template\"");
    fields.finish();
    let mut fields = config?.fields()?;
    let kind = fields.required("@type", "name the type of the policy");
    let template = fields.required("path_template", "give the template");
    if let Some(kind) = kind
        && kind.text()? != TYPE
    {
        kind.error(format!("is not a supported policy; use {TYPE:?}"));
        return None;
    }
    fields.finish();
    let item = template?;
    let template = UriTemplate::parse(item.text()?, raw);
    template.map_err(|error| item.error(error)).ok().map(PathMatch::UriTemplate)
}

fn methods(item: &Item<'_>, connect: bool) -> Option<Vec<String>> {
    let items = item.list()?;
    if items.is_empty() {
        item.error("must name at least one method; leave the field out for every method");
    }
    for method in &items {
        let Some(text) = method.text() else { continue };
        if !text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
            method.error("is not a method; write it in upper case, such as GET, and leave \"methods\" out for every method");
        }
        if (text == "CONNECT") != connect {
            method.error(if connect {
                "does not fit \"connect_matcher\", which is for CONNECT alone; leave \"methods\" out"
            } else {
                "has no path to match; use \"connect_matcher\": {} for CONNECT"
            });
        }
    }
    item.texts()
}

/// The elements of a list, where there is one.
fn each<T>(fields: &mut Fields<'_>, name: &'static str, read: fn(&Item<'_>) -> Option<T>) -> Vec<T> {
    let items = fields.get(name).and_then(|item| item.list()).unwrap_or_default();
    items.iter().filter_map(read).collect()
}

fn hosts(item: &Item<'_>) -> Option<Vec<HostMatch>> {
    let items = item.list()?;
    if items.is_empty() {
        item.error("must name at least one host; leave the field out for every host");
    }
    Some(items.iter().filter_map(host).collect())
}

/// `api.example.com`, `api.example.com:8080`, `api.example.com:*`, and each with `*.` before it.
fn host(item: &Item<'_>) -> Option<HostMatch> {
    let text = item.text()?;
    let (name, port) = match text.rsplit_once(':') {
        Some((name, "*")) => (name, HostPort::Any),
        Some((name, port)) if !port.contains(']') => (name, HostPort::This(port.to_owned())),
        _ => (text, HostPort::None),
    };
    let (under, name) = match name.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, name),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let whole = match &port {
        HostPort::This(port) => format!("{name}:{port}"),
        HostPort::None | HostPort::Any => name.to_owned(),
    };
    let Some(authority) = Authority::parse(whole.as_bytes()).filter(|_| !(under && name.starts_with('[')))
    else {
        item.error("is not a host; write it as api.example.com, api.example.com:8080, api.example.com:* for every port, *.example.com for all hosts under it, and leave \"hosts\" out for every host");
        return None;
    };
    let name = authority.host().to_owned();
    let name = if under { HostName::Under(format!(".{name}")) } else { HostName::Exact(name) };
    Some(HostMatch { name, port })
}

/// Envoy's `HeaderMatcher`.
fn header(item: &Item<'_>) -> Option<HeaderMatch> {
    let mut fields = item.fields()?;
    let name = fields.required("name", "name the header").and_then(|item| header_name(&item));
    let kinds = [
        "string_match",
        "range_match",
        "present_match",
        "exact_match",
        "prefix_match",
        "suffix_match",
        "contains_match",
        "safe_regex_match",
    ];
    let given = fields.present(&kinds);
    if given.len() > 1 {
        fields.error(format!("has {}; keep one", given.join(" and ")));
    }
    let text = |fields: &mut Fields<'_>, name, form: fn(String) -> TextMatch| {
        fields.text(name).map(|text| ValueMatch::Text(form(text.to_owned())))
    };
    let string = fields.get("string_match").and_then(|item| text_match(&item)).map(ValueMatch::Text);
    let range = fields.get("range_match").and_then(|item| range(&item));
    let present = fields.get("present_match").and_then(|item| item.bool()).map(ValueMatch::Present);
    let exact = fields.get("exact_match").and_then(|item| item.string()).map(|text| match text {
        // To Envoy this says that any value will do.
        "" => ValueMatch::Present(true),
        text => ValueMatch::Text(TextMatch::Exact(text.to_owned())),
    });
    let prefix = text(&mut fields, "prefix_match", TextMatch::Prefix);
    let suffix = text(&mut fields, "suffix_match", TextMatch::Suffix);
    let contains = text(&mut fields, "contains_match", TextMatch::Contains);
    let regex = fields.get("safe_regex_match").and_then(|item| regex(&item)).map(ValueMatch::Text);
    let invert = fields.bool("invert_match", false);
    let missing_is_empty = fields.bool("treat_missing_header_as_empty", false);
    fields.finish();
    let value = string.or(range).or(present).or(exact).or(prefix).or(suffix).or(contains).or(regex);
    let value = match value {
        Some(value) => value,
        // As in Envoy: that it is there.
        None if given.is_empty() => ValueMatch::Present(true),
        None => return None,
    };
    Some(HeaderMatch { name: name?, value, invert, missing_is_empty })
}

fn header_name(item: &Item<'_>) -> Option<String> {
    let name = item.text()?.to_ascii_lowercase();
    let token = |name: &str| {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        !name.is_empty() && name.bytes().all(known)
    };
    match name.strip_prefix(':') {
        Some("path") => item.warning(
            "is compared with its query, and every other spelling of the path is refused; use \"path\", \"prefix\" or \"path_template\"",
        ),
        Some("method" | "authority" | "scheme") => {}
        Some(_) => {
            item.error("is not a pseudo-header of requests; use :method, :authority, :path or :scheme");
            return None;
        }
        None if !token(&name) => {
            item.error("is not a header name; write letters, digits and \"-\" alone, such as x-user");
            return None;
        }
        None => {}
    }
    Some(name)
}

/// Envoy's `Int64Range`: the end does not belong to it.
fn range(item: &Item<'_>) -> Option<ValueMatch> {
    let mut fields = item.fields()?;
    let start = fields.get("start").map_or(Some(0), |item| integer(&item));
    let end = fields.get("end").map_or(Some(0), |item| integer(&item));
    fields.finish();
    let (start, end) = (start?, end?);
    if start >= end {
        item.error(
            "is an empty range; give an \"end\" above \"start\": the end itself does not belong to it",
        );
        return None;
    }
    Some(ValueMatch::Range(start, end))
}

/// A whole number of 64 bits.
fn integer(item: &Item<'_>) -> Option<i64> {
    let number = protobuf::integer(item.json);
    if number.is_none() {
        item.error("must be a whole number of 64 bits, such as 5");
    }
    number
}

/// Envoy's `QueryParameterMatcher`.
fn query_parameter(item: &Item<'_>) -> Option<QueryMatch> {
    let mut fields = item.fields()?;
    let name = fields.required("name", "name the parameter").and_then(|item| item.text());
    let given = fields.present(&["string_match", "present_match"]);
    if given.len() > 1 {
        fields.error(format!("has {}; keep one", given.join(" and ")));
    }
    let string = fields.get("string_match").and_then(|item| text_match(&item)).map(QueryValue::Text);
    let present = fields.get("present_match").and_then(|item| item.bool()).map(QueryValue::Present);
    fields.finish();
    let value = match string.or(present) {
        Some(value) => value,
        // As in Envoy: that it is there.
        None if given.is_empty() => QueryValue::Present(true),
        None => return None,
    };
    Some(QueryMatch { name: name?.to_owned(), value })
}

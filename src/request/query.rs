//! The query parameters of a request target: split at `&`, and what lenient readers would find besides.

use std::borrow::Cow;

use super::names::{after_name, decoded_once, decodes_to, name_ends};

/// The parts of a target's query, `name=value` each.
pub fn parameters(target: &[u8]) -> impl Iterator<Item = &[u8]> {
    let query =
        target.iter().position(|byte| *byte == b'?').and_then(|at| target.get(at..)?.strip_prefix(b"?"));
    query.into_iter().flat_map(|query| query.split(|byte| *byte == b'&'))
}

/// Whether a part has this name, its escapes decoded once.
pub fn is_named(parameter: &[u8], name: &str) -> bool {
    decodes_to(parameter.split(|byte| *byte == b'=').next().unwrap_or_default(), name.as_bytes())
}

/// The value of a part, as it was sent.
pub fn value(parameter: &[u8]) -> &[u8] {
    let at = parameter.iter().position(|byte| *byte == b'=').unwrap_or(parameter.len());
    parameter.get(at..).unwrap_or_default().strip_prefix(b"=").unwrap_or_default()
}

/// A value with its escapes decoded, once (RFC 3986 section 2.1). What is no escape stays.
pub fn decoded(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'%') {
        return Cow::Borrowed(value);
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((byte, after)) = decoded_once(rest) {
        bytes.push(byte);
        rest = after;
    }
    Cow::Owned(bytes)
}

/// Whether a lenient reader would find a parameter of one of these names where [`parameters`] has none: behind a `;`,
/// or under a name that it folds.
pub fn has_strays(target: &[u8], names: &[String]) -> bool {
    !names.is_empty() && parameters(target).any(|parameter| is_stray(parameter, names))
}

fn is_stray(parameter: &[u8], names: &[String]) -> bool {
    let named = names.iter().any(|name| is_named(parameter, name));
    let mut parts = parameter.split(|byte| *byte == b';').skip(usize::from(named));
    parts.any(|part| names.iter().any(|name| reads_as(part, name)))
}

fn reads_as(part: &[u8], name: &str) -> bool {
    after_name(part, name.as_bytes()).is_some_and(|rest| name_ends(rest, true))
}

/// A request target without the query parameters that `is_ours` picks; the others stay as they are, to the byte. None
/// where it picks none.
pub fn without(target: &[u8], is_ours: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    if !parameters(target).any(&is_ours) {
        return None;
    }
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let mut left = path.to_vec();
    for parameter in parameters(target).filter(|parameter| !is_ours(parameter)) {
        left.push(if left.len() == path.len() { b'?' } else { b'&' });
        left.extend(parameter);
    }
    Some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strays(target: &str) -> bool {
        has_strays(target.as_bytes(), &["access_token", "jwt"].map(str::to_owned))
    }

    #[test]
    fn what_only_a_lenient_reader_finds_is_found() {
        for query in [
            "a=1;access_token=F",
            ";access_token=F",
            "a=1;access_token",
            "access_token=G;access_token=F",
            "access_token=G;jwt=F",
            "access_token;x=1",
            "a=1&b=2;access%5Ftoken=F",
            "access.token=F",
            "access+token=F",
            "access%20token=F",
            "access%2Etoken=F",
            "access[token=F",
            "access%5Btoken=F",
            "access_token[]=F",
            "access_token[0]=F",
            "access_token%5B%5D=F",
            "access_token%00=F",
            "access_token%00x=F",
            "%00access_token=F",
            "+access_token=F",
            "%20access_token=F",
            "access_token+=F",
            "access_token%20=F",
            "%2561ccess_token=F",
            "access%255Ftoken=F",
            "access_token=G&access.token=F",
            "jwt[a][b]=F",
        ] {
            assert!(strays(&format!("/a?{query}")), "{query:?}");
        }
    }

    #[test]
    fn everyday_queries_have_one_reading() {
        for query in [
            "",
            "access_token=abc.def.ghi",
            "a=1&access_token=abc.def.ghi&b=%2F",
            "access%5Ftoken=abc",
            "access_token=a&access_token=b",
            "access_token",
            "q=hello+world&page=2",
            "q=a;b;c&sort=asc",
            "filter[name]=x&filter[token]=y",
            "ids[]=1&ids[]=2",
            "redirect=https%3A%2F%2Fapp.example%2F%3Faccess_token%3Dx",
            "redirect=https://app.example/cb?access_token=x",
            "token=abc&access_tokens=1&my_access_token=2&Access_Token=3",
            "json={\"access_token\":\"x\"}",
            "json=%7B%22access_token%22%3A%22x%22%7D",
            "utm_source=a&utm_medium=b&gclid=Cj0KCQjw",
            "date=2025-06-03T12:00:00%2B02:00",
            "x=%zz&y=%",
            "bbox=1.5,2.5,3.5,4.5",
            "a=b=c&d==e",
            "&&a=1&&",
            "lang=de-DE;q=0.9",
            "callback=jQuery123&_=1717430400",
            "jwt-id=1&jwt.id=2&ajwt=3",
        ] {
            assert!(!strays(&format!("/a?{query}")), "{query:?}");
        }
        assert!(!strays("/access_token=x;access_token=y"), "a path");
    }

    #[test]
    fn neighbours_stay_to_the_byte() {
        let names = ["token", "t2"];
        let is_ours = |parameter: &[u8]| names.iter().any(|name| is_named(parameter, name));
        for (target, expected) in [
            ("/a", None),
            ("/a?b=c", None),
            ("/a?token=t", Some("/a")),
            ("/a?b=c&token=t&d=%2F", Some("/a?b=c&d=%2F")),
            ("/a?tok%65n=t&b", Some("/a?b")),
            ("/a?b&token&t2=?x&c", Some("/a?b&c")),
            ("/a?&token=t", Some("/a?")),
            ("/a?b=+%20&&token=t&c==;d", Some("/a?b=+%20&&c==;d")),
        ] {
            let left = without(target.as_bytes(), is_ours);
            assert_eq!(left.map(|left| String::from_utf8(left).unwrap()).as_deref(), expected, "{target}");
        }
    }
}

//! The cookies of a request: as RFC 6265 has them, and what lenient readers would find besides.

use super::Request;
use super::names::{after_name, could_be_blank, name_ends};

/// The pairs of all cookie fields, in order. HTTP/1 may bring several fields, HTTP/2 one.
pub fn pairs<'a>(request: &Request<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    request.all("cookie").flat_map(segments).map(pair)
}

fn segments(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field.split(|byte| *byte == b';')
}

/// Name and value of what stands between two semicolons. A value may stand in quotes (RFC 6265 section 4.1.1).
fn pair(segment: &[u8]) -> (&[u8], &[u8]) {
    let segment = segment.trim_ascii();
    let at = segment.iter().position(|byte| *byte == b'=').unwrap_or(segment.len());
    let (name, value) = segment.split_at_checked(at).unwrap_or((segment, b""));
    let value = value.strip_prefix(b"=").unwrap_or(value).trim_ascii_start();
    let inner = value.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\""));
    (name.trim_ascii_end(), inner.unwrap_or(value))
}

/// Whether a lenient reader would find a cookie of one of these names where [`pairs`] has none: in a text that it
/// splits at commas and blanks too, within quotes, or under a name that it folds.
pub fn has_strays(request: &Request<'_>, names: &[String]) -> bool {
    !names.is_empty() && request.all("cookie").flat_map(segments).any(|segment| is_stray(segment, names))
}

fn is_stray(segment: &[u8], names: &[String]) -> bool {
    let (own, _) = pair(segment);
    let mut counts = !names.iter().any(|name| name.as_bytes() == own);
    let mut apart = true;
    let mut rest = segment;
    while let Some((byte, after)) = rest.split_first() {
        let between = could_be_blank(*byte) || matches!(byte, b',' | b'"');
        if apart && !between {
            // The first is the name that the pair itself has.
            if counts && names.iter().any(|name| reads_as(rest, name)) {
                return true;
            }
            counts = true;
        }
        apart = between;
        rest = after;
    }
    false
}

fn reads_as(text: &[u8], name: &str) -> bool {
    after_name(text, name.as_bytes()).is_some_and(|rest| name_ends(rest, false))
}

/// The cookie fields of a request without the cookies that `is_ours` picks by name and value. The others stay as they
/// are, to the byte, each in its field; a field of which nothing is left goes. None where nothing is picked.
pub fn without(request: &Request<'_>, is_ours: impl Fn(&[u8], &[u8]) -> bool) -> Option<Vec<Vec<u8>>> {
    let picked = |segment: &[u8]| {
        let (name, value) = pair(segment);
        is_ours(name, value)
    };
    if !request.all("cookie").flat_map(segments).any(picked) {
        return None;
    }
    let left = request.all("cookie").filter_map(|field| {
        let kept: Vec<&[u8]> = segments(field).filter(|segment| !picked(segment)).collect();
        let kept = kept.join(&b';');
        // What is left at the end of a field belongs to none of the cookies.
        let kept = if kept.len() == field.len() { field } else { kept.trim_ascii() };
        (!kept.is_empty()).then(|| kept.to_vec())
    });
    Some(left.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Field;

    fn with<T>(fields: &[&str], ask: impl FnOnce(&Request<'_>) -> T) -> T {
        let fields: Vec<Field<'_>> = fields.iter().map(|field| (&b"cookie"[..], field.as_bytes())).collect();
        ask(&Request::new(&fields))
    }

    fn strays(fields: &[&str]) -> bool {
        let names = ["session", "app_token", "__Host-id", "connect.sid"].map(str::to_owned);
        with(fields, |request| has_strays(request, &names))
    }

    #[test]
    fn what_only_a_lenient_reader_finds_is_found() {
        for field in [
            "x=y session=F",
            "x=y, session=F",
            "x=y,session=F",
            "session=G; x=y session=F",
            "session=G session=F",
            "session=G,session=F",
            "x=y\tsession=F",
            "x=y \t session = F",
            "theme=\"a session=F\"",
            "theme=\"session=F\"",
            "theme=\"session=F; b\"",
            "theme=\"a, session=F\"",
            "\"session\"=F",
            "x=y;\u{a0}session=F",
            "x=y\u{2003}session=F",
            "x=y\u{3000}session=F",
            "%73ession=F",
            "%2573ession=F",
            "+session=F",
            "%20session=F",
            "session[]=F",
            "session[0]=F",
            "session%5B0%5D=F",
            "session%00=F",
            "session%00x=F",
            "app.token=F",
            "app token=F",
            "app+token=F",
            "app[token=F",
            "app%2Etoken=F",
            "app_token=G; app.token=F",
            "__%48ost-id=F",
            "_.Host-id=F",
            ".[Host-id=F",
            "connect_sid=F",
            "connect.sid=G; connect_sid=F",
        ] {
            assert!(strays(&[field]), "{field:?}");
        }
        assert!(strays(&["session=G", "x=y session=F"]), "in another field");
    }

    #[test]
    fn everyday_cookies_have_one_reading() {
        for field in [
            "session=abc.def.ghi",
            "a=b; session=abc.def.ghi; c=d",
            "session=\"abc.def.ghi\"",
            "session=abc; session=def",
            "session = abc",
            "session",
            "session=",
            "",
            ";",
            "_ga=GA1.2.1234567890.1717430400; _gid=GA1.2.987654321.1717430400",
            "_ga_ABC123=GS1.1.1717430400.3.1.1717431000.60.0.0",
            "_fbp=fb.1.1717430400000.1234567890",
            "prefs={\"theme\":\"dark\",\"session\":\"short\",\"n\":1}",
            "prefs=%7B%22theme%22%3A%22dark%22%2C%22session%22%3A%22x%22%7D",
            "last_visit=Tue, 03 Jun 2025 12:00:00 GMT; lang=en",
            "expires=Thu, 01 Jan 1970 00:00:00 GMT; path=/",
            "OptanonConsent=isGpcEnabled=0&datestamp=Tue+Jun+03+2025+12%3A00%3A00+GMT&version=6.1&groups=C0001%3A1%2CC0002%3A1",
            "cart=aGVsbG8gd29ybGQ=; sig=Zm9vYmFyYmF6cXV4==",
            "remember_user_token=W1sxXSwiJDJhJDEwJGFiYyJd--0123456789abcdef",
            "JSESSIONID=0000A1B2C3:-1; SESSION=Y2Fm; PHPSESSID=abcdef0123456789",
            "Session=abc; xsession=def; sessions=ghi; session_id=jkl",
            "session.sig=abc; session-legacy=def",
            "csrftoken=abc; sessionid=def",
            "connect.sid=s%3Aabc.def%2Fghi",
            "ref=/login?session=abc&next=/",
            "utm=source=news&session=abc",
            "name=Jos\u{e9}; city=M\u{fc}nchen",
            "note=my session was long; greeting=hello, session",
            "quoted=\"a b, c\"; other=\"d\"",
            "list=a,b,c; pipe=a|b|c",
            "cf_clearance=abc-1717430400-1.0.1.1-xyz; __cf_bm=abc",
            "AWSALB=abc+def/ghi=; AWSALBCORS=abc+def/ghi=",
            "intercom-session-abc=; mp_123_mixpanel={\"distinct_id\": \"a\"}",
            "__Host-id=abc; __Secure-id=def; __Host-other=ghi",
            "$Version=1; session=abc; $Path=/",
            "tz=Europe/Berlin; screen=1920x1080; dnt",
        ] {
            assert!(!strays(&[field]), "{field:?}");
        }
    }

    #[test]
    fn neighbours_stay_to_the_byte() {
        let names = ["session", "s2"];
        let is_ours = |name: &[u8], _: &[u8]| names.iter().any(|own| own.as_bytes() == name);
        for (fields, expected) in [
            (&["a=b"][..], None),
            (&[], None),
            (&["session=t"], Some(&[][..])),
            (&["session=t;"], Some(&[])),
            (&["a=b; session=t; c=\"d\""], Some(&["a=b; c=\"d\""])),
            (&["a=b;session=t;c=d"], Some(&["a=b;c=d"])),
            (&["a=b;  session=t;   c =  d "], Some(&["a=b;   c =  d"])),
            (&["a=b;;session=t;c=d;"], Some(&["a=b;;c=d;"])),
            (&["session=t; a=b"], Some(&["a=b"])),
            (&["a = b ;c", "session=t;c=d", "s2", " e "], Some(&["a = b ;c", "c=d", " e "])),
        ] {
            let left = with(fields, |request| without(request, is_ours));
            let texts =
                |fields: Vec<Vec<u8>>| fields.into_iter().map(|f| String::from_utf8(f).unwrap()).collect();
            let left: Option<Vec<String>> = left.map(texts);
            let expected: Option<Vec<String>> = expected.map(|e| e.iter().map(|e| (*e).to_owned()).collect());
            assert_eq!(left, expected, "{fields:?}");
        }
    }
}

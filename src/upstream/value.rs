//! How a claim becomes the values of a header, or why it becomes none.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::json::{Json, Number, Piece, quoted};

/// How a claim that is a list or an object becomes a header value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListFormat {
    /// Its JSON in base64, as `jwt_authn` writes it
    Base64Json,
    /// The elements of a list separated by commas
    Csv,
    /// Its JSON
    Json,
    /// One header for each element of a list
    Repeat,
}

/// How the text of a claim stands in a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// In UTF-8, as `jwt_authn` writes it.
    Utf8,
    /// In UTF-8, of which all but the unreserved characters of RFC 3986 section 2.3 is escaped.
    Percent,
    /// In UTF-8, in base64 with padding (RFC 4648 section 4).
    Base64,
}

/// The longest header value that is written from a claim, in bytes.
pub const MAX_VALUE: usize = 8192;

/// How many header fields a list becomes at most. Many servers take a hundred in a request, or a few
/// more.
pub const MAX_FIELDS: usize = 64;

/// Why a claim is in no header, and what would write it.
pub type Why = &'static str;

const CONTROL: Why = "it has a control character; \"encoding\": \"percent\" or \"base64\" writes it";
const ENDS: Why = "it begins or ends with white space, which servers cut off; \"encoding\": \"percent\" or \"base64\" keeps it";
const COMMA: Why = "it has a comma, at which servers part a list; \"list_format\": \"json\" keeps it";
const EMPTY: Why = "an element is empty; \"list_format\": \"json\" writes it";
const NESTED: Why =
    "it is or holds an object, a list in a list, or null; \"list_format\": \"json\" writes it";
const LONG: Why = "it is longer than 8192 bytes";
const MANY: Why = "it has more than 64 elements; \"list_format\": \"csv\" or \"json\" writes one field";

/// Why an empty text is in no header of a host that writes no empty ones.
pub(super) const EMPTY_FIELD: Why =
    "it is empty, and this host writes no empty header; \"list_format\": \"json\" writes it";

/// The values for a claim: none for `null`, and under `csv` and `repeat` for an empty list, since an empty header would
/// read as a list of one empty text. `written` is the claim as it stands in the token, for numbers that a double could
/// change.
pub(super) fn values(
    claim: &Json,
    written: Option<Piece<'_>>,
    (format, encoding): (ListFormat, Encoding),
) -> Result<Vec<String>, Why> {
    let values = match (format, claim) {
        (_, Json::Null) => Vec::new(),
        // A text as well: one that looks like a list would read as that list.
        (ListFormat::Json, _) => vec![encoded(&ascii(&json(claim, written)), encoding)?],
        (ListFormat::Csv, Json::Array(items)) if items.is_empty() => Vec::new(),
        (ListFormat::Csv, Json::Array(items)) => vec![elements(items, written, encoding)?.join(",")],
        (ListFormat::Repeat, Json::Array(items)) => elements(items, written, encoding)?,
        (ListFormat::Csv | ListFormat::Repeat, _) => {
            let text = scalar(claim, written).ok_or(NESTED)?;
            // Many servers join repeated fields with commas, and readers of a list split there.
            if text.contains(',') {
                return Err(COMMA);
            }
            vec![encoded(&text, encoding)?]
        }
        (ListFormat::Base64Json, Json::Array(_) | Json::Object(_)) => {
            vec![BASE64_STANDARD.encode(json(claim, written))]
        }
        (ListFormat::Base64Json, _) => vec![encoded(&scalar(claim, written).ok_or(NESTED)?, encoding)?],
    };
    // All of a list or nothing: a part of it could say something else.
    if values.len() > MAX_FIELDS {
        return Err(MANY);
    }
    let length: usize = values.iter().map(String::len).sum();
    if length > MAX_VALUE { Err(LONG) } else { Ok(values) }
}

/// Whether there is a number in it that a double could change.
pub(super) fn has_fraction(claim: &Json) -> bool {
    match claim {
        Json::Number(Number::Float(_)) => true,
        Json::Array(items) => items.iter().any(has_fraction),
        Json::Object(object) => object.iter().any(|(_, value)| has_fraction(value)),
        _ => false,
    }
}

/// The elements of a list, of which each can be told from its neighbours between commas, with or without blanks around
/// them.
fn elements(items: &[Json], written: Option<Piece<'_>>, encoding: Encoding) -> Result<Vec<String>, Why> {
    let mut written = written.and_then(Piece::elements);
    let element = |item: &Json| {
        let text = scalar(item, written.as_mut().and_then(Iterator::next)).ok_or(NESTED)?;
        match &*text {
            "" => Err(EMPTY),
            text if text.contains(',') => Err(COMMA),
            text => encoded(text, encoding),
        }
    };
    items.iter().map(element).collect()
}

/// A text in the form that was asked for. In UTF-8 it must be able to stand in a field without becoming something else
/// (RFC 9110 section 5.5): no control characters, and no white space at its ends.
fn encoded(text: &str, encoding: Encoding) -> Result<String, Why> {
    match encoding {
        Encoding::Utf8 if text.contains(char::is_control) => Err(CONTROL),
        Encoding::Utf8 if text.trim() != text => Err(ENDS),
        Encoding::Utf8 => Ok(text.to_owned()),
        Encoding::Percent => Ok(percent(text)),
        Encoding::Base64 => Ok(BASE64_STANDARD.encode(text)),
    }
}

fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn scalar<'c>(claim: &'c Json, written: Option<Piece<'c>>) -> Option<Cow<'c, str>> {
    match claim {
        Json::String(text) => Some(Cow::Borrowed(text)),
        Json::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
        Json::Number(_) => Some(match written {
            Some(written) => number(written.raw()),
            None => Cow::Owned(claim.to_string()),
        }),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

/// A number as it stands in the token; a whole one below 2^53 in size in plain digits, whatever form it has there: an
/// integer reader takes no `1e3` and no `1.0`.
fn number(raw: &str) -> Cow<'_, str> {
    plain(raw).map_or(Cow::Borrowed(raw), Cow::Owned)
}

/// The digits of a number of JSON that is whole and below 2^53 in size.
fn plain(raw: &str) -> Option<String> {
    let (sign, size) = raw.strip_prefix('-').map_or(("", raw), |size| ("-", size));
    let (mantissa, exponent) = size.split_once(['e', 'E']).unwrap_or((size, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    let significant = all.trim_end_matches('0');
    if significant.is_empty() {
        // Minus zero is no integer.
        return sign.is_empty().then(|| "0".to_owned());
    }
    // The number is the significant digits and so many zeros.
    let behind_point = i64::try_from(fraction.len()).ok()?;
    let cut = i64::try_from(all.len().checked_sub(significant.len())?).ok()?;
    let zeros = exponent.parse::<i64>().ok()?.checked_add(cut)?.checked_sub(behind_point)?;
    let digits = significant.trim_start_matches('0');
    let zeros = usize::try_from(zeros).ok().filter(|zeros| *zeros < 16 && digits.len() < 17)?;
    let digits = [digits, &"0".repeat(zeros)].concat();
    let is_exact = digits.parse::<u64>().is_ok_and(|value| value < 1 << 53);
    is_exact.then(|| [sign, &digits].concat())
}

/// The claim as compact JSON.
fn json(claim: &Json, written: Option<Piece<'_>>) -> String {
    written.map_or_else(|| claim.to_string(), |written| compact(written.raw()))
}

/// JSON that was read before, without white space, its strings as [`quoted`] has them, and its numbers as [`number`] has
/// them.
fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '-' | '0'..='9' => rest
                .find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'))
                .unwrap_or(rest.len()),
            other => other.len_utf8(),
        };
        let Some((piece, behind)) = rest.split_at_checked(length) else { break };
        match first {
            '"' => out.push_str(&quoted(&Piece::again(piece).text().unwrap_or_default())),
            '-' | '0'..='9' => out.push_str(&number(piece)),
            ' ' | '\t' | '\n' | '\r' => {}
            _ => out.push_str(piece),
        }
        rest = behind;
    }
    out
}

/// How long the string is that a text begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |inner| inner.saturating_add(2))
}

/// JSON with escapes for all that is beyond printable ASCII. Outside its texts it has none of that.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c == ' ' || c.is_ascii_graphic() {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    /// The values of a claim that stands in a token as this text.
    fn written(claim: &str, format: ListFormat, encoding: Encoding) -> Result<Vec<String>, Why> {
        let value = json::parse(claim.as_bytes()).unwrap();
        let piece = has_fraction(&value).then(|| Piece::again(claim.trim()));
        values(&value, piece, (format, encoding))
    }

    #[test]
    fn a_claim_becomes_a_header_in_the_form_that_was_asked_for() {
        use ListFormat::*;
        for (claim, format, expected) in [
            ("\"a b\"", Csv, &["a b"][..]),
            ("\"\"", Base64Json, &[""]),
            ("7", Json, &["7"]),
            ("\"a\"", Json, &["\"a\""]),
            ("\"[1]\"", Json, &["\"[1]\""]),
            (
                "[\" a\",\"b\\nc\",\"\u{e9}\u{1f600}\\u007f\"]",
                Json,
                &["[\" a\",\"b\\nc\",\"\\u00e9\\ud83d\\ude00\\u007f\"]"],
            ),
            ("\"a,b\"", Base64Json, &["a,b"]),
            ("\"J\u{fc}rgen\"", Base64Json, &["J\u{fc}rgen"]),
            ("\"\u{5c71}\u{7530}\u{592a}\u{90ce}\"", Csv, &["\u{5c71}\u{7530}\u{592a}\u{90ce}"]),
            ("[\"J\u{fc}rgen\",\"\u{1f512} a\"]", Csv, &["J\u{fc}rgen,\u{1f512} a"]),
            ("[\"J\u{fc}rgen\",\"Zo\\u00eb\"]", Repeat, &["J\u{fc}rgen", "Zo\u{eb}"]),
            ("\"a\u{2028}b\u{feff}\"", Base64Json, &["a\u{2028}b\u{feff}"]),
            ("true", Base64Json, &["true"]),
            ("null", Json, &[]),
            ("[\"a\",1,true]", Csv, &["a,1,true"]),
            ("[]", Csv, &[]),
            ("[]", Repeat, &[]),
            ("[]", Json, &["[]"]),
            ("[\"a b\",\"c\"]", Csv, &["a b,c"]),
            ("[\"a\",1]", Repeat, &["a", "1"]),
            ("[\"a\",{\"b\":1}]", Json, &["[\"a\",{\"b\":1}]"]),
            ("[\"a\"]", Base64Json, &["WyJhIl0="]),
            ("{\"a\":1}", Json, &["{\"a\":1}"]),
            ("{\"a\":1}", Base64Json, &["eyJhIjoxfQ=="]),
        ] {
            assert_eq!(written(claim, format, Encoding::Utf8).unwrap(), expected, "{claim} {format:?}");
        }
        for (claim, format, expected) in [
            ("[\"a,b\"]", Csv, COMMA),
            ("[\"a,b\"]", Repeat, COMMA),
            ("[\"a\",\"b,c\"]", Repeat, COMMA),
            ("\"a,b\"", Csv, COMMA),
            ("\"a,b\"", Repeat, COMMA),
            ("[[\"a\"]]", Csv, NESTED),
            ("[\"a\",{}]", Repeat, NESTED),
            ("[\"a\",null]", Csv, NESTED),
            ("{\"a\":1}", Csv, NESTED),
            ("{\"a\":1}", Repeat, NESTED),
            ("[\"a\",\" admin\"]", Csv, ENDS),
            ("[\"a\",\"admin\u{3000}\"]", Csv, ENDS),
            ("[\" admin\"]", Repeat, ENDS),
            ("[\"a\",\"\\tb\"]", Csv, CONTROL),
            ("[\"a\",\"\u{a0}b\"]", Csv, ENDS),
            ("\"\u{2003}a\"", Base64Json, ENDS),
            ("\"a\u{2028}\"", Base64Json, ENDS),
            ("\"a \"", Base64Json, ENDS),
            ("\"a\\r\\nb: c\"", Base64Json, CONTROL),
            ("\"a\\u0000\"", Base64Json, CONTROL),
            ("\"a\u{7f}b\"", Base64Json, CONTROL),
            ("\"a\u{85}b\"", Base64Json, CONTROL),
            ("[\"\"]", Csv, EMPTY),
            ("[\"a\",\"\"]", Csv, EMPTY),
            ("[\"\",\"a\"]", Repeat, EMPTY),
        ] {
            assert_eq!(written(claim, format, Encoding::Utf8), Err(expected), "{claim} {format:?}");
        }
    }

    #[test]
    fn each_encoding_writes_what_can_be_read_again() {
        use Encoding::{Base64, Percent};
        use ListFormat::*;
        for (claim, format, encoding, expected) in [
            ("\"J\u{fc}rgen M\"", Base64Json, Percent, &["J%C3%BCrgen%20M"][..]),
            ("\"J\u{fc}rgen M\"", Base64Json, Base64, &["SsO8cmdlbiBN"]),
            ("\"aZ09-._~\"", Csv, Percent, &["aZ09-._~"]),
            ("\"a+b/c%41\\\\\"", Csv, Percent, &["a%2Bb%2Fc%2541%5C"]),
            ("[\"\u{fc}\",\"b c\",7]", Csv, Percent, &["%C3%BC,b%20c,7"]),
            ("[\"\u{fc}\",\"b c\",7]", Csv, Base64, &["w7w=,YiBj,Nw=="]),
            ("[\"\u{fc}\",\"b\"]", Repeat, Percent, &["%C3%BC", "b"]),
            ("[\"\u{fc}\",\"b\"]", Repeat, Base64, &["w7w=", "Yg=="]),
            // Harmless there.
            ("\" a\\r\\n\\u0000\"", Base64Json, Percent, &["%20a%0D%0A%00"]),
            ("[\" a\",\"\\tb\u{a0}\"]", Csv, Percent, &["%20a,%09b%C2%A0"]),
            ("\"\\n\"", Repeat, Base64, &["Cg=="]),
            // What is base64 already.
            ("[\"a\"]", Base64Json, Percent, &["WyJhIl0="]),
            ("[\"a\"]", Base64Json, Base64, &["WyJhIl0="]),
            ("{\"a\":1}", Base64Json, Base64, &["eyJhIjoxfQ=="]),
            ("[\"a\"]", Json, Percent, &["%5B%22a%22%5D"]),
            ("[\"a\"]", Json, Base64, &["WyJhIl0="]),
            ("[]", Csv, Percent, &[]),
            ("null", Repeat, Base64, &[]),
        ] {
            assert_eq!(
                written(claim, format, encoding).unwrap(),
                expected,
                "{claim} {format:?} {encoding:?}"
            );
        }
        for encoding in [Percent, Base64] {
            for (claim, format, expected) in [
                ("\"a,b\"", Csv, COMMA),
                ("[\"a,b\"]", Repeat, COMMA),
                ("[\"\"]", Csv, EMPTY),
                ("{\"a\":1}", Csv, NESTED),
                ("[[1]]", Repeat, NESTED),
            ] {
                assert_eq!(
                    written(claim, format, encoding),
                    Err(expected),
                    "{claim} {format:?} {encoding:?}"
                );
            }
        }
    }

    #[test]
    fn a_number_stands_as_it_does_in_the_token_and_a_whole_one_in_plain_digits() {
        for (number, expected) in [
            ("7", "7"),
            ("-7", "-7"),
            ("0", "0"),
            ("0.00", "0"),
            ("0e400", "0"),
            ("1e3", "1000"),
            ("1E+3", "1000"),
            ("-1e3", "-1000"),
            ("1.0", "1"),
            ("1.50e1", "15"),
            ("1000e-3", "1"),
            ("0.001e3", "1"),
            ("120.0e-1", "12"),
            ("9007199254740991.0", "9007199254740991"),
            ("900719925474099.1e1", "9007199254740991"),
            ("9007199254740991", "9007199254740991"),
            // Below: as it was written.
            ("-0", "-0"),
            ("-0.0e-5", "-0.0e-5"),
            ("9007199254740993", "9007199254740993"),
            ("18446744073709551615", "18446744073709551615"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("-9223372036854775809", "-9223372036854775809"),
            ("9007199254740992.0", "9007199254740992.0"),
            ("1e16", "1e16"),
            ("1e300", "1e300"),
            ("1.10", "1.10"),
            ("-1.5", "-1.5"),
            ("0.1", "0.1"),
            ("1.00000000000000000001", "1.00000000000000000001"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("15e-1", "15e-1"),
            ("1e-400", "1e-400"),
            ("1e-99999999999999999999", "1e-99999999999999999999"),
        ] {
            for format in [ListFormat::Base64Json, ListFormat::Csv, ListFormat::Json, ListFormat::Repeat] {
                let utf8 = Encoding::Utf8;
                assert_eq!(written(number, format, utf8), Ok(vec![expected.to_owned()]), "{number}");
            }
            let list = format!("[ \"a\\u00e9\\\"[1e3]\" , {number} ]");
            assert_eq!(
                written(&list, ListFormat::Csv, Encoding::Utf8),
                Ok(vec![format!("a\u{e9}\"[1e3],{expected}")])
            );
            let object = format!("{{ \"n\\\\\" :[ {number},true,null ] }}");
            let json = format!("{{\"n\\\\\":[{expected},true,null]}}");
            assert_eq!(written(&object, ListFormat::Json, Encoding::Utf8), Ok(vec![json.clone()]));
            assert_eq!(
                written(&object, ListFormat::Base64Json, Encoding::Utf8),
                Ok(vec![BASE64_STANDARD.encode(json)])
            );
        }
    }

    #[test]
    fn what_is_too_much_is_not_written() {
        let text = |length: usize| format!("\"{}\"", "a".repeat(length));
        let list = |count: usize| format!("[{}]", vec!["\"a\""; count].join(","));
        for (claim, format, encoding, expected) in [
            (text(MAX_VALUE), ListFormat::Csv, Encoding::Utf8, None),
            (text(MAX_VALUE + 1), ListFormat::Csv, Encoding::Utf8, Some(LONG)),
            (text(MAX_VALUE / 4 * 3), ListFormat::Csv, Encoding::Base64, None),
            (text(MAX_VALUE / 4 * 3 + 1), ListFormat::Csv, Encoding::Base64, Some(LONG)),
            (list(MAX_FIELDS), ListFormat::Repeat, Encoding::Utf8, None),
            (list(MAX_FIELDS + 1), ListFormat::Repeat, Encoding::Utf8, Some(MANY)),
            (list(MAX_FIELDS + 1), ListFormat::Csv, Encoding::Utf8, None),
        ] {
            assert_eq!(written(&claim, format, encoding).err(), expected, "{format:?} {encoding:?}");
        }
        assert!(LONG.contains(&MAX_VALUE.to_string()) && MANY.contains(&MAX_FIELDS.to_string()));
    }
}

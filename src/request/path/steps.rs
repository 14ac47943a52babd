//! What one program may do to a path before it acts on it.

use super::super::escapes::{decode, represent, unreserved_decoded};
use super::PathReading;

/// What a program may do to a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathStep {
    /// Decode the escapes of unreserved characters (RFC 3986 section 6.2.2.2)
    DecodeUnreserved,
    /// Decode escaped slashes and backslashes alone, as Envoy does under `UNESCAPE_AND_FORWARD`
    DecodeSlashes,
    /// Decode all escapes
    DecodeAll,
    /// Cut the `;parameters` of each segment
    CutParameters,
    /// Take `\` for `/`
    ReplaceBackslashes,
    /// Take `//` for `/`
    MergeSlashes,
    /// Resolve dot segments as RFC 3986 section 5.2.4 does: one at the end leaves a slash
    RemoveDotSegments,
    /// Resolve dot segments as programs do that take a path for a list of names: one at the end leaves nothing
    RemoveDotSegmentsAndSlash,
    /// Resolve dot segments, escaped dots among them, and decode nothing else, as the URL standard of browsers does
    RemoveEscapedDotSegments,
}

impl PathStep {
    /// Every step.
    pub const ALL: [Self; 9] = [
        Self::DecodeUnreserved,
        Self::DecodeSlashes,
        Self::DecodeAll,
        Self::CutParameters,
        Self::ReplaceBackslashes,
        Self::MergeSlashes,
        Self::RemoveDotSegments,
        Self::RemoveDotSegmentsAndSlash,
        Self::RemoveEscapedDotSegments,
    ];

    /// The path after this step and how often it is decoded then, where the step changes it.
    pub(super) fn apply(self, reading: &PathReading<'_>) -> Option<(String, usize)> {
        match self {
            Self::DecodeUnreserved => decode_unreserved(reading),
            Self::DecodeSlashes => decode_slashes(reading),
            Self::DecodeAll => decode_all(reading),
            Self::CutParameters => cut_parameters(reading),
            Self::ReplaceBackslashes => replace_backslashes(reading),
            Self::MergeSlashes => merge_slashes(reading),
            Self::RemoveDotSegments => remove_dot_segments(reading, true, false),
            Self::RemoveDotSegmentsAndSlash => remove_dot_segments(reading, false, false),
            Self::RemoveEscapedDotSegments => remove_dot_segments(reading, true, true),
        }
    }
}

fn decode_unreserved(reading: &PathReading<'_>) -> Option<(String, usize)> {
    if reading.decoded > 0 || !reading.text.contains('%') {
        return None;
    }
    changed(reading, unreserved_decoded(&reading.text))
}

fn decode_slashes(reading: &PathReading<'_>) -> Option<(String, usize)> {
    if reading.decoded > 0 {
        return None;
    }
    changed(reading, reading.text.replace("%2F", "/").replace("%5C", "\\"))
}

fn decode_all(reading: &PathReading<'_>) -> Option<(String, usize)> {
    if reading.is_stable() || reading.decoded >= 2 {
        return None;
    }
    let bytes = decode(reading.text.as_bytes());
    // The text of a decoded reading stands for bytes that are decoded now.
    let text = if reading.decoded == 0 { represent(&bytes) } else { represent(&decode(&bytes)) };
    Some((text, reading.decoded.saturating_add(1)))
}

fn cut_parameters(reading: &PathReading<'_>) -> Option<(String, usize)> {
    let mut inside = false;
    let kept = reading.text.chars().filter(|character| {
        inside = match character {
            ';' => true,
            '/' => false,
            _ => inside,
        };
        !inside
    });
    reading.text.contains(';').then(|| (kept.collect(), reading.decoded))
}

fn replace_backslashes(reading: &PathReading<'_>) -> Option<(String, usize)> {
    reading.text.contains('\\').then(|| (reading.text.replace('\\', "/"), reading.decoded))
}

fn merge_slashes(reading: &PathReading<'_>) -> Option<(String, usize)> {
    if !reading.text.contains("//") {
        return None;
    }
    let mut merged = String::with_capacity(reading.text.len());
    for character in reading.text.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    Some((merged, reading.decoded))
}

fn remove_dot_segments(
    reading: &PathReading<'_>,
    leaves_slash: bool,
    with_escaped: bool,
) -> Option<(String, usize)> {
    let dots = |segment: &str| match segment {
        "." => Some(1),
        ".." => Some(2),
        _ if with_escaped => escaped_dots(segment, reading.decoded),
        _ => None,
    };
    let may_have_dots = reading.text.contains("/.") || (with_escaped && reading.text.contains("/%2"));
    if !may_have_dots {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut has_dots = false;
    let mut ends_with_dots = false;
    for segment in reading.text.split('/').skip(1) {
        let dots = dots(segment);
        ends_with_dots = dots.is_some();
        has_dots |= ends_with_dots;
        match dots {
            Some(1) => {}
            Some(_) => drop(kept.pop()),
            None => kept.push(segment),
        }
    }
    if ends_with_dots && (leaves_slash || kept.is_empty()) {
        kept.push("");
    }
    let resolved = || kept.iter().flat_map(|segment| ["/", segment]).collect();
    has_dots.then(|| changed(reading, resolved())).flatten()
}

/// How many dots a segment is, bare or escaped; none where it is anything else.
fn escaped_dots(segment: &str, decoded: usize) -> Option<usize> {
    // The text of a decoded reading has the `%` of an escape escaped.
    let escape = if decoded == 0 { "%2e" } else { "%252e" };
    let mut rest = segment;
    let mut dots = 0usize;
    while !rest.is_empty() {
        let bare = rest.strip_prefix('.');
        let head = rest.split_at_checked(escape.len());
        let escaped = head.filter(|(head, _)| head.eq_ignore_ascii_case(escape)).map(|(_, tail)| tail);
        rest = bare.or(escaped)?;
        dots = dots.saturating_add(1);
    }
    (1..=2).contains(&dots).then_some(dots)
}

fn changed(reading: &PathReading<'_>, text: String) -> Option<(String, usize)> {
    (text != reading.text).then_some((text, reading.decoded))
}

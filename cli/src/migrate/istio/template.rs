//! Templates of Istio's paths: texts with `{*}` and `{**}` in them.

/// What `{*}` stands for, one letter of it.
const LETTER: &str = r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]";

/// What is left of a `{*}` whose beginning is given: any letters, or none. No policy writes it.
pub(super) const REST: &str = "{~}";

/// The texts that a template begins and ends with.
pub(super) fn ends_of(template: &str) -> (&str, &str) {
    (template.split('{').next().unwrap_or_default(), template.rsplit('}').next().unwrap_or_default())
}

/// The text in front of a `{**}` that is all else there is of a template.
pub(super) fn start_of(template: &str) -> Option<&str> {
    template.strip_suffix("{**}").filter(|start| !start.contains('{') && start.chars().all(is_plain))
}

/// Whether each operator of a template is a segment, and `{**}` the last one.
pub(super) fn is_of_segments(template: &str) -> bool {
    let mut parts = template.split('/').peekable();
    std::iter::from_fn(|| parts.next().map(|part| (part, parts.peek().is_none())))
        .all(|(part, is_last)| part == "{*}" || (part == "{**}" && is_last) || !part.contains('{'))
}

/// Whether `{**}` stands for this letter, and an expression for itself or with an escape.
pub(super) fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~/".contains(c)
}

pub(super) fn is_of_template(template: &str, path: &str) -> bool {
    let regex = regex_lite::Regex::new(&format!("^(?:{})$", template_regex(template)));
    regex.is_ok_and(|regex| regex.is_match(path))
}

/// A part of a template.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Letter(char),
    /// `{*}`
    Segment,
    /// [`REST`]
    Rest,
    /// `{**}`
    Any,
}

fn parts(template: &str) -> Vec<Part> {
    let mut rest = template;
    let mut parts = Vec::new();
    'next: while let Some(c) = rest.chars().next() {
        for (text, part) in [("{**}", Part::Any), ("{*}", Part::Segment), (REST, Part::Rest)] {
            if let Some(behind) = rest.strip_prefix(text) {
                parts.push(part);
                rest = behind;
                continue 'next;
            }
        }
        parts.push(Part::Letter(c));
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    parts
}

/// Whether all paths of a template are also another's. It may say no where they are.
pub(super) fn is_inside(template: &str, other: &str) -> bool {
    template == other || are_inside(&parts(template), &parts(other))
}

fn are_inside(own: &[Part], other: &[Part]) -> bool {
    let Some((first, behind)) = other.split_first() else { return own.is_empty() };
    match first {
        Part::Letter(_) => {
            own.split_first().is_some_and(|(part, own)| part == first && are_inside(own, behind))
        }
        Part::Any => behind.is_empty(),
        Part::Segment | Part::Rest => {
            let is_of_segment = |part: &&Part| !matches!(part, Part::Any | Part::Letter('/'));
            let length = own.iter().take_while(is_of_segment).count();
            let (segment, own) = own.split_at(length);
            let is_there = *first == Part::Rest || segment.iter().any(|part| *part != Part::Rest);
            let ends = behind.first().is_none_or(|part| *part == Part::Letter('/'));
            is_there && ends && are_inside(own, behind)
        }
    }
}

/// The paths that two templates have in common, as a template; none where there are none.
///
/// # Errors
/// Where they are no template.
pub(super) fn both_templates(one: &str, other: &str) -> Option<Result<String, ()>> {
    let starts = [one, other].map(|template| ends_of(template).0);
    if is_inside(one, other) {
        return Some(Ok(one.to_owned()));
    }
    if is_inside(other, one) {
        return Some(Ok(other.to_owned()));
    }
    if !starts[0].starts_with(starts[1]) && !starts[1].starts_with(starts[0]) {
        return None;
    }
    match (start_of(one), start_of(other)) {
        (_, Some(start)) => begun(one, start),
        (Some(start), _) => begun(other, start),
        _ => Some(Err(())),
    }
}

/// The paths of a template that begin so, as a template; none where there are none.
///
/// # Errors
/// Where they are no template.
pub(super) fn begun(template: &str, start: &str) -> Option<Result<String, ()>> {
    let mut rest = start;
    let mut left = template;
    while !rest.is_empty() {
        if let Some(behind) = left.strip_prefix("{*}").or_else(|| left.strip_prefix(REST)) {
            let length = rest.find('/').unwrap_or(rest.len());
            let (segment, more) = rest.split_at(length);
            if !segment.chars().all(is_plain) || !(behind.is_empty() || behind.starts_with('/')) {
                return Some(Err(()));
            }
            if segment.is_empty() && left.starts_with("{*}") {
                return None;
            }
            (rest, left) = (more, behind);
            if rest.is_empty() {
                return Some(Ok(format!("{start}{REST}{left}")));
            }
            continue;
        }
        if left.starts_with("{**}") {
            let is_plain = left == "{**}" && rest.chars().all(is_plain);
            return Some(is_plain.then(|| format!("{start}{left}")).ok_or(()));
        }
        let (wanted, own) = (rest.chars().next()?, left.chars().next()?);
        if wanted != own {
            return None;
        }
        rest = rest.get(wanted.len_utf8()..).unwrap_or_default();
        left = left.get(own.len_utf8()..).unwrap_or_default();
    }
    Some(Ok(format!("{start}{left}")))
}

/// An operator at the end of a template stands for what is before the end, for nothing too where the end itself is what
/// it stands for; and what is before it may be the beginning of the end.
pub(super) fn ending_regex(template: &str, end: &str) -> String {
    let (start, operator) = match template.strip_suffix("{**}") {
        Some(start) => (start, format!("(?:{LETTER}|/)*")),
        None => {
            let start = template.strip_suffix("{*}").or_else(|| template.strip_suffix(REST));
            (start.unwrap_or(template), format!("{LETTER}*"))
        }
    };
    let mut forms = vec![format!("{}{operator}{}", template_regex(start), regex_lite::escape(end))];
    for (length, _) in end.char_indices().skip(1) {
        let (shared, rest) = end.split_at(length);
        if start.ends_with(shared) {
            forms.push(format!("{}{}", template_regex(start), regex_lite::escape(rest)));
        }
    }
    if start.ends_with(end) && !template.ends_with("{*}") {
        forms.push(template_regex(start));
    }
    forms.join("|")
}

pub(super) fn template_regex(template: &str) -> String {
    regex_lite::escape(template)
        .replace(r"\{\*\*\}", &format!("(?:{LETTER}|/)*"))
        .replace(r"\{\*\}", &format!("{LETTER}+"))
        .replace(&regex_lite::escape(REST), &format!("{LETTER}*"))
}

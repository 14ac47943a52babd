//! How programs read a request's path: each reader is a row of steps, as its documentation or source has them.

/// One thing that a program does to a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// What stands behind `?` or `#` is cut off: a hop that gets the text anew does so again.
    Query,
    /// Tabs and line ends are dropped (WHATWG).
    Tabs,
    /// `;` and what follows, to the next slash, is cut off (servlets).
    Cut,
    /// Escapes of unreserved characters are decoded (RFC 3986 section 6.2.2.2).
    Unreserved,
    /// Escapes of slash and backslash are decoded (Envoy's `UNESCAPE_AND_FORWARD`).
    Slashes,
    /// All escapes are decoded, once; what is no escape stays.
    Decode,
    /// What cannot stand in a path is escaped: a proxy that writes the request anew.
    Encode,
    /// A path with an escaped NUL is none.
    RefuseNul,
    /// It ends at a NUL (programs in C).
    CutNul,
    /// `\` is `/`.
    Backslash,
    /// Several slashes are one.
    Merge,
    /// `.` and `..` are resolved (RFC 3986 section 5.2.4).
    Dots,
    /// The same, where they may be escaped (WHATWG).
    EscapedDots,
    /// What follows `//` at the start is an authority (a path that is resolved against a base).
    Authority,
    /// Python's `posixpath.normpath`: slashes merged, dots resolved, no slash at the end but one that was there
    /// before.
    NormPath,
}

/// A program, or several behind one another.
#[derive(Clone, Debug)]
pub struct PathReader {
    pub name: String,
    pub steps: Vec<Step>,
}

use Step::*;

/// The programs that serve a request, and how they read its path.
const SERVERS: &[(&str, &[Step])] = &[
    ("Envoy, as it comes", &[]),
    ("Envoy, normalize_path and merge_slashes", &[Backslash, Unreserved, Dots, Merge]),
    ("Envoy, normalize_path alone", &[Backslash, Unreserved, Dots]),
    ("Envoy, merge_slashes alone", &[Merge]),
    ("Envoy, escaped slashes unescaped", &[Slashes, Backslash, Unreserved, Dots, Merge]),
    ("RFC 3986", &[Unreserved, Dots]),
    ("nginx", &[RefuseNul, Decode, Merge, Dots]),
    ("nginx, merge_slashes off", &[RefuseNul, Decode, Dots]),
    ("a servlet container", &[Cut, Decode, Merge, Dots]),
    ("a servlet container, backslashes allowed", &[Cut, Decode, Backslash, Merge, Dots]),
    ("a servlet container, dots before slashes", &[Cut, Decode, Dots, Merge]),
    ("a servlet container that merges nothing", &[Cut, Decode, Dots]),
    ("a framework that cuts after decoding", &[Decode, Cut, Merge, Dots]),
    ("a framework that cuts before and after", &[Cut, Decode, Cut, Dots]),
    ("a router that only cuts", &[Cut]),
    ("Python's http.server", &[Decode, NormPath]),
    ("a WSGI application", &[Decode]),
    ("Node's URL", &[Tabs, Backslash, EscapedDots]),
    ("Node's URL against a base", &[Tabs, Backslash, Authority, EscapedDots]),
    ("Node's URL, then decoded", &[Tabs, Backslash, EscapedDots, Decode]),
    ("Node's URL, then decoded and normalized", &[Tabs, Backslash, EscapedDots, Decode, Merge, Dots]),
    ("a server that takes backslashes for slashes", &[Decode, Backslash, Merge, Dots]),
    ("a server in C", &[Decode, CutNul]),
    ("a server that decodes twice", &[Decode, Decode, Merge, Dots]),
    ("a servlet that decodes again", &[Cut, Decode, Decode, Dots]),
    ("a server that normalizes, then decodes again", &[Decode, Dots, Decode, Dots]),
];

/// The proxies that write the path anew for the next hop.
const PROXIES: &[(&str, &[Step])] = &[
    ("Envoy, normalize_path and merge_slashes", &[Backslash, Unreserved, Dots, Merge]),
    ("Envoy, escaped slashes unescaped", &[Slashes, Backslash, Unreserved, Dots, Merge]),
    ("RFC 3986", &[Unreserved, Dots]),
    ("nginx", &[RefuseNul, Decode, Merge, Dots, Encode]),
    ("a gateway that cuts", &[Cut]),
    ("a servlet gateway", &[Cut, Decode, Dots, Encode]),
    ("Node's URL", &[Tabs, Backslash, EscapedDots]),
    ("a proxy that decodes", &[Decode]),
];

/// The one that reads to the letter, every server alone, and every server behind every proxy.
pub fn readers() -> Vec<PathReader> {
    let alone =
        std::iter::once(literal()).chain(SERVERS.iter().map(|(name, steps)| reader(name, &[Query], steps)));
    let behind = PROXIES.iter().flat_map(|(proxy, first)| {
        SERVERS.iter().map(move |(name, steps)| {
            let first: Vec<Step> = [Query].iter().chain(*first).chain(&[Query]).copied().collect();
            reader(&format!("{name}, behind {proxy}"), &first, steps)
        })
    });
    alone.chain(behind).collect()
}

/// The reader that takes everything before the query for the path, whatever it is.
pub fn literal() -> PathReader {
    reader("to the letter", &[], &[])
}

fn reader(name: &str, first: &[Step], steps: &[Step]) -> PathReader {
    PathReader { name: name.to_owned(), steps: first.iter().chain(steps).copied().collect() }
}

/// Whether all readers take this target's path for one and the same: letters, digits, and nothing beside single
/// slashes.
pub fn is_plain(path: &str) -> bool {
    path.starts_with('/')
        && !path.contains("//")
        && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_'))
}

impl PathReader {
    /// The path that this reader takes a target for; none where it takes it for no path.
    pub fn read(&self, target: &str) -> Option<Vec<u8>> {
        // The case of an escape's digits does not count.
        let target = upper_hex(target.as_bytes());
        if self.steps.is_empty() {
            return Some(before(&target, b"?"));
        }
        let path = match &target[..] {
            path @ [b'/', ..] => path,
            absolute => of_absolute(absolute)?,
        };
        self.steps.iter().try_fold(path.to_vec(), |path, step| step.apply(path))
    }

    /// The text of a rule as this reader would have to write it to mean the same: its escapes are read as those of
    /// requests are.
    pub fn literal(&self, text: &[u8]) -> Vec<u8> {
        let of_escapes = |step: &&Step| matches!(step, Unreserved | Decode | Encode);
        let steps = self.steps.iter().filter(of_escapes);
        steps.fold(text.to_vec(), |text, step| step.apply(text.clone()).unwrap_or(text))
    }

    /// A piece of a path that this reader has read, with its escapes decoded once in all.
    pub fn decoded_once(&self, piece: &[u8]) -> Vec<u8> {
        let decodes = self.steps.iter().filter(|step| **step == Decode).count();
        let encodes = self.steps.iter().filter(|step| **step == Encode).count();
        if decodes > encodes { piece.to_vec() } else { decode(piece, |_| true) }
    }
}

/// The path of an absolute target (RFC 9112 section 3.2.2).
fn of_absolute(target: &[u8]) -> Option<&[u8]> {
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
    })?;
    let slash = rest.iter().position(|byte| *byte == b'/');
    Some(slash.map_or(b"/", |at| &rest[at..]))
}

impl Step {
    /// The path behind this step.
    pub fn apply(self, mut path: Vec<u8>) -> Option<Vec<u8>> {
        Some(match self {
            Query => before(&path, b"?#"),
            Tabs => {
                path.retain(|byte| !matches!(byte, b'\t' | b'\r' | b'\n'));
                path
            }
            Cut => cut(&path),
            Unreserved => upper_hex(&decode(&path, is_unreserved)),
            Slashes => decode(&path, |byte| matches!(byte, b'/' | b'\\')),
            Decode => decode(&path, |_| true),
            Encode => encode(&path),
            RefuseNul if decode(&path, |_| true).contains(&0) => return None,
            RefuseNul => path,
            CutNul => before(&path, b"\0"),
            Backslash => path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect(),
            Merge => merged(&path),
            Dots => without_dots(&path, false),
            EscapedDots => without_dots(&path, true),
            Authority => behind_authority(path),
            NormPath => norm_path(&path),
        })
    }
}

fn before(path: &[u8], ends: &[u8]) -> Vec<u8> {
    path.iter().take_while(|byte| !ends.contains(byte)).copied().collect()
}

/// The path without what stands between a `;` and the next slash.
fn cut(path: &[u8]) -> Vec<u8> {
    let segments: Vec<Vec<u8>> =
        path.split(|byte| *byte == b'/').map(|segment| before(segment, b";")).collect();
    segments.join(&b'/')
}

pub fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The byte that an escape at the start of `text` stands for.
fn escaped(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// The text with those escapes decoded for which `wanted` holds.
pub fn decode(text: &[u8], wanted: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match escaped(&text[at..]).filter(|byte| wanted(*byte)) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out
}

/// The text with the digits of its escapes in capitals.
pub fn upper_hex(text: &[u8]) -> Vec<u8> {
    let mut out = text.to_vec();
    for at in 0..text.len() {
        if escaped(&text[at..]).is_some() {
            out[at + 1..at + 3].make_ascii_uppercase();
        }
    }
    out
}

fn encode(path: &[u8]) -> Vec<u8> {
    let bare = |byte: u8| is_unreserved(byte) || b"/!$&'()*+,;=:@".contains(&byte);
    let mut out = Vec::with_capacity(path.len());
    for byte in path {
        if bare(*byte) {
            out.push(*byte);
        } else {
            out.extend(format!("%{byte:02X}").into_bytes());
        }
    }
    out
}

fn merged(path: &[u8]) -> Vec<u8> {
    let mut out = path.to_vec();
    out.dedup_by(|next, last| *next == b'/' && *last == b'/');
    out
}

fn without_dots(path: &[u8], escaped_too: bool) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let read = if escaped_too { decode(segment, |byte| byte == b'.') } else { segment.to_vec() };
        let last = segments.peek().is_none();
        match &read[..] {
            b"." => {}
            b".." => {
                kept.pop();
            }
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if last {
            kept.push(b"");
        }
    }
    [&b"/"[..], &kept.join(&b'/')].concat()
}

fn behind_authority(path: Vec<u8>) -> Vec<u8> {
    let Some(rest) = path.strip_prefix(b"//") else { return path };
    rest.iter().position(|byte| *byte == b'/').map_or(b"/".to_vec(), |at| rest[at..].to_vec())
}

fn norm_path(path: &[u8]) -> Vec<u8> {
    let mut out = without_dots(&merged(path), false);
    while out.len() > 1 && out.ends_with(b"/") {
        out.pop();
    }
    if path.ends_with(b"/") && out != b"/" {
        out.push(b'/');
    }
    out
}

//! Any bytes as a request target: its canonical form is one, stays what it is, and means to a hop that
//! decodes it what it means here.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::rules::{Template, UriTemplate, canonical, guesses, resolved};

fuzz_target!(|input: &[u8]| {
    // A template, if the input has a line feed, and a target.
    let split = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (target, template) = (&input[..split], input.get(split + 1..).unwrap_or_default());
    let form = resolved(target, Some("h"));
    if let Some(form) = &form {
        assert_eq!(canonical(form.as_bytes()).as_deref(), Ok(&**form), "the resolved form is canonical");
        assert_eq!(resolved(form.as_bytes(), None).as_deref(), Some(&**form), "and stays");
    }
    for guess in guesses(target) {
        assert!(guess.starts_with('/') && !guess.contains("//"), "{guess}");
    }
    let Ok(path) = canonical(target) else { return };
    assert_eq!(form.as_deref(), Some(&*path), "an unambiguous path is resolved");
    assert_eq!(canonical(path.as_bytes()).as_deref(), Ok(&*path), "it does not stay");
    assert!(path.starts_with('/') && path.is_ascii() && !path.contains("//"));
    // However often a hop decodes it, it gains no segment, no dots and no end.
    let mut bytes = path.as_bytes().to_vec();
    let slashes = count(&bytes, b'/');
    for round in 0..4 {
        bytes = decoded(&bytes);
        // What follows a semicolon is a parameter to some hop.
        let bare = |segment: &'_ [u8]| segment.split(|byte| *byte == b';').next().map(<[u8]>::to_vec);
        let mut bare = bytes.split(|byte| *byte == b'/').filter_map(bare);
        assert!(round > 0 || bare.all(|segment| segment != b"." && segment != b".."));
        assert_eq!(count(&bytes, b'/'), slashes, "a slash came out of {path}");
        for never in *b"\\?#\0\r\n\x7f" {
            assert_eq!(count(&bytes, never), 0, "{never} came out of {path}");
        }
        assert!(bytes.split(|byte| *byte == b'/').all(|segment| segment != b"." && segment != b".."));
    }
    if let Ok(text) = std::str::from_utf8(template)
        && let Ok(template) = Template::parse(text)
    {
        let matches = template.matches(&path);
        for name in template.variables() {
            assert!(!matches || template.piece(name, &path).is_some_and(|piece| path.contains(piece)));
        }
    }
    if let Ok(text) = std::str::from_utf8(template)
        && let Ok(template) = UriTemplate::parse(text, false)
    {
        template.matches(&path);
    }
});

fn count(bytes: &[u8], wanted: u8) -> usize {
    bytes.iter().filter(|byte| **byte == wanted).count()
}

fn decoded(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let digits =
            tail.get(..2).filter(|digits| *first == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let value = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        out.push(value.unwrap_or(*first));
        rest = if value.is_some() { &tail[2..] } else { tail };
    }
    out
}

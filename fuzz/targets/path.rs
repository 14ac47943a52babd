//! Any bytes as a request target: its readings are bounded, what is clear hides nothing in any of them, and a
//! rule's path has one form.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::{
    PathKind, PathReadings, PathTemplate as Template, UriTemplate, canonical_path as canonical,
    decoded_path as decoded,
};

fuzz_target!(|input: &[u8]| {
    // A template, if the input has a line feed, and a target.
    let split = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (target, template) = (&input[..split], input.get(split + 1..).unwrap_or_default());
    let readings = PathReadings::of(target, true);
    let all: Vec<_> = readings.iter().collect();
    assert!(!all.is_empty() && all.len() <= 64);
    if readings.kind() == PathKind::Clear {
        for reading in &all {
            assert!(reading.text.starts_with('/') && !reading.text.contains("//"), "{reading:?}");
            assert!(reading.text.split('/').all(|segment| segment != "." && segment != ".."), "{reading:?}");
            assert!(!reading.text.contains(['\\', '?', '#', '\0', '\r', '\n']), "{reading:?}");
        }
    }
    // Of a path that is refused in any case, no reading is looked for but the first.
    let quick = PathReadings::of(target, false);
    assert_eq!(quick.kind() == PathKind::Clear, readings.kind() == PathKind::Clear);
    if let Ok(text) = std::str::from_utf8(target)
        && let Ok(form) = canonical(text)
    {
        assert_eq!(canonical(&form).as_deref(), Ok(&*form), "it does not stay");
        assert_eq!(decoded(&decoded(&form, 0), 1), decoded(&form, 1));
    }
    let texts = all.iter().map(|reading| &*reading.text);
    if let Ok(text) = std::str::from_utf8(template)
        && let Ok(template) = Template::parse(text)
    {
        for path in texts.clone() {
            let matches = template.matches(path);
            for name in template.variables() {
                assert!(!matches || template.piece(name, path).is_some_and(|piece| path.contains(piece)));
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(template)
        && let Ok(template) = UriTemplate::parse(text, false)
    {
        for path in texts {
            template.matches(path);
        }
    }
});

use super::*;

/// All readings of a path, and what kind of path it is.
fn readings(target: &str) -> (PathKind, Vec<String>) {
    let readings = PathReadings::of(target.as_bytes(), true);
    let mut texts: Vec<String> = readings.iter().map(|reading| reading.text.clone().into_owned()).collect();
    texts.sort();
    texts.dedup();
    (readings.kind(), texts)
}

#[test]
fn an_everyday_path_has_one_reading() {
    for path in [
        "/",
        "/a/b",
        "/a/b/",
        "/a.b/c",
        "/.well-known/openid-configuration",
        "/a/...",
        "/a/..b",
        "/v1/users/me@example.com",
        "/a:b@c!$&'()*+,=",
        "/a%20b",
        "/caf%C3%A9/%E2%82%AC",
        "/a%22b%7Cc",
        "/~user/a-b_c",
        "/2026/11/30/index.html",
    ] {
        assert_eq!(readings(path), (PathKind::Clear, vec![path.to_owned()]), "{path}");
    }
    assert_eq!(readings("/a?x=/../%2F"), (PathKind::Clear, vec!["/a".to_owned()]));
    assert_eq!(readings("/caf%c3%a9"), (PathKind::Clear, vec!["/caf%C3%A9".to_owned()]));
}

#[test]
fn a_path_that_programs_read_in_different_ways_has_several_readings() {
    for (path, expected) in [
        ("/%61dmin", &["/%61dmin", "/admin"][..]),
        ("/a;x/b", &["/a/b", "/a;x/b"]),
        ("/a;x", &["/a", "/a;x"]),
        ("/a/;x", &["/a/", "/a/;x"]),
        ("/admin%3bx/y", &["/admin%3Bx/y", "/admin/y", "/admin;x/y"]),
        ("/a%2541", &["/a%2541", "/aA"]),
        ("/100%25", &["/100%25"]),
        ("/a%3Ab", &["/a%3Ab", "/a:b"]),
        ("/a%7e", &["/a%7E", "/a~"]),
        ("/a|b", &["/a%7Cb", "/a|b"]),
        ("/\u{e9}", &["/%C3%A9", "/\u{e9}"]),
    ] {
        let mut expected: Vec<_> = expected.iter().map(|text| (*text).to_owned()).collect();
        expected.sort();
        assert_eq!(readings(path), (PathKind::Clear, expected), "{path}");
    }
}

#[test]
fn a_suspicious_path_is_read_in_every_composition_of_the_steps() {
    for (path, some) in [
        ("/public/..%2fadmin", &["/public/..%2Fadmin", "/public/../admin", "/admin"][..]),
        ("/a/../b", &["/a/../b", "/b"]),
        ("/a/./b", &["/a/b"]),
        ("/a/..", &["/"]),
        ("/a/b/..", &["/a/", "/a"]),
        ("/a/.", &["/a/", "/a"]),
        ("/a/b/../", &["/a/"]),
        ("/../../a", &["/a"]),
        ("/a//b", &["/a//b", "/a/b"]),
        ("/a//../b", &["/a/b", "/b"]),
        ("/a/;x/../b", &["/a/b", "/b"]),
        // The URL standard of browsers takes `%2e` for a dot there, and decodes nothing else.
        ("/a/%2e./admi%6E/n", &["/admi%6E/n", "/admin/n"]),
        ("/a/%252e%2F%2e%2e\\publi%2563", &["/publi%2563", "/public"]),
        ("/a/%2e/../b", &["/a/b", "/b"]),
        // A hop that decodes slashes alone, then one that cuts, decodes and merges.
        ("/x/;%2f%3b/admin;", &["/x/;/%3B/admin;", "/x//%3B/admin", "/x//;/admin", "/x/;/admin"]),
        ("/x/%3B/admin", &["/x/;/admin", "/x//admin", "/x/admin"]),
        ("/a/%2e%2E/b", &["/a/../b", "/b"]),
        ("/a\\..\\b", &["/a\\..\\b", "/b"]),
        ("/a%5C..%5cb", &["/a\\..\\b", "/b"]),
        ("/a/..;x=1/b", &["/a/../b", "/b"]),
        ("/a/..%3Bx/b", &["/a/..;x/b", "/b"]),
        ("/a/%252e%252e/b", &["/a/%252e%252e/b", "/a/../b", "/b"]),
        ("/a%25%32%46b", &["/a/b"]),
        ("/a;x%2F..%2Fb", &["/a", "/b", "/a;x/../b"]),
        ("/x/a/..;/b", &["/x/a/../b", "/x/b"]),
    ] {
        let (kind, all) = readings(path);
        assert_eq!(kind, PathKind::Suspicious, "{path}");
        for reading in some {
            assert!(all.iter().any(|own| own == reading), "{path} is not read as {reading}: {all:?}");
        }
    }
}

#[test]
fn a_path_without_a_meaning_is_unreadable() {
    for path in [
        "",
        "*",
        "a",
        "?a",
        "http://h/a",
        "//a",
        "//a/../b",
        "/;/a",
        "/%3B/a",
        "/%2Fa",
        "/a/..//b",
        "/a#b",
        "/a%23b",
        "/a%3Fb",
        "/a%253Fb",
        "/a%00",
        "/a%2500",
        "/a b",
        "/a\tb",
        "/a\u{7f}b",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%+1",
        "/%ff",
        "/%c0%af",
        "/%ed%a0%80",
        "/a%09b",
        "/a%25252Fb",
        "/a%252525252525252e",
    ] {
        assert_eq!(readings(path).0, PathKind::Unreadable, "{path}");
    }
    assert_eq!(PathReadings::of(b"/a\xff", true).kind(), PathKind::Unreadable);
}

#[test]
fn what_the_readings_of_a_path_cost_is_bounded() {
    let many = "/a;b/%2e%2e;/%5c..//%252e/%2541".repeat(8);
    assert_eq!(readings(&many).0, PathKind::Excessive);
    let long = format!("/{}", "a;b/%61".repeat(10_000));
    assert_eq!(readings(&long).0, PathKind::Excessive);
    // Where nothing hangs on them, the readings of a suspicious path are not looked for.
    assert!(PathReadings::of(many.as_bytes(), false).is_one());
}

#[test]
fn a_rule_has_one_form() {
    for (path, expected) in [
        ("/", "/"),
        ("/%61dmin", "/admin"),
        ("/%41%2D%2e%5f%7E", "/A-._~"),
        ("/a%20b%c3%a9", "/a%20b%C3%A9"),
        ("/a%3bb", "/a%3Bb"),
        ("/\u{e9}", "/%C3%A9"),
        ("/a.b/..c/...", "/a.b/..c/..."),
        ("/100%25", "/100%25"),
        ("/a%2541", "/a%2541"),
        ("/a:b@c!$&'()*+,=", "/a:b@c!$&'()*+,="),
    ] {
        assert_eq!(canonical(path).as_deref(), Ok(expected), "{path}");
    }
    assert_eq!(decoded("/a%3Bb%20c", 1), "/a;b%20c");
    assert_eq!(decoded("/a%2541", 1), "/a%2541");
    assert_eq!(decoded("/a%2541", 2), "/aA");
}

#[test]
fn no_rule_is_written_for_a_path_that_could_mean_two_things() {
    use Ambiguous::*;
    for (path, expected) in [
        ("", NotAbsolute),
        ("*", NotAbsolute),
        ("a", NotAbsolute),
        ("http://h/a", NotAbsolute),
        ("//a", EmptySegment),
        ("/a//b", EmptySegment),
        ("/a//", EmptySegment),
        ("/.", DotSegment),
        ("/a/..", DotSegment),
        ("/a/../b", DotSegment),
        ("/a/%2e%2e/b", DotSegment),
        ("/a/.%2E/b", DotSegment),
        ("/a/..;/b", DotSegment),
        ("/a/..%3b/b", DotSegment),
        ("/a\\b", BadCharacter),
        ("/a b", BadCharacter),
        ("/a#b", BadCharacter),
        ("/a%", BadEscape),
        ("/a%zz", BadEscape),
        ("/a%2Fb", DangerousEscape),
        ("/a%5Cb", DangerousEscape),
        ("/a%00b", DangerousEscape),
        ("/a%3Fb", DangerousEscape),
        ("/a%252e%252e/b", DangerousEscape),
        ("/a%25252Fb", DangerousEscape),
        ("/a%25%32%46b", DangerousEscape),
        ("/%c0%af", BadUtf8),
        ("/%ff", BadUtf8),
    ] {
        assert_eq!(canonical(path), Err(expected), "{path}");
    }
}

/// A table of sabotages: without any one of the steps a reading of some path goes unseen.
#[test]
fn each_step_shows_a_reading_that_no_other_does() {
    use PathStep::*;
    let table = [
        (DecodeUnreserved, "/%61%20b%3b", "/a%20b%3B"),
        (DecodeSlashes, "/x/;%2f%3b/admin;", "/x/;/admin"),
        (DecodeAll, "/a%3bx", "/a"),
        (CutParameters, "/a;x/b", "/a/b"),
        (ReplaceBackslashes, "/x/a\\b", "/x/a/b"),
        (MergeSlashes, "/x//a", "/x/a"),
        (RemoveDotSegments, "/a/%2e/b/..", "/a/%2E/"),
        (RemoveDotSegmentsAndSlash, "/a/b/..", "/a"),
        (RemoveEscapedDotSegments, "/a/%2e./admi%6E/n", "/admi%6E/n"),
    ];
    assert!(table.iter().map(|(step, ..)| *step).eq(PathStep::ALL), "every step, once");
    for (step, path, reading) in table {
        let seen = |steps: &[PathStep]| {
            let readings = PathReadings::by_steps(path.as_bytes(), true, steps);
            readings.iter().any(|own| own.text == reading)
        };
        let others: Vec<PathStep> = PathStep::ALL.into_iter().filter(|own| *own != step).collect();
        assert!(seen(&PathStep::ALL), "{path} is not read as {reading}");
        assert!(!seen(&others), "{path} is read as {reading} without {step:?}");
    }
}

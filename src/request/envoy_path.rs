//! A path as Envoy reads it under `normalize_path` and `merge_slashes`.

use super::escapes::{escape, is_bare, is_unreserved, push_escape};

/// The form in which two spellings of one path are the same text, whether or not Envoy rewrote one of them. What may not
/// stand in a URI is an escape (RFC 3986 section 3.3; a `%` that begins none is `%25`), `\` is `/`, escapes of unreserved
/// characters are decoded and the others in upper case (section 6.2.2), dot segments are resolved (section 5.2.4), and
/// then runs of `/` are one.
pub fn as_envoy_reads(path: &[u8]) -> String {
    let path = spelled(path);
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_with_dots = false;
    for segment in path.split('/').skip(1) {
        ends_with_dots = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    if ends_with_dots {
        kept.push("");
    }
    let mut read = String::with_capacity(path.len());
    // What does not begin with a slash is no path, and equals none.
    if !path.starts_with('/') {
        read.push_str(&path);
        return read;
    }
    for segment in &kept {
        if !read.ends_with('/') {
            read.push('/');
        }
        read.push_str(segment);
    }
    if read.is_empty() {
        read.push('/');
    }
    read
}

/// The path with each character in its one spelling.
fn spelled(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'\\' => text.push('/'),
            b'%' => match escape(tail) {
                Some((value, after)) => {
                    rest = after;
                    if is_unreserved(value) {
                        text.push(char::from(value));
                    } else {
                        push_escape(&mut text, value);
                    }
                }
                None => push_escape(&mut text, byte),
            },
            bare if is_bare(bare) => text.push(char::from(bare)),
            other => push_escape(&mut text, other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_read_as_envoy_reads_it() {
        for (path, expected) in [
            ("", ""),
            ("/", "/"),
            ("/a", "/a"),
            ("/a/", "/a/"),
            ("//", "/"),
            ("//a", "/a"),
            ("/a//b", "/a/b"),
            ("/a//", "/a/"),
            ("/a/../b", "/b"),
            ("/a/./b", "/a/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a//../b", "/a/b"),
            ("/..", "/"),
            ("/../..", "/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/a/...", "/a/..."),
            ("/a/%252e%252e/b", "/a/%252e%252e/b"),
            ("/%7euser/%41", "/~user/A"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/a b", "/a%20b"),
            ("/a|b", "/a%7Cb"),
            ("/a[b]", "/a%5Bb%5D"),
            ("/a^b`{c}", "/a%5Eb%60%7Bc%7D"),
            ("/a\\b", "/a/b"),
            ("/a\\..\\b", "/b"),
            ("/a%5cb", "/a%5Cb"),
            ("/a%2fb", "/a%2Fb"),
            ("/100%", "/100%25"),
            ("/100%25", "/100%25"),
            ("/%4", "/%254"),
            ("/%zz", "/%25zz"),
            ("/x;v=1", "/x;v=1"),
            ("/x%3bv=1", "/x%3Bv=1"),
            ("/a+b", "/a+b"),
            ("/a%2bb", "/a%2Bb"),
            ("/a:b@c,d'(e)!*$&=f", "/a:b@c,d'(e)!*$&=f"),
            ("/a\u{0}", "/a%00"),
            ("*", "*"),
        ] {
            assert_eq!(as_envoy_reads(path.as_bytes()), expected, "{path:?}");
        }
    }

    proptest! {
        /// Envoy may have read it so already.
        #[test]
        fn to_read_it_again_changes_nothing(path in "/([a-c./%25ef\\\\ |;]|%2[eEfF5]|[é])*") {
            let read = as_envoy_reads(path.as_bytes());
            prop_assert_eq!(as_envoy_reads(read.as_bytes()), read);
        }
    }
}

//! Whether two matches can be for the same request, and whether one is for every request of another: what is told of
//! rules when a configuration is read. No request is judged by it.

use std::borrow::Cow;

use super::{HostMatch, HostName, HostPort, Match, PathMatch};

/// Which paths begin with the text of a match.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// This text alone.
    Itself,
    /// This text, and what goes on with a `/`, or some of that.
    Segments,
    /// Whatever goes on behind it, or some of that.
    Any,
}

impl Match {
    /// Whether a request could meet both, as far as paths, methods and hosts tell. Where they do not tell, it could.
    pub fn overlaps(&self, other: &Self) -> bool {
        let is_connect = |of: &Self| matches!(of.path, PathMatch::Connect);
        let methods = self.methods.is_empty()
            || other.methods.is_empty()
            || self.methods.iter().any(|method| other.methods.contains(method));
        let hosts = HostMatch::any_overlaps(&self.hosts, &other.hosts);
        let ((text, extent), (other_text, other_extent)) = self.beginnings(other);
        let paths = match is_connect(self) || is_connect(other) {
            true => is_connect(self) && is_connect(other),
            false => extent.has(&text, &other_text) || other_extent.has(&other_text, &text),
        };
        methods && hosts && paths
    }

    /// Whether every request that meets `other` surely meets this.
    pub fn covers(&self, other: &Self) -> bool {
        let is_conditional = !self.headers.is_empty()
            || !self.query_parameters.is_empty()
            || !self.metadata.is_empty()
            || self.grpc;
        let methods = self.methods.is_empty()
            || (!other.methods.is_empty()
                && other.methods.iter().all(|method| self.methods.contains(method)));
        let hosts = self.hosts.is_empty()
            || (!other.hosts.is_empty() && other.hosts.iter().all(|host| self.hosts.contains(host)));
        let ((text, extent), (other_text, other_extent)) = self.beginnings(other);
        let paths = match &self.path {
            PathMatch::Prefix(_) => other_text.starts_with(&*text),
            PathMatch::Separated(_) => {
                extent.has(&text, &other_text) && (text != other_text || other_extent != Extent::Any)
            }
            PathMatch::Exact(_) => text == other_text && other_extent == Extent::Itself,
            PathMatch::Template(template) => match &other.path {
                PathMatch::Template(other) => template == other,
                PathMatch::Exact(path) => {
                    self.case_sensitive && other.case_sensitive && template.matches(path)
                }
                _ => false,
            },
            PathMatch::UriTemplate(_) | PathMatch::Regex(_) | PathMatch::Connect => false,
        };
        !is_conditional && methods && hosts && paths && !matches!(other.path, PathMatch::Connect)
    }

    /// What the paths of both begin with: in lower case where one of them does not tell cases apart.
    fn beginnings<'m>(&'m self, other: &'m Self) -> ((Cow<'m, str>, Extent), (Cow<'m, str>, Extent)) {
        let folds = !self.case_sensitive || !other.case_sensitive;
        let text = |of: &'m Self| match folds {
            true => Cow::Owned(of.path_start().to_ascii_lowercase()),
            false => of.path_start(),
        };
        let extent = |of: &Self| match &of.path {
            PathMatch::Exact(_) => Extent::Itself,
            PathMatch::Separated(_) => Extent::Segments,
            PathMatch::Template(_) if of.path_start() != "/" => Extent::Segments,
            _ => Extent::Any,
        };
        ((text(self), extent(self)), (text(other), extent(other)))
    }
}

impl Extent {
    /// Whether a path that begins with `text` could begin with `longer`.
    fn has(self, text: &str, longer: &str) -> bool {
        longer.strip_prefix(text).is_some_and(|rest| match self {
            Self::Itself => rest.is_empty(),
            Self::Segments => rest.is_empty() || rest.starts_with('/'),
            Self::Any => true,
        })
    }
}

impl HostMatch {
    /// Whether a host could be one of each list; an empty list is for every host.
    pub fn any_overlaps(one: &[Self], other: &[Self]) -> bool {
        one.is_empty()
            || other.is_empty()
            || one.iter().any(|host| other.iter().any(|own| own.overlaps(host)))
    }

    /// Whether one host could be both.
    fn overlaps(&self, other: &Self) -> bool {
        let names = match (&self.name, &other.name) {
            (HostName::Exact(one), HostName::Exact(other)) => one == other,
            (HostName::Exact(name), HostName::Under(suffix))
            | (HostName::Under(suffix), HostName::Exact(name)) => name.ends_with(suffix.as_str()),
            (HostName::Under(one), HostName::Under(other)) => {
                one.ends_with(other.as_str()) || other.ends_with(one.as_str())
            }
        };
        names
            && match (&self.port, &other.port) {
                (HostPort::This(one), HostPort::This(other)) => one == other,
                (HostPort::This(_), HostPort::None) | (HostPort::None, HostPort::This(_)) => false,
                _ => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Match {
        let (kind, text) = text.split_once(' ').unwrap();
        let owned = text.to_owned();
        Match::of(match kind {
            "prefix" => PathMatch::Prefix(owned),
            "path" => PathMatch::Exact(owned),
            "under" => PathMatch::Separated(owned),
            _ => PathMatch::Template(super::super::Template::parse(text).unwrap()),
        })
    }

    #[test]
    fn paths_meet_where_one_text_can_be_both() {
        // Whether they overlap, whether the first covers the second.
        for (one, other, overlaps, covers) in [
            ("prefix /", "under /mcp", true, true),
            ("under /mcp", "prefix /", true, false),
            ("under /mcp", "under /mcp", true, true),
            ("under /mcp", "under /mcp/a", true, true),
            ("under /mcp/a", "under /mcp", true, false),
            ("under /mcp", "under /mcp2", false, false),
            ("under /mcp", "prefix /mcp", true, false),
            ("prefix /mcp", "under /mcp", true, true),
            ("prefix /mcp2", "under /mcp", false, false),
            ("under /mcp", "path /mcp", true, true),
            ("path /mcp", "under /mcp", true, false),
            ("path /mcp", "path /mcp", true, true),
            ("path /mcp", "path /mcp/", false, false),
            ("template /mcp/{tool}", "under /mcp", true, false),
            ("under /mcp", "template /mcp/{tool}", true, true),
            ("template /a/{b}", "under /mcp", false, false),
            ("template /{b}/**", "under /mcp", true, false),
            ("template /a/{b}", "template /a/{b}", true, true),
            ("template /a/{b}", "template /a/{c}", true, false),
            ("template /a/{b}", "path /a/c", true, true),
            ("template /a/{b}", "path /a/c/d", true, false),
            ("template /a/**", "path /a/c/d", true, true),
        ] {
            let (one_match, other_match) = (path(one), path(other));
            assert_eq!(one_match.overlaps(&other_match), overlaps, "{one} and {other}");
            assert_eq!(other_match.overlaps(&one_match), overlaps, "{other} and {one}");
            assert_eq!(one_match.covers(&other_match), covers, "{one} over {other}");
        }
        let folded = Match { case_sensitive: false, ..path("under /MCP") };
        assert!(folded.overlaps(&path("under /mcp/a")) && folded.covers(&path("under /mcp/a")));
    }

    #[test]
    fn methods_and_hosts_part_what_paths_do_not() {
        let base = || path("under /a");
        let methods = |text: &str| Match { methods: text.split(' ').map(str::to_owned).collect(), ..base() };
        let hosts = |name: &str, port: HostPort| {
            let name = match name.strip_prefix('*') {
                Some(suffix) => HostName::Under(suffix.to_owned()),
                None => HostName::Exact(name.to_owned()),
            };
            Match { hosts: vec![HostMatch { name, port }], ..base() }
        };
        let this = |port: &str| HostPort::This(port.to_owned());
        for (one, other, overlaps, covers) in [
            (methods("GET"), methods("POST"), false, false),
            (methods("GET POST"), methods("POST"), true, true),
            (methods("POST"), base(), true, false),
            (base(), methods("POST"), true, true),
            (hosts("a.example", HostPort::None), hosts("b.example", HostPort::None), false, false),
            (hosts("a.example", HostPort::None), hosts("*.example", HostPort::None), true, false),
            (hosts("*.b.example", HostPort::None), hosts("*.example", HostPort::None), true, false),
            (hosts("a.example", this("1")), hosts("a.example", this("2")), false, false),
            (hosts("a.example", this("1")), hosts("a.example", HostPort::Any), true, false),
            (hosts("a.example", HostPort::None), hosts("a.example", HostPort::None), true, true),
            (base(), hosts("a.example", HostPort::None), true, true),
            (hosts("a.example", HostPort::None), base(), true, false),
            (Match { grpc: true, ..base() }, base(), true, false),
            (Match::of(PathMatch::Connect), base(), false, false),
            (base(), Match::of(PathMatch::Connect), false, false),
        ] {
            assert_eq!((one.overlaps(&other), one.covers(&other)), (overlaps, covers), "{one:?} {other:?}");
            assert_eq!(other.overlaps(&one), overlaps, "{other:?} {one:?}");
        }
    }
}

//! Finds the first rule for a path without trying them all.
//!
//! Exact paths, prefixes and what expressions begin with stand in a radix tree, templates in a tree of
//! segments. Walking down both along a path meets the rules whose path condition holds (for expressions:
//! may hold) and no others. Rules that meet there are told apart by host and by a header field of one
//! value where they ask for one; what is left is tried in order.

use std::collections::BTreeMap;

use super::host::HostName;
use super::matcher::{Match, PathMatch};
use super::template::{Segment, Template};
use crate::request::RequestView;

/// The place of a rule in the list of all.
pub(super) type Rank = u32;

/// The rules of one form of paths.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Those for which upper and lower case differ.
    exact: Trees,
    /// Those for which they do not, for paths in lower case.
    any_case: Trees,
}

#[derive(Clone, Debug, Default)]
struct Trees {
    texts: Radix,
    templates: Segments,
    in_use: bool,
}

/// The first rule of those that were tried, and that may be for the request.
pub(super) struct First(Option<Rank>);

impl Index {
    /// Adds a rule; those that come first are added first.
    pub(super) fn add(&mut self, at: Rank, matches: &Match) {
        if matches.case_sensitive {
            self.exact.add(at, matches, &matches.path);
            return;
        }
        match &matches.path {
            path @ (PathMatch::UriTemplate(_) | PathMatch::Regex(_)) => self.exact.add(at, matches, path),
            path => self.any_case.add(at, matches, &path.in_lower_case()),
        }
    }

    /// Goes through the rules that may be for this path, in no order. `holds` says of one whether it may be
    /// for the request; it is only asked of rules that come before the first of which it said so.
    pub(super) fn search(
        &self,
        path: &str,
        view: &RequestView<'_>,
        first: &mut First,
        holds: &mut dyn FnMut(Rank) -> bool,
    ) {
        self.exact.search(path, view, first, holds);
        if self.any_case.in_use {
            self.any_case.search(&path.to_ascii_lowercase(), view, first, holds);
        }
    }
}

impl First {
    pub(super) fn new() -> Self {
        Self(None)
    }

    pub(super) fn get(&self) -> Option<Rank> {
        self.0
    }

    /// Tries rules in their order.
    fn try_all(&mut self, places: &[Rank], holds: &mut dyn FnMut(Rank) -> bool) {
        for at in places {
            if self.0.is_some_and(|first| *at >= first) {
                return;
            }
            if holds(*at) {
                self.0 = Some(*at);
                return;
            }
        }
    }
}

impl Trees {
    fn add(&mut self, at: Rank, matches: &Match, path: &PathMatch) {
        self.in_use = true;
        match path {
            PathMatch::Exact(text) => self.texts.node(text, |node| node.ends.add(at, matches)),
            PathMatch::Prefix(text) => self.texts.node(text, |node| node.starts.add(at, matches)),
            PathMatch::Separated(text) => {
                self.texts.node(text, |node| node.ends.add(at, matches));
                self.texts.node(&format!("{text}/"), |node| node.starts.add(at, matches));
            }
            PathMatch::Regex(regex) => {
                self.texts.node(&regex.prefix, |node| node.starts.add(at, matches));
            }
            PathMatch::UriTemplate(template) => {
                self.texts.node(template.prefix(), |node| node.starts.add(at, matches));
            }
            PathMatch::Template(template) => self.templates.add(at, matches, template),
            // Has no path to be found by.
            PathMatch::Connect => {}
        }
    }

    fn search(
        &self,
        path: &str,
        view: &RequestView<'_>,
        first: &mut First,
        holds: &mut dyn FnMut(Rank) -> bool,
    ) {
        self.texts.search(path, &mut |bucket| bucket.search(view, first, holds));
        if !self.templates.0.is_empty()
            && let Some(rest) = path.strip_prefix('/')
        {
            self.templates.search(0, Some(rest), &mut |bucket| bucket.search(view, first, holds));
        }
    }
}

/// Rules with one condition on the path, told apart by another where they have one.
#[derive(Clone, Debug, Default)]
struct Bucket(Option<Box<Rules>>);

#[derive(Clone, Debug, Default)]
struct Rules {
    others: Vec<Rank>,
    hosts: BTreeMap<String, Vec<Rank>>,
    /// By the end of the host, which begins with a dot.
    domains: BTreeMap<String, Vec<Rank>>,
    /// By name, then by value.
    headers: BTreeMap<String, BTreeMap<String, Vec<Rank>>>,
}

impl Bucket {
    fn add(&mut self, at: Rank, matches: &Match) {
        let rules = self.0.get_or_insert_default();
        if !matches.hosts.is_empty() {
            for host in &matches.hosts {
                let (map, name) = match &host.name {
                    HostName::Exact(name) => (&mut rules.hosts, name),
                    HostName::Under(suffix) => (&mut rules.domains, suffix),
                };
                map.entry(name.clone()).or_default().push(at);
            }
            return;
        }
        let header = matches.headers.iter().find_map(|header| Some((&header.name, header.only_value()?)));
        if let Some((name, value)) = header {
            let values = rules.headers.entry(name.clone()).or_default();
            values.entry(value.to_owned()).or_default().push(at);
            return;
        }
        rules.others.push(at);
    }

    fn search(&self, view: &RequestView<'_>, first: &mut First, holds: &mut dyn FnMut(Rank) -> bool) {
        let Some(rules) = self.0.as_deref() else { return };
        first.try_all(&rules.others, holds);
        if !rules.hosts.is_empty() || !rules.domains.is_empty() {
            let host = view.authority().map_or("", |authority| authority.host());
            if let Some(places) = rules.hosts.get(host) {
                first.try_all(places, holds);
            }
            if !rules.domains.is_empty() {
                for (dot, _) in host.match_indices('.') {
                    let Some((_, domain)) = host.split_at_checked(dot) else { continue };
                    if let Some(places) = rules.domains.get(domain) {
                        first.try_all(places, holds);
                    }
                }
            }
        }
        for (name, values) in &rules.headers {
            let mut try_value = |value: Option<&[u8]>| {
                // Bytes that are not UTF-8 are in no configuration.
                let value = value.and_then(|value| std::str::from_utf8(value).ok());
                if let Some(places) = value.and_then(|value| values.get(value)) {
                    first.try_all(places, holds);
                }
            };
            match view.only_header(name) {
                Some(value) => try_value(value),
                None => view.header(name).iter().for_each(|value| try_value(value.as_deref())),
            }
        }
    }
}

/// A radix tree over texts.
#[derive(Clone, Debug, Default)]
struct Radix(Vec<Node>);

/// A node: the text that leads to it from its parent, and the rules of the whole text.
#[derive(Clone, Debug, Default)]
struct Node {
    label: Box<[u8]>,
    /// By the first byte of their labels, in order.
    children: Vec<(u8, u32)>,
    /// Rules for paths that end here.
    ends: Bucket,
    /// Rules for paths that go on from here, or end.
    starts: Bucket,
}

impl Node {
    fn child(&self, byte: u8) -> Result<u32, usize> {
        let found = self.children.binary_search_by_key(&byte, |(first, _)| *first);
        found.map(|at| self.children.get(at).map_or(0, |(_, child)| *child))
    }
}

impl Radix {
    fn get(&self, at: u32) -> Option<&Node> {
        self.0.get(usize::try_from(at).ok()?)
    }

    fn get_mut(&mut self, at: u32) -> Option<&mut Node> {
        self.0.get_mut(usize::try_from(at).ok()?)
    }

    fn push(&mut self, node: Node) -> u32 {
        let at = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.push(node);
        at
    }

    /// Does something to the node of a text, which is made where there is none.
    fn node(&mut self, text: &str, act: impl FnOnce(&mut Node)) {
        if self.0.is_empty() {
            self.push(Node::default());
        }
        let mut at = 0;
        let mut rest = text.as_bytes();
        while let Some(first) = rest.first().copied() {
            let Some(node) = self.get(at) else { return };
            let child = match node.child(first) {
                Ok(child) => child,
                Err(place) => {
                    let leaf = self.push(Node { label: rest.into(), ..Node::default() });
                    if let Some(node) = self.get_mut(at) {
                        node.children.insert(place.min(node.children.len()), (first, leaf));
                    }
                    at = leaf;
                    break;
                }
            };
            let Some(label) = self.get(child).map(|node| node.label.clone()) else { return };
            let common = label.iter().zip(rest).take_while(|(a, b)| a == b).count();
            let Some((_, tail)) = rest.split_at_checked(common) else { return };
            rest = tail;
            at = child;
            // The label goes on where the text does not: a node in between.
            if let Some((upper, lower)) = label.split_at_checked(common)
                && let Some(next) = lower.first().copied()
            {
                let moved = self.get_mut(child).map(std::mem::take).unwrap_or_default();
                let moved = self.push(Node { label: lower.into(), ..moved });
                if let Some(node) = self.get_mut(child) {
                    *node = Node { label: upper.into(), children: vec![(next, moved)], ..Node::default() };
                }
            }
        }
        if let Some(node) = self.get_mut(at) {
            act(node);
        }
    }

    /// Visits the rules of every text that a path starts with.
    fn search(&self, path: &str, visit: &mut dyn FnMut(&Bucket)) {
        let mut at = self.get(0);
        let mut rest = path.as_bytes();
        while let Some(node) = at {
            visit(&node.starts);
            let Some(first) = rest.first() else { return visit(&node.ends) };
            let Ok(child) = node.child(*first) else { return };
            at = self.get(child);
            let Some(tail) = at.and_then(|node| rest.strip_prefix(&*node.label)) else { return };
            rest = tail;
        }
    }
}

/// A tree over the segments of templates.
#[derive(Clone, Debug, Default)]
struct Segments(Vec<Fork>);

#[derive(Clone, Debug, Default)]
struct Fork {
    literals: BTreeMap<Box<str>, u32>,
    /// Where any segment leads that is not empty.
    one: Option<u32>,
    /// Rules for paths that end here.
    ends: Bucket,
    /// Rules for paths that go on from here.
    rests: Bucket,
}

impl Segments {
    fn get(&self, at: u32) -> Option<&Fork> {
        self.0.get(usize::try_from(at).ok()?)
    }

    fn add(&mut self, at: Rank, matches: &Match, template: &Template) {
        if self.0.is_empty() {
            self.0.push(Fork::default());
        }
        let (segments, rest) = template.parts();
        let mut fork = 0usize;
        for segment in segments {
            let new = self.0.len();
            let Ok(number) = u32::try_from(new) else { return };
            let Some(here) = self.0.get_mut(fork) else { return };
            let next = match segment {
                Segment::Literal(text) => *here.literals.entry(text.as_str().into()).or_insert(number),
                Segment::One(_) => *here.one.get_or_insert(number),
            };
            if next == number {
                self.0.push(Fork::default());
            }
            let Ok(next) = usize::try_from(next) else { return };
            fork = next;
        }
        if let Some(fork) = self.0.get_mut(fork) {
            let bucket = if rest { &mut fork.rests } else { &mut fork.ends };
            bucket.add(at, matches);
        }
    }

    /// Visits the rules of every template of which a path has the form; `rest` is what is left of it.
    fn search(&self, at: u32, rest: Option<&str>, visit: &mut dyn FnMut(&Bucket)) {
        let Some(fork) = self.get(at) else { return };
        let Some(rest) = rest else { return visit(&fork.ends) };
        visit(&fork.rests);
        let (head, tail) = match rest.split_once('/') {
            Some((head, tail)) => (head, Some(tail)),
            None => (rest, None),
        };
        if let Some(next) = fork.literals.get(head) {
            self.search(*next, tail, visit);
        }
        if let Some(next) = fork.one.filter(|_| !head.is_empty()) {
            self.search(next, tail, visit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{PathReadings, Request};
    use crate::rules::{HeaderMatch, HostMatch, HostPort, PathRegex, ValueMatch};
    use crate::text::{TextMatch, literal_prefix};

    /// A rule of one of six kinds, the `at`th of all.
    fn rule(at: usize) -> Match {
        let shared = || Match::of(PathMatch::Prefix("/shared/".to_owned()));
        match at % 6 {
            0 => Match::of(PathMatch::Exact(format!("/exact/{at}"))),
            1 => Match::of(PathMatch::Prefix(format!("/prefix/{at}/"))),
            2 => Match::of(PathMatch::Template(Template::parse(&format!("/t/{at}/{{x}}/**")).unwrap())),
            3 => {
                let name = HostName::Exact(format!("h{at}.example"));
                Match { hosts: vec![HostMatch { name, port: HostPort::None }], ..shared() }
            }
            4 => {
                let value = ValueMatch::Text(TextMatch::Exact(at.to_string()));
                let header =
                    HeaderMatch { name: "x-a".into(), value, invert: false, missing_is_empty: false };
                Match { headers: vec![header], ..shared() }
            }
            _ => {
                let text = format!("/regex/{at}/[a-z]+");
                let expression = TextMatch::regex(&text).unwrap();
                Match::of(PathMatch::Regex(PathRegex { expression, prefix: literal_prefix(&text) }))
            }
        }
    }

    /// What a request has that meets the `at`th rule: its path, its host, and a header.
    fn request_for(at: usize) -> (String, String, String) {
        let other = || "other".to_owned();
        match at % 6 {
            0 => (format!("/exact/{at}"), other(), other()),
            1 => (format!("/prefix/{at}/x"), other(), other()),
            2 => (format!("/t/{at}/x/y"), other(), other()),
            3 => ("/shared/x".to_owned(), format!("h{at}.example"), other()),
            4 => ("/shared/x".to_owned(), other(), at.to_string()),
            _ => (format!("/regex/{at}/x"), other(), other()),
        }
    }

    #[test]
    fn among_many_rules_only_those_are_tried_that_could_match() {
        for count in [12, 1_200, 12_000] {
            let mut index = Index::default();
            let rules: Vec<Match> = (0..count).map(rule).collect();
            for (at, matches) in (0..).zip(&rules) {
                index.add(at, matches);
            }
            for at in count - 6..count {
                let (path, host, header) = request_for(at);
                let fields = [(&b":authority"[..], host.as_bytes()), (b"x-a", header.as_bytes())];
                let readings = PathReadings::of(path.as_bytes(), true);
                let view = RequestView::new(&Request::new(&fields), readings);
                let (mut first, mut tried) = (First::new(), Vec::new());
                index.search(&path, &view, &mut first, &mut |at| {
                    tried.push(at as usize);
                    rules[at as usize].held(&view).is_possible()
                });
                assert_eq!((first.get(), tried), (Some(at as Rank), vec![at]), "{path} among {count}");
            }
        }
    }

    #[test]
    fn a_radix_tree_visits_what_a_path_starts_with() {
        let texts = ["", "/", "/a", "/ab", "/abc", "/abd", "/b", "x", "/ab/", "/abcde"];
        let mut tree = Radix::default();
        for (at, text) in (0..).zip(texts) {
            tree.node(text, |node| node.starts.add(at, &Match::of(PathMatch::Connect)));
        }
        for path in ["", "/", "/a", "/abcd", "/abcdef", "/b/ab", "xy", "y", "/ab/c"] {
            let mut visited = Vec::new();
            tree.search(path, &mut |bucket| {
                visited.extend(bucket.0.iter().flat_map(|rules| rules.others.iter().copied()));
            });
            let expected = (0..).zip(texts).filter(|(_, text)| path.starts_with(text)).map(|(at, _)| at);
            assert_eq!(
                visited.iter().copied().collect::<std::collections::BTreeSet<Rank>>(),
                expected.collect(),
                "{path}"
            );
        }
    }
}

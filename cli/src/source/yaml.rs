//! YAML with places: several documents, anchors and aliases, keys that come twice.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use super::text::{Places, Style};
use super::{MAX_DEPTH, MAX_NODES, Mark, Member, Node, Unreadable, Value};

/// Reads the documents of a text whose characters have these places in a file; those that hold nothing are left out.
pub(super) fn read(text: &str, places: &Places) -> Result<Vec<Node>, Unreadable> {
    let source: Vec<char> = text.chars().collect();
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        places,
        source: &source,
        anchors: HashMap::new(),
        nodes: 0,
    };
    let mut documents = Vec::new();
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(documents),
            (Event::DocumentStart(_), _) => {
                let (event, span) = reader.next()?;
                let node = reader.node(event, span, MAX_DEPTH)?;
                if !node.is_null() {
                    documents.push(node);
                }
                reader.anchors.clear();
            }
            _ => {}
        }
    }
}

struct Reader<'t, 'p> {
    events: Parser<'t, saphyr_parser::StrInput<'t>>,
    places: &'p Places,
    source: &'p [char],
    /// The values that an alias can name, and how many values each is.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'t> Reader<'t, '_> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Unreadable> {
        match self.events.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(Unreadable {
                at: self.mark(*error.marker()),
                message: format!("is not valid YAML: {}", error.info()),
            }),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn mark(&self, marker: Marker) -> Mark {
        self.places.mark(marker.index())
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Unreadable> {
        let at = self.mark(span.start);
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Unreadable { at, message: format!("is nested deeper than {MAX_DEPTH} levels") });
        };
        let before = self.nodes;
        self.count(1, at)?;
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, _) => (anchor, self.scalar(text.into_owned(), style, span)),
            Event::SequenceStart(anchor, _) => (anchor, self.sequence(depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.mapping(depth)?),
            Event::Alias(anchor) => {
                let Some((node, count)) = self.anchors.get(&anchor).cloned() else {
                    return Err(Unreadable { at, message: "names an anchor that encloses it".to_owned() });
                };
                self.count(count, at)?;
                return Ok(node);
            }
            _ => return Err(Unreadable { at, message: "is not valid YAML".to_owned() }),
        };
        let node = Node { value, at };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    /// What an alias repeats counts each time: a few lines can stand for billions of values.
    fn count(&mut self, more: usize, at: Mark) -> Result<(), Unreadable> {
        self.nodes = self.nodes.saturating_add(more);
        match self.nodes > MAX_NODES {
            true => Err(Unreadable { at, message: format!("stands for more than {MAX_NODES} values") }),
            false => Ok(()),
        }
    }

    fn scalar(&self, text: String, style: ScalarStyle, span: Span) -> Value {
        let style = match style {
            ScalarStyle::Plain => return Value::Plain(text),
            ScalarStyle::SingleQuoted => Style::Single,
            ScalarStyle::DoubleQuoted => Style::Double,
            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
        };
        let places = self.places.of_scalar(self.source, span.start.index(), style, &text);
        Value::Text(text, places)
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, Unreadable> {
        let mut elements = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(elements)),
                (event, span) => elements.push(self.node(event, span, depth)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, Unreadable> {
        let mut members: Vec<Member> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = match self.next()? {
                (Event::MappingEnd, _) => break,
                next => next,
            };
            let key = self.node(event, span, depth)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth)?;
            match key.value {
                Value::Plain(word) if word == "<<" => merged.push(value),
                Value::Plain(text) | Value::Text(text, _) => {
                    members.push(Member { key: text, at: key.at, value });
                }
                Value::List(_) | Value::Map(_) => {
                    return Err(Unreadable {
                        at: key.at,
                        message: "has a list or a map for a key; write a text".to_owned(),
                    });
                }
            }
        }
        for from in merged {
            self.merge(&mut members, from)?;
        }
        Ok(Value::Map(members))
    }

    /// `<<: *defaults`: what is not there is taken from another map, or from the first of several.
    fn merge(&mut self, members: &mut Vec<Member>, from: Node) -> Result<(), Unreadable> {
        let maps = match from.value {
            Value::List(maps) => maps,
            _ => vec![from],
        };
        for map in maps {
            let Value::Map(defaults) = map.value else {
                return Err(Unreadable { at: map.at, message: "is merged and is no map".to_owned() });
            };
            for member in defaults {
                if members.iter().all(|own| own.key != member.key) {
                    members.push(member);
                }
            }
        }
        Ok(())
    }
}

//! JSON with places.

use jsonc_parser::ast::{ObjectPropName, Value as Parsed};
use jsonc_parser::common::{Range, Ranged as _};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::text::{Places, Style};
use super::{MAX_DEPTH, Member, Node, Unreadable, Value};

/// JSON exactly as written.
const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// Reads a text whose characters have these places in a file.
pub(super) fn read(text: &str, places: &Places) -> Result<Node, Unreadable> {
    let reader = Reader { places, source: text.chars().collect(), starts: starts(text) };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &STRICT).map_err(|error| Unreadable {
        at: reader.mark(error.range()),
        message: format!("is not valid JSON: {}", error.kind()),
    })?;
    let Some(value) = parsed.value else {
        return Err(Unreadable { at: places.mark(0), message: "is empty".to_owned() });
    };
    reader.node(value, MAX_DEPTH)
}

/// For each byte of the text, the index of its character.
fn starts(text: &str) -> Vec<usize> {
    text.chars().enumerate().flat_map(|(index, c)| std::iter::repeat_n(index, c.len_utf8())).collect()
}

struct Reader<'p> {
    places: &'p Places,
    source: Vec<char>,
    starts: Vec<usize>,
}

impl Reader<'_> {
    fn index(&self, byte: usize) -> usize {
        self.starts.get(byte).copied().unwrap_or(usize::MAX)
    }

    fn mark(&self, range: Range) -> super::Mark {
        self.places.mark(self.index(range.start))
    }

    fn node(&self, parsed: Parsed<'_>, depth: usize) -> Result<Node, Unreadable> {
        let at = self.mark(parsed.range());
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Unreadable { at, message: format!("is nested deeper than {MAX_DEPTH} levels") });
        };
        let value = match parsed {
            Parsed::StringLit(text) => {
                let start = self.index(text.range.start);
                let places = self.places.of_scalar(&self.source, start, Style::Double, &text.value);
                Value::Text(text.value.into_owned(), places)
            }
            Parsed::NumberLit(number) => Value::Plain(number.value.to_owned()),
            Parsed::BooleanLit(word) => Value::Plain(word.value.to_string()),
            Parsed::NullKeyword(_) => Value::Plain("null".to_owned()),
            Parsed::Array(array) => {
                let elements = array.elements.into_iter().map(|element| self.node(element, depth));
                Value::List(elements.collect::<Result<_, _>>()?)
            }
            Parsed::Object(object) => {
                let members = object.properties.into_iter().map(|property| {
                    let at = self.mark(property.range);
                    let key = match property.name {
                        ObjectPropName::String(text) => text.value.into_owned(),
                        ObjectPropName::Word(word) => word.value.to_owned(),
                    };
                    Ok(Member { key, at, value: self.node(property.value, depth)? })
                });
                Value::Map(members.collect::<Result<_, _>>()?)
            }
        };
        Ok(Node { value, at })
    }
}

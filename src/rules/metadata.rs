//! Conditions on what filters before this one wrote of a request: Envoy's `MetadataMatcher`.

use crate::json::{Json, Number, Object};
use crate::request::{Held, RequestView};
use crate::text::TextMatch;

/// A condition on a value in the dynamic metadata. One that is not there does not meet it, unless it is inverted.
#[derive(Clone, Debug)]
pub struct MetadataMatch {
    /// The filter's name: the namespace in which it writes.
    pub filter: String,
    /// The members that lead to the value, the outermost first.
    pub path: Vec<String>,
    /// What the value must be.
    pub value: MetadataValue,
    /// Whether it is the opposite that must hold.
    pub invert: bool,
}

/// A condition on a value. Types count: the text `"1"` is not the number 1.
#[derive(Clone, Debug)]
pub enum MetadataValue {
    /// It is null.
    Null,
    /// It is this number.
    Number(f64),
    /// It is a number: the first or more, and less than the second.
    Range(f64, f64),
    /// It is a text, and meets this.
    Text(TextMatch),
    /// It is this.
    Bool(bool),
    /// It is there, and neither an object nor a list.
    Present,
    /// It is a list, and an element meets this.
    OneOf(Box<MetadataValue>),
    /// It meets one of these.
    Or(Vec<MetadataValue>),
}

impl MetadataMatch {
    pub(super) fn held(&self, view: &RequestView<'_>) -> Held {
        // What cannot be read may be anything.
        let Some(all) = view.metadata() else { return Held::Depends };
        let value = self.value_in(all);
        value.map_or(Held::Never, |value| self.value.held(value, view)).inverted(self.invert)
    }

    fn value_in<'m>(&self, all: &'m Object) -> Option<&'m Json> {
        let of_filter = all.get(&self.filter)?;
        self.path.iter().try_fold(of_filter, |value, name| value.as_object()?.get(name))
    }
}

impl MetadataValue {
    fn held(&self, value: &Json, view: &RequestView<'_>) -> Held {
        let number = |value: &Json| match value {
            Json::Number(number) => Some(number_of(*number)),
            _ => None,
        };
        Held::from(match self {
            Self::Null => *value == Json::Null,
            Self::Number(own) => number(value).is_some_and(|number| number == *own),
            Self::Range(start, end) => number(value).is_some_and(|number| *start <= number && number < *end),
            Self::Text(own) => match value.as_str() {
                Some(text) => return Held::from(own.judge(text, view.effort())),
                None => false,
            },
            Self::Bool(own) => *value == Json::Bool(*own),
            Self::Present => !matches!(value, Json::Object(_) | Json::Array(_)),
            Self::OneOf(own) => {
                let elements = value.as_array().unwrap_or_default();
                return any(elements.iter().map(|element| own.held(element, view)));
            }
            Self::Or(all) => return any(all.iter().map(|one| one.held(value, view))),
        })
    }

    /// How many regular expressions it has.
    pub(super) fn expressions(&self) -> usize {
        match self {
            Self::Text(text) => usize::from(text.is_regex()),
            Self::OneOf(own) => own.expressions(),
            Self::Or(all) => all.iter().map(Self::expressions).fold(0, usize::saturating_add),
            Self::Null | Self::Number(_) | Self::Range(..) | Self::Bool(_) | Self::Present => 0,
        }
    }
}

fn any(all: impl Iterator<Item = Held>) -> Held {
    all.fold(Held::Never, Held::or)
}

fn number_of(number: Number) -> f64 {
    match number {
        Number::Unsigned(value) => value as f64,
        Number::Negative(value) => value as f64,
        Number::Float(value) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;
    use crate::request::{HostProperties, Metadata, PathReadings, Request};

    /// A host whose filters wrote this; none: it cannot be read.
    struct Wrote(Option<&'static str>);

    impl HostProperties for Wrote {
        fn is_tls(&self) -> bool {
            false
        }

        fn client_address(&self) -> Option<String> {
            None
        }

        fn route_metadata(&self, _: &str) -> Metadata {
            Metadata::Absent
        }

        fn dynamic_metadata(&self) -> Option<Object> {
            match parse(self.0?.as_bytes()) {
                Ok(Json::Object(all)) => Some(all),
                other => panic!("{other:?}"),
            }
        }
    }

    fn held(path: &[&str], value: MetadataValue, invert: bool, wrote: Option<&'static str>) -> Held {
        let path = path.iter().map(|name| (*name).to_owned()).collect();
        let condition = MetadataMatch { filter: "mcp".to_owned(), path, value, invert };
        let wrote = Wrote(wrote);
        let request = Request::new(&[]).within(&wrote);
        condition.held(&RequestView::new(&request, PathReadings::of(b"/", true)))
    }

    #[test]
    fn a_value_is_compared_by_its_type_and_what_is_not_there_meets_nothing() {
        use Held::{Always, Depends, Never};
        use MetadataValue::{Bool, Null, Number, OneOf, Or, Present, Range, Text};
        let text = |text: &str| Text(TextMatch::Exact(text.to_owned()));
        const CALL: &str = r#"{"mcp":{"method":"tools/call","params":{"name":"read","n":1,"b":true,"z":null,"l":["a",1]}},"x":{"method":"no"}}"#;
        let params = |name: &'static str| ["params", name];
        for (path, value, expected) in [
            (&["method"][..], text("tools/call"), Always),
            (&["method"], text("tools/list"), Never),
            (&["method", "x"], text("tools/call"), Never),
            (&["elsewhere"], text("tools/call"), Never),
            (&params("name"), text("read"), Always),
            (&params("n"), text("1"), Never),
            (&params("n"), Number(1.0), Always),
            (&params("n"), Range(1.0, 2.0), Always),
            (&params("n"), Range(0.0, 1.0), Never),
            (&params("name"), Number(1.0), Never),
            (&params("b"), Bool(true), Always),
            (&params("b"), Bool(false), Never),
            (&params("b"), text("true"), Never),
            (&params("z"), Null, Always),
            (&params("z"), Present, Always),
            (&params("n"), Null, Never),
            (&params("l"), Present, Never),
            (&["params"], Present, Never),
            (&params("l"), OneOf(Box::new(text("a"))), Always),
            (&params("l"), OneOf(Box::new(text("b"))), Never),
            (&params("name"), OneOf(Box::new(text("read"))), Never),
            (&params("name"), Or(vec![text("x"), text("read")]), Always),
            (&params("gone"), Present, Never),
        ] {
            let opposite = expected.inverted(true);
            assert_eq!(held(path, value.clone(), false, Some(CALL)), expected, "{path:?} {value:?}");
            assert_eq!(held(path, value.clone(), true, Some(CALL)), opposite, "not {path:?} {value:?}");
            // Of a request that no filter wrote anything of, and of one of which that cannot be read.
            assert_eq!(held(path, value.clone(), false, Some("{}")), Never);
            assert_eq!(held(path, value.clone(), true, Some("{}")), Always);
            assert_eq!(held(path, value, false, None), Depends);
        }
    }
}

//! x
pub struct Paint;
pub fn as_text() {}

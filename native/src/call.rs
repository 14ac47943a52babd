//! What Envoy hands over of the answer to a call.

use portcullis::{FetchError, HttpResponse};

use crate::plugin::Answer;

/// The answer to a call, which may bring a body of at most `limit` bytes.
pub(crate) fn response(answer: Option<Answer<'_>>, limit: usize) -> Result<HttpResponse, FetchError> {
    let Some(Answer { headers, body }) = answer else { return Err(FetchError::NoAnswer) };
    let size = body.iter().map(|chunk| chunk.len()).sum();
    HttpResponse::read(&headers, size, limit, |size| {
        let mut content = body.concat();
        content.truncate(size);
        Some(content)
    })
}

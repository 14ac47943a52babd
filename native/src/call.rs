//! What Envoy hands over of the answer to a call.

use portcullis::{FetchError, HttpResponse};

use crate::plugin::Answer;

/// The answer to a call, which may bring a body of at most `limit` bytes.
pub(crate) fn response(answer: Option<Answer<'_>>, limit: usize) -> Result<HttpResponse, FetchError> {
    let Some(Answer { headers, body }) = answer else { return Err(FetchError::NoAnswer) };
    let first = |wanted: &str| {
        let (_, value) = headers.iter().find(|(name, _)| *name == wanted.as_bytes())?;
        std::str::from_utf8(value).ok().map(str::to_owned)
    };
    let all = |wanted: &str| {
        let own = headers.iter().filter(|(name, _)| *name == wanted.as_bytes());
        let values: Vec<_> = own.map(|(_, value)| String::from_utf8_lossy(value)).collect();
        (!values.is_empty()).then(|| values.join(", "))
    };
    let size: usize = body.iter().map(|chunk| chunk.len()).sum();
    let status = first(":status").and_then(|status| status.parse().ok()).unwrap_or(0);
    let read = || body.concat();
    let content = match status {
        200 if size > limit => return Err(FetchError::TooLarge { size, limit }),
        200 => read(),
        status if size <= limit && HttpResponse::has_body_to_read(status) => read(),
        _ => Vec::new(),
    };
    let local_reply =
        HttpResponse::is_local_reply(status, headers.iter().map(|(name, _)| *name)).then(|| {
            let mut reason = read();
            reason.truncate(HttpResponse::MAX_LOCAL_REPLY);
            String::from_utf8_lossy(&reason).into_owned()
        });
    Ok(HttpResponse {
        status,
        cache_control: first("cache-control"),
        etag: first("etag"),
        last_modified: first("last-modified"),
        retry_after: first("retry-after"),
        content_encoding: all("content-encoding"),
        local_reply,
        body: content,
    })
}

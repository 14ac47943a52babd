//! What the host hands over of the response to a call.

use proxy_wasm::types::{BufferType, MapType};

use super::hostcalls;
use crate::fetch::{FetchError, HttpResponse};

/// The response to a call, of `fields` header fields and a body of `size` bytes.
pub(super) fn response(fields: usize, size: usize, limit: usize) -> Result<HttpResponse, FetchError> {
    // A call that failed has no headers, and asking for one would be an error.
    if fields == 0 {
        return Err(FetchError::NoAnswer);
    }
    let headers =
        hostcalls::header_map(MapType::HttpCallResponseHeaders).map_err(|_| FetchError::NoAnswer)?;
    let fields = headers.fields();
    let text = |wanted: &str| {
        let (_, value) = fields.iter().find(|(name, _)| *name == wanted.as_bytes())?;
        std::str::from_utf8(value).ok().map(str::to_owned)
    };
    let all = |wanted: &str| {
        let own = fields.iter().filter(|(name, _)| *name == wanted.as_bytes());
        let values: Vec<_> = own.map(|(_, value)| String::from_utf8_lossy(value)).collect();
        (!values.is_empty()).then(|| values.join(", "))
    };
    let status = text(":status").and_then(|status| status.parse().ok()).unwrap_or(0);
    let read = |size| hostcalls::buffer(BufferType::HttpCallResponseBody, size);
    let body = match status {
        200 if size > limit => return Err(FetchError::TooLarge { size, limit }),
        200 => read(size).map_err(|_| FetchError::NoAnswer)?,
        status if size <= limit && HttpResponse::has_body_to_read(status) => read(size).unwrap_or_default(),
        _ => Vec::new(),
    };
    let local_reply = HttpResponse::is_local_reply(status, fields.iter().map(|(name, _)| *name)).then(|| {
        let reason = read(size.min(HttpResponse::MAX_LOCAL_REPLY)).unwrap_or_default();
        String::from_utf8_lossy(&reason).into_owned()
    });
    Ok(HttpResponse {
        status,
        cache_control: text("cache-control"),
        etag: text("etag"),
        last_modified: text("last-modified"),
        retry_after: text("retry-after"),
        content_encoding: all("content-encoding"),
        local_reply,
        body,
    })
}

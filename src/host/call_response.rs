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
    HttpResponse::read(&headers.fields(), size, limit, |size| {
        hostcalls::buffer(BufferType::HttpCallResponseBody, size).ok()
    })
}

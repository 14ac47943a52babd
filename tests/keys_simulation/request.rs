//! The requests of the simulations that ask with tokens of their own.

use portcullis::Request;

/// Puts a request with this token together and hands it on.
pub(crate) fn request<T>(token: &str, hand: impl FnOnce(&Request<'_>) -> T) -> T {
    let bearer = format!("Bearer {token}");
    let fields: [(&[u8], &[u8]); 3] =
        [(b":method", b"GET"), (b":path", b"/"), (b"authorization", bearer.as_bytes())];
    hand(&Request::new(&fields))
}

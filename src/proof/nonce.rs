//! Nonces without state (RFC 9449 section 8): a nonce is a time, and a code that only who has the key can make.

use std::time::Duration;

use ::hmac::{Hmac, KeyInit as _, Mac as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::Sha256;

use crate::fetch::SecretValue;
use crate::time::Timestamp;

/// The nonces of one provider. Every gate that has the key knows them.
#[derive(Clone, Debug)]
pub struct Nonces {
    /// What they are made with.
    pub key: SecretValue,
    /// How long each is good for.
    pub lifetime: Duration,
}

/// How much of the code is sent.
const CODE_SIZE: usize = 16;
/// What the code is of, besides the time.
const PURPOSE: &[u8] = b"portcullis DPoP nonce";

impl Nonces {
    /// The nonce of this moment, to the second.
    pub fn issue(&self, now: Timestamp) -> String {
        let time = now.as_secs().to_be_bytes();
        let mut bytes = time.to_vec();
        if let Some(mac) = self.code(&time) {
            bytes.extend(mac.finalize().into_bytes().iter().take(CODE_SIZE));
        }
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// When a nonce was made, if it is one of these and still good. `skew`: how far the clock of who made it may be ahead.
    pub(super) fn time_of(&self, nonce: &str, skew: Duration, now: Timestamp) -> Option<Timestamp> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(nonce).ok()?;
        let (time, code) = bytes.split_first_chunk::<8>()?;
        if code.len() != CODE_SIZE {
            return None;
        }
        self.code(time)?.verify_truncated_left(code).ok()?;
        let made = Timestamp::from_secs(u64::from_be_bytes(*time));
        (made <= now.plus(skew) && now <= made.plus(self.lifetime)).then_some(made)
    }

    fn code(&self, time: &[u8; 8]) -> Option<Hmac<Sha256>> {
        let mac = Hmac::<Sha256>::new_from_slice(self.key.0.as_bytes()).ok()?;
        Some(mac.chain_update(PURPOSE).chain_update(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_for_its_time_and_under_its_key() {
        let nonces =
            |key: &str| Nonces { key: SecretValue(key.repeat(32)), lifetime: Duration::from_secs(300) };
        let (own, skew) = (nonces("a"), Duration::from_secs(5));
        let at = |secs: u64| Timestamp::from_secs(1_800_000_000 + secs);
        let nonce = own.issue(at(0));
        for (now, expected) in [(0, true), (300, true), (301, false)] {
            assert_eq!(own.time_of(&nonce, skew, at(now)).is_some(), expected, "{now}");
        }
        // Another proxy's clock may be ahead.
        assert!(own.time_of(&own.issue(at(5)), skew, at(0)).is_some());
        assert!(own.time_of(&own.issue(at(6)), skew, at(0)).is_none());
        assert_eq!(nonces("b").time_of(&nonce, skew, at(0)), None);
        assert_eq!(own.time_of(&nonce, skew, at(0)), Some(at(0)));
        assert_ne!(nonce, own.issue(at(1)));
        for at_byte in 0..nonce.len() {
            let mut other = nonce.clone().into_bytes();
            other[at_byte] = if other[at_byte] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert_eq!(own.time_of(&other, skew, at(0)), None, "{at_byte}");
        }
        for other in
            ["", "a", &nonce[..31], &format!("{nonce}A"), &format!("{nonce}AAAA"), &format!("{nonce}=")]
        {
            assert_eq!(own.time_of(other, skew, at(0)), None, "{other}");
        }
    }
}

//! Any bytes as a key set, in every format; and the token of RFC 7515 under whatever keys come of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::{Algorithm, Backend, Jws, KeyFormat as Format, KeyKind, KeySet, KeySetOptions as Reading};
use portcullis_fuzz::JOE;

fuzz_target!(|input: &[u8]| {
    for format in [Format::Auto, Format::Jwks, Format::PemMap, Format::Spiffe] {
        for symmetric in [false, true] {
            let reading = Reading { format, max_keys: 20, symmetric };
            match KeySet::parse(input, reading) {
                Ok(set) => check(&set, reading),
                Err(error) => assert!(error.to_string().len() < 400, "a long message"),
            }
        }
    }
});

fn check(set: &KeySet, reading: Reading) {
    assert!(!set.keys().is_empty());
    assert!(set.keys().len() + set.skipped().len() <= reading.max_keys);
    for key in set.keys() {
        assert!(reading.symmetric || key.key.kind() != KeyKind::Symmetric, "a secret from a remote set");
        assert!(set.contains(&key.fingerprint));
        // No key goes with algorithms of two kinds, or holds over nothing.
        for algorithm in Algorithm::ALL {
            assert!(!key.allows(*algorithm) || algorithm.fits() == key.key.kind());
            for length in [0, 1, 32, 64, 96, 132, 256] {
                assert!(!key.key.verify(*algorithm, b"m", &vec![0; length]));
            }
        }
    }
    let token = Jws::parse(JOE.as_bytes()).expect("the token of the RFC");
    if let Ok(key) = token.verify(&Backend::portable(), set.candidates(None, Algorithm::Es256)) {
        assert!(set.contains(&key.fingerprint));
    }
}

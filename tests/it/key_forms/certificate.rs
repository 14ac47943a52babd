//! A certificate of any public key, as little as a reader of X.509 takes (RFC 5280 section 4.1). Its signature is zeros:
//! whoever reads keys from certificates trusts the place that they came from.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use harness::Key;

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let length = contents.len();
    let mut head = vec![tag];
    match length {
        0..0x80 => head.push(u8::try_from(length).expect("short")),
        0x80..0x100 => head.extend([0x81, u8::try_from(length).expect("one byte")]),
        _ => {
            let length = u16::try_from(length).expect("a small certificate").to_be_bytes();
            head.extend([0x82, length[0], length[1]]);
        }
    }
    [head, contents].concat()
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    der(0x30, parts)
}

/// A name of one common name (2.5.4.3).
fn name(common: &str) -> Vec<u8> {
    let attribute = sequence(&[&der(6, &[&[0x55, 4, 3]]), &der(0x0c, &[common.as_bytes()])]);
    sequence(&[&der(0x31, &[&attribute])])
}

/// The certificate as DER.
pub fn der_of(key: &Key) -> Vec<u8> {
    // sha256WithRSAEncryption (1.2.840.113549.1.1.11)
    let oid = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b];
    let algorithm = sequence(&[&der(6, &[&oid]), &der(5, &[])]);
    let time = |text: &str| der(0x17, &[text.as_bytes()]);
    let validity = sequence(&[&time("250101000000Z"), &time("450101000000Z")]);
    let issuer = name("authority");
    let version = der(0xa0, &[&der(2, &[&[2]])]);
    let signed = sequence(&[
        &version,
        &der(2, &[&[1]]),
        &algorithm,
        &issuer,
        &validity,
        &name("signer"),
        &key.public_der(),
    ]);
    sequence(&[&signed, &algorithm, &der(3, &[&[0], &[0; 256]])])
}

/// A block of PEM with lines of this length (0: one line) and this line end.
pub fn pem(label: &str, contents: &[u8], width: usize, end: &str) -> String {
    let body = BASE64_STANDARD.encode(contents);
    let width = if width == 0 { body.len() } else { width };
    let lines: Vec<&str> =
        body.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    format!("-----BEGIN {label}-----{end}{}{end}-----END {label}-----{end}", lines.join(end))
}

/// The certificate as PEM.
pub fn pem_of(key: &Key) -> String {
    pem("CERTIFICATE", &der_of(key), 64, "\n")
}

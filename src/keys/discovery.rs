//! Metadata documents: OpenID Connect Discovery 1.0 section 3 and RFC 8414 section 2.

use super::remote::DocumentError;
use crate::fetch::Endpoint;
use crate::json::{self, Json};

/// The key set that a document leads to. The clusters are the operator's: a document chooses between
/// its own host and the one other that the configuration names, and nothing else.
pub(super) fn jwks_endpoint(
    text: &[u8],
    document: &Endpoint,
    issuers: &[String],
    elsewhere: Option<&(String, String)>,
) -> Result<Endpoint, DocumentError> {
    let json = json::parse(json::without_byte_order_mark(text)).map_err(|_| DocumentError::Malformed)?;
    let object = json.as_object().ok_or(DocumentError::Malformed)?;
    let member = |name| object.get(name).and_then(Json::as_str);
    if object.contains("keys") && !object.contains("jwks_uri") {
        return Err(DocumentError::KeySet);
    }
    let (Some(issuer), Some(uri)) = (member("issuer"), member("jwks_uri")) else {
        return Err(DocumentError::Malformed);
    };
    if !issuers.iter().any(|own| own == issuer) {
        return Err(DocumentError::OtherIssuer { found: issuer.to_owned(), accepted: issuers.to_vec() });
    }
    let (scheme, authority, path) = Endpoint::split(uri).ok_or(DocumentError::BadUri)?;
    if document.scheme == "https" && scheme != "https" {
        return Err(DocumentError::BadUri);
    }
    let cluster = match elsewhere {
        _ if authority.eq_ignore_ascii_case(&document.authority) => &document.cluster,
        Some((host, cluster)) if authority.eq_ignore_ascii_case(host) => cluster,
        _ => return Err(DocumentError::OtherHost(authority)),
    };
    Ok(Endpoint { scheme, authority, path, cluster: cluster.clone(), timeout: document.timeout })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_document_never_leads_anywhere_but_where_the_operator_pointed() {
        let document = Endpoint {
            scheme: "https".to_owned(),
            authority: "idp.example".to_owned(),
            path: "/.well-known/openid-configuration".to_owned(),
            cluster: "idp".to_owned(),
            timeout: Duration::from_secs(5),
        };
        let issuers = ["https://idp.example/".to_owned()];
        let elsewhere = ("keys.example".to_owned(), "idp-keys".to_owned());
        let good = "https://idp.example/";
        let other =
            |found: &str| DocumentError::OtherIssuer { found: found.to_owned(), accepted: issuers.to_vec() };
        for (issuer, uri, expected) in [
            (good, "https://idp.example/k?v=1", Ok(("idp", "/k?v=1"))),
            (good, "https://IDP.example/k", Ok(("idp", "/k"))),
            (good, "https://keys.example", Ok(("idp-keys", "/"))),
            (good, "https://evil.example/k", Err(DocumentError::OtherHost("evil.example".to_owned()))),
            (
                good,
                "https://idp.example.evil/k",
                Err(DocumentError::OtherHost("idp.example.evil".to_owned())),
            ),
            (
                good,
                "https://idp.example:8443/k",
                Err(DocumentError::OtherHost("idp.example:8443".to_owned())),
            ),
            (good, "http://idp.example/k", Err(DocumentError::BadUri)),
            (good, "https://idp.example@evil/k", Err(DocumentError::BadUri)),
            (good, "/k", Err(DocumentError::BadUri)),
            (good, "file:///etc/passwd", Err(DocumentError::BadUri)),
            (good, "https://idp.example/k#f", Err(DocumentError::BadUri)),
            ("https://idp.example", "https://idp.example/k", Err(other("https://idp.example"))),
            ("https://evil/", "https://idp.example/k", Err(other("https://evil/"))),
        ] {
            // A byte order mark says nothing.
            let text = format!("\u{feff}{{\"issuer\":\"{issuer}\",\"jwks_uri\":\"{uri}\",\"other\":[1]}}");
            let found = jwks_endpoint(text.as_bytes(), &document, &issuers, Some(&elsewhere));
            let found = found.map(|endpoint| (endpoint.cluster, endpoint.path));
            assert_eq!(found, expected.map(|(c, p)| (c.to_owned(), p.to_owned())), "{issuer} {uri}");
        }
        for text in ["", "[]", "{}", r#"{"issuer":"https://idp.example/"}"#, r#"{"issuer":1,"jwks_uri":"x"}"#]
        {
            let found = jwks_endpoint(text.as_bytes(), &document, &issuers, None);
            assert_eq!(found, Err(DocumentError::Malformed), "{text}");
        }
        let found = jwks_endpoint(br#"{"keys":[]}"#, &document, &issuers, None);
        assert_eq!(found, Err(DocumentError::KeySet));
    }
}

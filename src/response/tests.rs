use super::*;
use crate::request::Request;

fn header<'r>(reply: &'r LocalReply, name: &str) -> Option<&'r str> {
    reply.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| &**value)
}

/// Every reply there can be, for each reason: what clients came to rely on.
#[test]
fn every_reply_is_the_same_to_the_byte() {
    let mut expected = include_str!("replies.txt").lines();
    for reason in Reason::ALL {
        for verified in [false, true] {
            let plain = Style::default();
            let other = Some(ResponseStatus::Forbidden);
            for (scope, status, style, grpc) in [
                (None, None, plain, false),
                (Some("a b"), None, Style { body: Body::Text, stripped: false }, false),
                (Some("a"), other, Style { body: Body::None, stripped: false }, false),
                (Some("a"), other, plain, true),
                (None, None, plain, true),
                (None, None, Style { body: Body::Text, stripped: true }, false),
            ] {
                let response = ErrorResponse {
                    verified,
                    scope: scope.map(str::to_owned),
                    retry_after: Some(7),
                    status,
                    style,
                    ..ErrorResponse::new(*reason, "corp")
                };
                let LocalReply { status, headers, body, grpc_status, details } = response.reply(grpc);
                let name = reason.as_str();
                let reply =
                    format!("{name} {verified} {status} {grpc_status:?} {headers:?} {body:?} {details}");
                assert_eq!(Some(reply.as_str()), expected.next());
            }
        }
    }
    assert_eq!(expected.next(), None);
}

#[test]
fn each_refusal_has_its_status_and_challenge() {
    use Reason::*;
    let realm = "Bearer realm=\"corp\"";
    for (reason, verified, scope, status, challenge, told) in [
        (TokenMissing, false, None, 401, Some(""), "token_missing"),
        (TokenMissing, false, Some("a b"), 401, Some(", scope=\"a b\""), "token_missing"),
        (
            Expired,
            false,
            Some("a"),
            401,
            Some(", error=\"invalid_token\", error_description=\"The token has expired.\""),
            "expired",
        ),
        (
            AudienceMismatch,
            false,
            None,
            401,
            Some(", error=\"invalid_token\", error_description=\"The token is not accepted.\""),
            "token_rejected",
        ),
        (
            AudienceMismatch,
            true,
            None,
            401,
            Some(", error=\"invalid_token\", error_description=\"The token was made for another service.\""),
            "audience_mismatch",
        ),
        (
            ScopeInsufficient,
            true,
            Some("a b"),
            403,
            Some(", error=\"insufficient_scope\", scope=\"a b\""),
            "scope_insufficient",
        ),
        (
            AuthenticationInsufficient,
            true,
            Some("a b"),
            401,
            Some(
                ", error=\"insufficient_user_authentication\", error_description=\"This request needs another or a newer log-in of the user.\", scope=\"a b\"",
            ),
            "authentication_insufficient",
        ),
        (ScopeInsufficient, true, None, 403, Some(", error=\"insufficient_scope\""), "scope_insufficient"),
        (ClaimMismatch, true, None, 403, Some(""), "claim_mismatch"),
        (TokenMultiple, false, None, 400, Some(", error=\"invalid_request\""), "token_multiple"),
        (PathAmbiguous, false, None, 400, None, "path_ambiguous"),
        (RequestAmbiguous, false, None, 400, None, "request_ambiguous"),
        (ConfigurationRefused, false, None, 503, None, "configuration_refused"),
        (RouteUnmatched, false, None, 403, None, "route_unmatched"),
        (KeysUnavailable, false, None, 503, None, "keys_unavailable"),
    ] {
        let response =
            ErrorResponse { verified, scope: scope.map(str::to_owned), ..ErrorResponse::new(reason, "corp") };
        let reply = response.reply(false);
        assert_eq!(reply.status, status, "{reason:?}");
        let expected = challenge.map(|rest| format!("{realm}{rest}"));
        assert_eq!(header(&reply, "www-authenticate"), expected.as_deref(), "{reason:?}");
        assert!(reply.body.contains(&format!("\"reason\":\"{told}\"")), "{reason:?}: {}", reply.body);
        assert_eq!(header(&reply, "retry-after").is_some(), status == 503);
        assert_eq!(reply.details, format!("portcullis_{}", reason.as_str()));
    }
}

#[test]
fn the_body_is_json_and_nothing_breaks_out_of_the_challenge() {
    let response = ErrorResponse::new(Reason::TokenMissing, "a\"b\\c\r\nd");
    let reply = response.reply(false);
    assert_eq!(header(&reply, "www-authenticate"), Some("Bearer realm=\"a\\\"b\\\\cd\""));
    let body = crate::json::parse(reply.body.as_bytes()).unwrap();
    assert_eq!(body.as_object().unwrap().get("status").map(ToString::to_string).as_deref(), Some("401"));
    let names: Vec<_> = body.as_object().unwrap().iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names, ["type", "title", "status", "detail", "reason"]);
}

#[test]
fn a_challenge_says_how_the_user_is_to_log_in_and_where_the_metadata_is() {
    const URL: &str = "https://a.example/.well-known/oauth-protected-resource/b";
    let step_up = |acr: &[&str], max_age| {
        let acr_values = acr.iter().map(|acr| (*acr).to_owned()).collect();
        Some(Rc::new(StepUp { acr_values, max_age }))
    };
    for (reason, step_up, url, scope, expected) in [
        (
            Reason::AuthenticationInsufficient,
            step_up(&["phr", "mfa"], Some(300)),
            None,
            None,
            ", acr_values=\"phr mfa\", max_age=\"300\"",
        ),
        (
            Reason::AuthenticationInsufficient,
            step_up(&["phr"], None),
            None,
            Some("a"),
            ", acr_values=\"phr\", scope=\"a\"",
        ),
        (
            Reason::AuthenticationInsufficient,
            step_up(&[], Some(1)),
            Some(URL),
            Some("a"),
            ", max_age=\"1\", scope=\"a\", resource_metadata=\"URL\"",
        ),
        (Reason::AuthenticationInsufficient, None, None, None, ""),
        (Reason::TokenMissing, None, Some(URL), None, ", resource_metadata=\"URL\""),
        (
            Reason::TokenMultiple,
            None,
            Some(URL),
            Some("a"),
            ", error=\"invalid_request\", resource_metadata=\"URL\"",
        ),
        (Reason::RoleInsufficient, None, Some(URL), Some("a"), ", resource_metadata=\"URL\""),
        (Reason::Expired, None, Some(URL), Some("a"), ", scope=\"a\", resource_metadata=\"URL\""),
        (Reason::Expired, None, None, Some("a"), "\"The token has expired.\""),
    ] {
        let response = ErrorResponse {
            verified: true,
            step_up,
            resource_metadata: url.map(Rc::from),
            scope: scope.map(str::to_owned),
            ..ErrorResponse::new(reason, "r")
        };
        let reply = response.reply(false);
        let challenge = header(&reply, "www-authenticate").unwrap_or_default();
        let expected = expected.replace("URL", URL);
        assert!(challenge.starts_with("Bearer realm=\"r\"") && challenge.ends_with(&expected), "{challenge}");
    }
    for reason in [Reason::PathAmbiguous, Reason::RouteUnmatched, Reason::KeysUnavailable] {
        let response =
            ErrorResponse { resource_metadata: Some(URL.into()), ..ErrorResponse::new(reason, "r") };
        assert_eq!(header(&response.reply(false), "www-authenticate"), None, "{reason:?}");
    }
}

#[test]
fn a_grpc_client_gets_a_grpc_status() {
    for (reason, status) in [
        (Reason::TokenMissing, 16),
        (Reason::RouteUnmatched, 7),
        (Reason::PathAmbiguous, 3),
        (Reason::RequestAmbiguous, 3),
        (Reason::ConfigurationRefused, 14),
        (Reason::KeysUnavailable, 14),
    ] {
        let reply = ErrorResponse::new(reason, "r").reply(true);
        assert_eq!(reply.grpc_status, Some(status));
        assert!(!reply.body.contains('{'));
    }
}

#[test]
fn a_grpc_client_learns_when_to_try_again() {
    for (seconds, grpc, pushback) in [
        (None, true, Some("1000")),
        (Some(0), true, Some("1000")),
        (Some(7), true, Some("7000")),
        (Some(10), true, Some("10000")),
        (Some(11), true, Some("-1")),
        (Some(u64::MAX), true, Some("-1")),
        (Some(7), false, None),
    ] {
        let response =
            ErrorResponse { retry_after: seconds, ..ErrorResponse::new(Reason::KeysUnavailable, "r") };
        let reply = response.reply(grpc);
        assert_eq!(header(&reply, "grpc-retry-pushback-ms"), pushback, "{seconds:?} {grpc}");
        assert!(header(&reply, "retry-after").is_some(), "{seconds:?} {grpc}");
    }
    let other = ErrorResponse::new(Reason::TokenMissing, "r").reply(true);
    assert_eq!(header(&other, "grpc-retry-pushback-ms"), None);
}

#[test]
fn a_page_of_a_listed_origin_may_read_the_answer() {
    const APP: (&str, &str) = ("origin", "https://app.example");
    let origins = ["https://app.example", "http://localhost:3000"].map(str::to_owned).to_vec();
    let cors = Cors::new(origins, &["x-request-id", "retry-after"].map(str::to_owned));
    for (fields, is_listed) in [
        (&[APP][..], true),
        (&[("origin", "http://localhost:3000")], true),
        (&[("origin", "https://app.example:443")], false),
        (&[("origin", "https://app.example.evil.example")], false),
        (&[("origin", "http://app.example")], false),
        (&[("origin", "https://app.example/")], false),
        (&[("origin", "null")], false),
        (&[("origin", "")], false),
        (&[], false),
        (&[APP, APP], false),
    ] {
        let bytes: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let cors = cors.fields(&Request::new(&bytes));
        assert_eq!(cors.is_some(), is_listed, "{fields:?}");
        for grpc in [false, true] {
            let plain = ErrorResponse::new(Reason::KeysUnavailable, "r");
            let without = plain.reply(grpc);
            let mut reply = ErrorResponse { cors: cors.clone(), ..plain }.reply(grpc);
            let more = reply.headers.split_off(without.headers.len());
            assert_eq!(reply, without, "{fields:?}: the rest is as it was");
            let more: Vec<_> = more.iter().map(|(name, value)| (*name, &**value)).collect();
            if !is_listed {
                assert_eq!(more, [], "{fields:?}");
                continue;
            }
            assert_eq!(
                more,
                [
                    ("access-control-allow-origin", fields[0].1),
                    ("vary", "origin"),
                    (
                        "access-control-expose-headers",
                        "www-authenticate, retry-after, grpc-status, grpc-message, x-request-id"
                    ),
                ],
                "{fields:?}"
            );
        }
    }
}

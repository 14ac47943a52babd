//! The step that takes a token from the request.

use super::flow::RequestFlow;
use crate::config::{Provider, RequireTls};
use crate::reason::{Detail, Reason, Rejected, excerpt};
use crate::token::{Credential, CredentialSource, Found, find, occupied};

impl<'r> RequestFlow<'_, 'r> {
    /// The credential in the places of a provider's tokens, if there is just one, it came in a way that is accepted,
    /// and it is not too long.
    pub(super) fn find_token(&self, provider: &Provider) -> Result<Credential<'r>, Rejected> {
        let credential = match find(&provider.locations, self.request) {
            Found::One(credential) => credential,
            Found::Nothing => return Err(Reason::TokenMissing.into()),
            Found::Malformed => {
                return Err(Reason::TokenMalformed.because("no space follows the authentication scheme"));
            }
            Found::Several => {
                let places = occupied(&provider.locations, self.request);
                return Err(Reason::TokenMultiple.explained(["it is in: ", &places].concat()));
            }
        };
        self.check_transport()?;
        if let Some(csrf) = provider.csrf.as_ref().filter(|_| credential.source == CredentialSource::Cookie)
            && !csrf.holds(self.request)
        {
            return Err(self.csrf_suspected());
        }
        let (bytes, limit) = (credential.token().len(), provider.policy.max_token_size);
        if bytes > limit {
            return Err(Reason::TokenTooLarge.with(Detail::Size { bytes, setting: "max_token_size", limit }));
        }
        Ok(credential)
    }

    /// Whether the token came the way that is asked for.
    fn check_transport(&self) -> Result<(), Rejected> {
        let insecure = |words| Err(Reason::TransportInsecure.because(words));
        match self.config.require_tls {
            RequireTls::None => Ok(()),
            RequireTls::Connection if self.request.properties().is_tls() => Ok(()),
            RequireTls::Connection => {
                insecure("require_tls is \"connection\", and the connection is not TLS")
            }
            RequireTls::ForwardedProto => {
                let mut protos = self.request.all("x-forwarded-proto");
                let https = protos.next().is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"));
                if https && protos.next().is_none() {
                    return Ok(());
                }
                insecure("require_tls is \"forwarded_proto\", and x-forwarded-proto is not one \"https\"")
            }
        }
    }

    fn csrf_suspected(&self) -> Rejected {
        let field = |name| match self.request.first(name) {
            Some(value) => format!("{name} is {}", excerpt(&String::from_utf8_lossy(value))),
            None => format!("{name} is absent"),
        };
        Reason::CsrfSuspected.explained([&field("sec-fetch-site"), ", ", &field("origin")].concat())
    }
}

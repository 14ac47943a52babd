//! `sender_constrained`, `dpop`, `mtls` of a provider, `requires_proof` of a rule and `one_time`: what the sender of a
//! token proves besides having it.

use std::rc::Rc;
use std::time::Duration;

use super::Variables;
use super::fields::{Fields, Item, join};
use super::provider::Provider;
use super::values::{DAY, HOUR, SECOND, secret};
use crate::crypto::{Algorithm, AlgorithmSet};
use crate::proof::{
    CertificateSource, Constraint, Dpop, Nonces, OneTime, Origin, RequiredProof, XfccElement,
};
use crate::rules::Rule;
use crate::token::{Location, ProviderId};

use super::problem::Report;

/// The algorithms of proofs where none are named.
const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::Es512,
    Algorithm::EdDsa,
    Algorithm::Ps256,
    Algorithm::Rs256,
];
/// The most entries that a table can be made for.
const MAX_ENTRIES: u64 = 1_000_000;
const ENTRIES: usize = 100_000;

/// What becomes of tokens that are bound to a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SenderConstrained {
    Reject,
    Ignore,
    Enforce,
}

/// Whether bound tokens are refused, and how their senders show what they are bound to, where that is asked for.
pub(super) fn read(fields: &mut Fields<'_>, environment: Variables<'_>) -> (bool, Option<Constraint>) {
    let words = [
        ("reject", SenderConstrained::Reject),
        ("ignore", SenderConstrained::Ignore),
        ("enforce", SenderConstrained::Enforce),
    ];
    let mode = fields.choice("sender_constrained", &words, SenderConstrained::Reject);
    let (dpop_item, mtls_item) = (fields.get("dpop"), fields.get("mtls"));
    let constraint = Constraint {
        dpop: dpop_item.as_ref().and_then(|item| dpop(item, environment)),
        mtls: mtls_item.as_ref().and_then(mtls),
    };
    match mode {
        SenderConstrained::Enforce => {
            if dpop_item.is_none() && mtls_item.is_none() {
                fields.report.error(
                    &join(&fields.path, "sender_constrained"),
                    "is \"enforce\", and nothing says how the sender shows its key; add \"dpop\", \"mtls\" or both",
                );
            }
            return (false, Some(constraint));
        }
        SenderConstrained::Reject | SenderConstrained::Ignore => {
            for item in [&dpop_item, &mtls_item].into_iter().flatten() {
                item.error("is for tokens that are bound to a key; write \"sender_constrained\": \"enforce\" beside it, or remove it");
            }
        }
    }
    if mode == SenderConstrained::Ignore {
        fields.report.warning(
            &fields.path,
            "\"sender_constrained\" is \"ignore\": a stolen token that is bound to a key passes without that key",
        );
    }
    (mode == SenderConstrained::Reject, None)
}

fn dpop(item: &Item<'_>, environment: Variables<'_>) -> Option<Dpop> {
    let mut fields = item.fields()?;
    let origins = fields.required(
        "origins",
        "list the origins of this service as clients write them, such as [\"https://api.example\"]",
    );
    let origins = origins.and_then(|item| self::origins(&item));
    let (algorithms, algs) = match fields.get("algorithms") {
        Some(item) => algorithms(&item),
        None => listed(&ALGORITHMS),
    };
    let max_age = fields.duration("max_age", SECOND, HOUR, Duration::from_secs(60));
    let clock_skew = Duration::from_secs(fields.whole("clock_skew_seconds", 0, 300).unwrap_or(5));
    let nonce = fields.get("nonce");
    let nonces = nonce.as_ref().map(|item| nonces(item, environment));
    let replay_entries = entries(&mut fields, "replay_entries");
    fields.finish();
    let nonces = match nonces {
        Some(nonces) => Some(nonces?),
        None => None,
    };
    Some(Dpop { origins: origins?, algorithms, algs, max_age, clock_skew, nonces, replay_entries })
}

fn origins(item: &Item<'_>) -> Option<Vec<Origin>> {
    let items = item.list()?;
    if items.is_empty() {
        item.error("must name at least one origin, such as \"https://api.example\"");
    }
    let mut origins: Vec<Origin> = Vec::new();
    for item in &items {
        match item.text().map(Origin::parse) {
            Some(Ok(origin)) if origins.contains(&origin) => item.error("is named above already; remove it"),
            Some(Ok(origin)) => origins.push(origin),
            Some(Err(message)) => item.error(message),
            None => {}
        }
    }
    Some(origins)
}

fn algorithms(item: &Item<'_>) -> (AlgorithmSet, String) {
    let items = item.list().unwrap_or_default();
    if items.is_empty() {
        item.error("must name at least one algorithm; leave the field out for the usual ones");
    }
    let mut named = Vec::new();
    for item in items {
        match item.string().map(|name| (name, Algorithm::from_name(name))) {
            Some((_, Some(algorithm))) if !algorithm.is_symmetric() => named.push(algorithm),
            Some(_) => {
                let known = Algorithm::ALL.iter().filter(|algorithm| !algorithm.is_symmetric());
                let known: Vec<_> = known.map(|algorithm| algorithm.name()).collect();
                item.error(format!(
                    "is not an algorithm for proofs, whose key is public; use one of {}",
                    known.join(", ")
                ));
            }
            None => {}
        }
    }
    listed(&named)
}

fn listed(algorithms: &[Algorithm]) -> (AlgorithmSet, String) {
    let set = algorithms.iter().fold(AlgorithmSet::EMPTY, |set, algorithm| set.with(*algorithm));
    let names: Vec<_> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
    (set, names.join(" "))
}

fn nonces(item: &Item<'_>, environment: Variables<'_>) -> Option<Nonces> {
    let mut fields = item.fields()?;
    let key = fields.required(
        "key",
        "name the variable with the secret that nonces are made with: { \"environment_variable\": \"DPOP_NONCE_KEY\" }",
    );
    let key = key.and_then(|item| secret(&item, environment));
    let lifetime = fields.duration("lifetime", SECOND, DAY, Duration::from_secs(300));
    fields.finish();
    Some(Nonces { key: key?, lifetime })
}

/// How many entries a table of what came must hold.
fn entries(fields: &mut Fields<'_>, name: &'static str) -> usize {
    let entries = fields.whole(name, 1, MAX_ENTRIES).and_then(|entries| usize::try_from(entries).ok());
    entries.unwrap_or(ENTRIES)
}

fn mtls(item: &Item<'_>) -> Option<CertificateSource> {
    let mut fields = item.fields()?;
    let certificate = fields.required(
        "certificate",
        "say where the client's certificate is: \"connection\", \"xfcc\" or \"client_cert\"",
    );
    let element = fields.get("xfcc_element").and_then(|item| match item.string()? {
        "first" => Some((item, XfccElement::First)),
        "last" => Some((item, XfccElement::Last)),
        _ => {
            item.error("must be one of \"first\", \"last\"; leave it out where the field has one element");
            None
        }
    });
    fields.finish();
    let certificate = certificate?;
    let source = match certificate.string()? {
        "connection" => CertificateSource::Connection,
        "xfcc" => CertificateSource::Xfcc(element.as_ref().map_or(XfccElement::Only, |(_, which)| *which)),
        "client_cert" => CertificateSource::ClientCert,
        _ => {
            certificate.error("must be one of \"connection\", \"xfcc\", \"client_cert\"");
            return None;
        }
    };
    if let (Some((item, _)), CertificateSource::Connection | CertificateSource::ClientCert) =
        (&element, source)
    {
        item.error("has an effect only with \"certificate\": \"xfcc\"; remove it");
    }
    if let Some(field) = source.field() {
        certificate.warning(format!(
            "takes the certificate from the header {field:?}: make sure that the proxy in front of this one writes it, and removes what clients send in it"
        ));
    }
    Some(source)
}

/// Where proofs are asked for, a place must take tokens of the scheme `DPoP` (RFC 9449 section 7.1).
pub(super) fn check_places(fields: &Fields<'_>, constraint: &Constraint, locations: &[Location]) {
    let takes = |location: &Location| matches!(location, Location::Header(place) if place.accepts_dpop());
    if constraint.dpop.is_some() && !locations.iter().any(takes) {
        fields.report.error(
            &join(&fields.path, "dpop"),
            "is for tokens of the scheme DPoP, and no entry of \"from_headers\" accepts it; add { \"name\": \"Authorization\", \"value_prefix\": \"DPoP \" } to \"from_headers\"",
        );
    }
}

/// `requires_proof` of a rule.
pub(super) fn required_proof(fields: &mut Fields<'_>, has_requires: bool) -> Option<RequiredProof> {
    let words = [
        ("any", Some(RequiredProof::Any)),
        ("dpop", Some(RequiredProof::Dpop)),
        ("mtls", Some(RequiredProof::Mtls)),
    ];
    let required = fields.choice("requires_proof", &words, None);
    if required.is_some() && !has_requires {
        fields.report.error(
            &join(&fields.path, "requires_proof"),
            "needs \"requires\": without a token there is nothing to prove; leave it out",
        );
    }
    required
}

/// `one_time` of a rule.
pub(super) fn is_one_time(fields: &mut Fields<'_>, has_requires: bool) -> bool {
    let one_time = fields.bool("one_time", false);
    if one_time && !has_requires {
        fields.report.error(
            &join(&fields.path, "one_time"),
            "needs \"requires\": without a token there is nothing to use once; leave it out",
        );
    }
    one_time
}

/// `one_time` of the whole.
pub(super) fn one_time(item: &Item<'_>) -> Option<OneTime> {
    let mut fields = item.fields()?;
    let usual = OneTime::default();
    let one_time = OneTime {
        entries: entries(&mut fields, "entries"),
        max_lifetime: fields.duration("max_lifetime", SECOND, DAY, usual.max_lifetime),
    };
    fields.finish();
    Some(one_time)
}

/// A rule that requires a proof names providers whose tokens can be bound so: another one's would all be refused.
pub(super) fn check_required(rules: &[Rule], providers: &[Rc<Provider>], report: &Report) {
    for rule in rules {
        let (Some(required), Some(requirement)) = (rule.requires_proof, &rule.requires) else { continue };
        let mut named: Vec<ProviderId> = Vec::new();
        requirement.collect_providers(&mut named);
        let way = match required {
            RequiredProof::Any => "",
            RequiredProof::Dpop => " with \"dpop\"",
            RequiredProof::Mtls => " with \"mtls\"",
        };
        let can = |provider: &&Rc<Provider>| match (&provider.constraint, required) {
            (None, _) => false,
            (Some(_), RequiredProof::Any) => true,
            (Some(constraint), RequiredProof::Dpop) => constraint.dpop.is_some(),
            (Some(constraint), RequiredProof::Mtls) => constraint.mtls.is_some(),
        };
        let named = named.iter().filter_map(|id| providers.get(id.0));
        for provider in named.filter(|provider| !can(provider)) {
            report.error(
                &join(&format!("rules[{}]", rule.id.0), "requires_proof"),
                format!(
                    "requires a proof that the provider {:?} does not accept: write \"sender_constrained\": \"enforce\"{way} there",
                    provider.name
                ),
            );
        }
    }
}

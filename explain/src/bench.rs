//! The filter's gate with everything at hand that it would fetch.

use std::rc::Rc;
use std::sync::Arc;

use portcullis::{
    Config, Effect, Environment, FetchError, Gate, HeaderField, HttpMethod, HttpResponse, KeySet,
    KeySetOptions, Keys, Outcome, Problem, Provider, ProviderId, Request, RuleMatch, Step, StreamId,
    Timestamp, TokenLocation,
};

use crate::explanation::Explanation;
use crate::forge::{Forge, TokenSketch, Usual};
use crate::request::{Properties, RequestSketch};

/// A configuration, and what its gate would fetch.
#[derive(Clone)]
pub struct Bench {
    config: Config,
    /// The providers that have keys here, by their places.
    given: Vec<bool>,
    introspection: Option<Vec<u8>>,
}

/// What a key set was taken for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeysGiven {
    /// The providers' keys are fetched: these are what was fetched.
    Fetched,
    /// The keys of every provider, whether or not the configuration has others.
    InPlaceOfAll,
}

/// What may stand for the value of an environment variable that nobody knows here: good for a secret, and as a key set in
/// one of the forms that there are.
const STAND_INS: [&str; 2] = [
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
    r#"{"k":"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----"}"#,
];

/// For how many seconds a token is good that says nothing else.
const LIFETIME: u64 = 300;

/// How often a request may wait for something else before it is given up.
const MAX_WAITS: usize = 16;

impl Bench {
    /// A gate of the bytes of a plugin configuration. An environment variable that `environment` does not have is one
    /// whose value nobody knows here.
    ///
    /// # Errors
    /// What the filter would say of it.
    pub fn new(bytes: &[u8], environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<Problem>> {
        let config = Config::parse(bytes, environment)?;
        let given = vec![false; config.providers.len()];
        Ok(Self { config, given, introspection: None })
    }

    /// The same, with something that stands for the value of each variable that `environment` does not have.
    ///
    /// # Errors
    /// What the filter would say of it, whatever those values are.
    pub fn with_stand_ins(
        bytes: &[u8],
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<Problem>> {
        let read = |stand_in: &str| {
            Self::new(bytes, &|name| environment(name).or_else(|| Some(stand_in.to_owned())))
        };
        let [first, others @ ..] = STAND_INS;
        read(first).or_else(|problems| others.iter().find_map(|other| read(other).ok()).ok_or(problems))
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The keys that a provider publishes; without a name, every provider whose keys these can be.
    ///
    /// # Errors
    /// Why it cannot be used, as the filter would say it.
    pub fn set_keys(&mut self, provider: Option<&str>, keys: &[u8], given: KeysGiven) -> Result<(), String> {
        let mut fits = false;
        for (own, is_given) in self.config.providers.iter_mut().zip(&mut self.given) {
            let is_meant = provider.is_none_or(|name| own.name == name);
            let set = match (&own.keys, given) {
                _ if !is_meant => continue,
                (Keys::None, _) | (Keys::Local(_), KeysGiven::Fetched) => continue,
                (Keys::Local(_), KeysGiven::InPlaceOfAll) => KeySet::parse(keys, local_reading(own)),
                (Keys::Remote(remote), _) => {
                    let reading = KeySetOptions {
                        format: remote.format,
                        max_keys: remote.max_keys,
                        symmetric: given == KeysGiven::InPlaceOfAll,
                    };
                    KeySet::parse(keys, reading).map(|set| set.trying_without_kid(remote.tried_without_kid))
                }
            };
            let set = set.map_err(|error| error.to_string())?;
            Rc::make_mut(own).keys = Keys::Local(Arc::new(set));
            (*is_given, fits) = (true, true);
        }
        match (fits, provider) {
            (true, _) => Ok(()),
            (false, Some(name)) => Err(format!("there is no provider {name:?} whose keys are fetched")),
            (false, None) => Err("no provider of this configuration fetches keys".to_owned()),
        }
    }

    /// What every introspection endpoint answers (RFC 7662 section 2.2): a JSON document.
    pub fn set_introspection(&mut self, answer: Vec<u8>) {
        self.introspection = Some(answer);
    }

    /// Which provider's token the rule of a request asks for, and for which audience; where it asks for none, the first
    /// provider.
    fn wanted(&self, sketch: &RequestSketch) -> Option<(ProviderId, Option<String>)> {
        let fields = sketch.fields();
        let fields: Vec<HeaderField<'_>> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        let properties = Properties(sketch);
        let request = Request::new(&fields).within(&properties);
        let view = self.config.rules.view(&request);
        let rule = match self.config.rules.find(&view) {
            RuleMatch::Rule(rule) => Some(rule),
            RuleMatch::Ambiguous(..) | RuleMatch::Nothing => None,
        };
        let named = sketch.route.rule.as_deref().and_then(|name| self.config.rules.named(name));
        let requirement =
            sketch.route.requirement.as_deref().and_then(|name| self.config.requirements.get(name));
        let rule = requirement.cloned().or(named).or(rule);
        let mut demands = Vec::new();
        if let Some(requirement) = rule.as_ref().and_then(|rule| rule.requires.as_ref()) {
            requirement.collect_demands(&mut demands);
        }
        let resources = self.config.protected_resources.as_ref();
        let resource = resources.and_then(|resources| resources.find(&view).ok().flatten());
        let of_resource = resource.and_then(|resource| resource.audiences.as_ref()?.first().cloned());
        let (id, audiences) = match demands.first() {
            Some((id, audiences)) => (*id, audiences.and_then(<[String]>::first).cloned()),
            None => (ProviderId(0), None),
        };
        self.config.provider(id)?;
        Some((id, audiences.or(of_resource)))
    }

    /// Signs a token for a request as a provider would, the one that its rule asks for unless one is named, puts it where
    /// that takes tokens, and lets every provider publish the keys of the forge. Gives the token.
    ///
    /// # Errors
    /// A provider that is not there, one whose tokens come nowhere that is known here, or an `alg` that nobody here signs
    /// with.
    pub fn carry(
        &mut self,
        sketch: &mut RequestSketch,
        token: &TokenSketch,
        provider: Option<&str>,
        (forge, now): (&mut Forge, u64),
    ) -> Result<String, String> {
        let wanted = self.wanted(sketch);
        let named = provider.map(|name| {
            let mut own = self.config.providers.iter().filter(|own| own.name == name);
            let id = own.next().map(|own| own.id).ok_or_else(|| format!("there is no provider {name:?}"))?;
            let audience = wanted
                .as_ref()
                .filter(|(wanted, _)| *wanted == id)
                .and_then(|(_, audience)| audience.clone());
            Ok::<_, String>((id, audience))
        });
        let (id, audience) = named.transpose()?.or(wanted).ok_or("the configuration has no provider")?;
        let own = self.config.provider(id).map(Rc::clone).ok_or("the configuration has no provider")?;
        let policy = &own.policy;
        let types = &policy.token_types;
        let lifetime = policy.max_lifetime.map_or(LIFETIME, |most| most.as_secs().min(LIFETIME));
        let usual = Usual {
            issuer: policy.issuers.iter().find_map(portcullis::Issuer::exact).map(str::to_owned),
            audience: audience.or_else(|| policy.audiences.first().cloned()),
            lifetime,
            typ: match types.names.iter().any(|name| name == "jwt")
                || (types.absent && types.names.is_empty())
            {
                true => "JWT".to_owned(),
                false => types.names.first().cloned().unwrap_or_else(|| "JWT".to_owned()),
            },
        };
        let algorithms: Vec<&str> = policy.algorithms.iter().map(portcullis::Algorithm::name).collect();
        let signed =
            forge.sign(&own.name, &algorithms, &usual, token, now).map_err(|error| error.to_string())?;
        self.place(&own, &signed, sketch)?;
        self.publish(forge, true)?;
        Ok(signed)
    }

    /// Lets every provider whose tokens are signed publish the keys of the forge: those that fetch keys, and with
    /// `in_place_of_local` those, too, that have them in the configuration.
    ///
    /// # Errors
    /// Keys that the filter does not take: a mistake of this program.
    pub fn publish(&mut self, forge: &mut Forge, in_place_of_local: bool) -> Result<(), String> {
        let names: Vec<(String, bool)> = self
            .config
            .providers
            .iter()
            .filter(|own| match own.keys {
                Keys::None => false,
                Keys::Local(_) => in_place_of_local,
                Keys::Remote(_) => true,
            })
            .map(|own| {
                (own.name.clone(), own.policy.algorithms.iter().any(portcullis::Algorithm::is_symmetric))
            })
            .collect();
        for (name, symmetric) in names {
            let keys = forge.key_set(&name, symmetric).to_string();
            self.set_keys(Some(&name), keys.as_bytes(), KeysGiven::InPlaceOfAll)?;
        }
        Ok(())
    }

    /// Puts a token where a provider takes it: in the first of its places.
    fn place(&self, provider: &Provider, token: &str, sketch: &mut RequestSketch) -> Result<(), String> {
        let written = provider.locations.iter().find_map(|location| {
            let (name, value) = match location {
                TokenLocation::Header(place) => (place.name(), [place.bearer_prefix()?, token].concat()),
                TokenLocation::Subprotocols(place) => (location.header_name()?, place.offering(token)),
                TokenLocation::Cookie(name) => ("cookie", [name, "=", token].concat()),
                TokenLocation::Param(name) => {
                    let sign = if sketch.path.contains('?') { "&" } else { "?" };
                    sketch.path.push_str(&[sign, name, "=", token].concat());
                    return Some(None);
                }
            };
            Some(Some((name.to_owned(), value)))
        });
        match written {
            Some(field) => {
                sketch.headers.extend(field);
                Ok(())
            }
            None => Err(format!("provider {:?} takes tokens in no place that is known here", provider.name)),
        }
    }

    /// What the gate does with a request at this time. `secrets` are texts that are not shown: the tokens that were put
    /// into it.
    pub fn explain(&self, sketch: &RequestSketch, now: Timestamp, secrets: &[String]) -> Explanation {
        let mut config = self.config.clone();
        let is_polled = !config.revocation.lists.is_empty() || !config.revocation.status_lists.is_empty();
        config.revocation.lists.clear();
        config.revocation.status_lists.clear();
        let mut gate = Gate::new(config, Environment::alone(1), now);
        gate.keep_steps();
        let fields = sketch.fields();
        let fields: Vec<HeaderField<'_>> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        let properties = Properties(sketch);
        let request = Request::new(&fields).within(&properties);
        let (outcome, steps) = self.run(&mut gate, &request, now);
        let mut notes = Vec::new();
        let is_lacking =
            |(own, given): &(&Rc<Provider>, &bool)| matches!(own.keys, Keys::Remote(_)) && !**given;
        for (own, _) in self.config.providers.iter().zip(&self.given).filter(is_lacking) {
            notes.push(format!("the keys of provider {:?} are fetched, and were not given here", own.name));
        }
        if is_polled {
            notes.push("revocation lists are not fetched here: taken as empty".to_owned());
        }
        Explanation::new(&gate, &request, sketch, outcome, steps, notes, secrets)
    }

    /// Decides, and answers what is fetched with what is at hand.
    fn run(&self, gate: &mut Gate, request: &Request<'_>, now: Timestamp) -> (Outcome, Vec<Step>) {
        const STREAM: StreamId = StreamId(1);
        let mut outcome = gate.decide(STREAM, request, now);
        for _ in 0..MAX_WAITS {
            if !matches!(outcome, Outcome::Wait) {
                break;
            }
            gate.tick(now);
            let mut woken = None;
            while let Some(effect) = gate.next_effect() {
                match effect {
                    Effect::Fetch { lookup, request } => {
                        let cluster = request.endpoint.cluster;
                        gate.fetched(lookup, self.answer(request.method, cluster), now);
                    }
                    Effect::Wake(_, waited) => woken = Some(waited),
                    Effect::Close(_) | Effect::Log(..) => {}
                }
            }
            if woken.is_none() {
                gate.release_all();
                continue;
            }
            gate.take_steps();
            outcome = woken.map_or(Outcome::Wait, |waited| gate.resume(STREAM, waited, request, now));
        }
        (outcome, gate.take_steps())
    }

    /// What an endpoint answers: introspection is asked by POST, everything else by GET.
    fn answer(&self, method: HttpMethod, cluster: String) -> Result<HttpResponse, FetchError> {
        match (&self.introspection, method) {
            (Some(answer), HttpMethod::Post) => Ok(HttpResponse {
                status: 200,
                cache_control: None,
                etag: None,
                last_modified: None,
                retry_after: None,
                content_encoding: None,
                local_reply: None,
                body: answer.clone(),
            }),
            _ => Err(FetchError::NotSent { cluster }),
        }
    }
}

fn local_reading(provider: &Provider) -> KeySetOptions {
    KeySetOptions {
        format: portcullis::KeyFormat::Jwks,
        max_keys: KeySet::MAX_KEYS,
        symmetric: provider.policy.algorithms.iter().any(portcullis::Algorithm::is_symmetric),
    }
}

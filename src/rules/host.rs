//! Conditions on the host that a request is for.

use crate::request::{Authority, Held};

/// A condition on the host, compared without case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostMatch {
    /// The name.
    pub name: HostName,
    /// The port.
    pub port: HostPort,
}

/// The name of a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostName {
    /// This one.
    Exact(String),
    /// One that ends with this text, which begins with a dot, and is longer: `*.example.com`.
    Under(String),
}

/// What the operator vouches for about ports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostPort {
    /// Nothing: `name`. Envoy and others may take `name:8080` for another host, or for this one.
    None,
    /// `name:8080` is this host.
    This(String),
    /// `name` is this host with any port, and with none.
    Any,
}

impl HostMatch {
    /// Whether one of these is the host of a request.
    pub(super) fn any_held(hosts: &[Self], authority: Option<&Authority<'_>>) -> Held {
        let Some(authority) = authority else { return Held::Never };
        hosts.iter().map(|host| host.held(authority)).fold(Held::Never, Held::or)
    }

    fn held(&self, authority: &Authority<'_>) -> Held {
        let name = match &self.name {
            HostName::Exact(own) => authority.host() == own,
            HostName::Under(suffix) => {
                authority.host().len() > suffix.len() && authority.host().ends_with(suffix.as_str())
            }
        };
        let port = match (&self.port, authority.port()) {
            (HostPort::None, None) | (HostPort::Any, _) => Held::Always,
            (HostPort::None, Some(_)) => Held::Depends,
            (HostPort::This(own), port) => Held::from(port == Some(own)),
        };
        let dot = if authority.ends_with_dot() { Held::Depends } else { Held::Always };
        Held::from(name) & port & dot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_met_with_the_ports_that_the_operator_names() {
        use Held::{Always, Depends, Never};
        let exact = |port| HostMatch { name: HostName::Exact("a.example".to_owned()), port };
        let this = || HostPort::This("8080".to_owned());
        for (authority, none, own, any) in [
            ("a.example", Always, Never, Always),
            ("A.Example", Always, Never, Always),
            ("a.example:8080", Depends, Always, Always),
            ("a.example:8081", Depends, Never, Always),
            ("a.example:80", Depends, Never, Always),
            ("a.example.", Depends, Never, Depends),
            ("a.example.:8080", Depends, Depends, Depends),
            ("b.example", Never, Never, Never),
            ("b.example:8080", Never, Never, Never),
            ("xa.example", Never, Never, Never),
        ] {
            let authority = Authority::parse(authority.as_bytes()).unwrap();
            let held = [exact(HostPort::None), exact(this()), exact(HostPort::Any)]
                .map(|host| host.held(&authority));
            assert_eq!(held, [none, own, any], "{authority:?}");
        }
        let both = [exact(HostPort::None), exact(this())];
        let authority = Authority::parse(b"a.example:8080").unwrap();
        assert_eq!(HostMatch::any_held(&both, Some(&authority)), Always);
        assert_eq!(HostMatch::any_held(&both, None), Never);
    }

    #[test]
    fn a_wildcard_takes_at_least_one_label() {
        let under = HostMatch { name: HostName::Under(".example.com".to_owned()), port: HostPort::None };
        for (host, expected) in [
            ("a.example.com", Held::Always),
            ("a.b.example.com", Held::Always),
            ("example.com", Held::Never),
            ("aexample.com", Held::Never),
            ("a.example.com.evil.com", Held::Never),
            ("a.example.com:8080", Held::Depends),
        ] {
            let authority = Authority::parse(host.as_bytes()).unwrap();
            assert_eq!(under.held(&authority), expected, "{host}");
        }
    }
}

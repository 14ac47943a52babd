//! What becomes of a configuration that cannot be used.
//!
//! Envoy's own way is to refuse the listener or the update that brings it. Where routes arrive by another way and name
//! a filter that is then not there, they are served without it: there the filter accepts, and serves by the last good
//! configuration of the same plugin in this proxy, or refuses every request.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::capabilities::{ENVIRONMENT, Missing, PROPERTY};
use super::hostcalls;
use super::properties;
use super::wasi;
use crate::config::Problem;

/// Who answers for a configuration that cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OnRefusal {
    /// The host: it refuses what brings the configuration.
    Reject,
    /// This filter: it keeps what it has, or refuses every request.
    Deny,
}

/// The environment variable that says so.
const VARIABLE: &str = "PORTCULLIS_REFUSED_CONFIGURATION";

/// How the names of Envoy Gateway's VMs begin.
const ENVOY_GATEWAY: &str = "envoyextensionpolicy/";

/// Whether Envoy Gateway made this VM: each route turns on the policies that are for it, and others have others.
pub(super) fn is_of_envoy_gateway() -> bool {
    properties::text(b"plugin_vm_id").is_some_and(|vm_id| vm_id.starts_with(ENVOY_GATEWAY))
}

/// The name of Envoy Gateway's policy that made this VM.
pub(super) fn policy() -> Option<String> {
    policy_of(&properties::text(b"plugin_vm_id")?).map(str::to_owned)
}

/// `envoyextensionpolicy/NAMESPACE/POLICY/wasm/N`
fn policy_of(vm_id: &str) -> Option<&str> {
    vm_id.strip_prefix(ENVOY_GATEWAY)?.split('/').nth(1).filter(|policy| !policy.is_empty())
}

/// By the name of this VM and its environment; and what is wrong with the latter. Where the host gives either not,
/// routes might be open behind a refused listener: this filter answers for it.
pub(super) fn on_refusal(missing: Missing) -> (OnRefusal, Option<Problem>) {
    let otherwise = match is_of_envoy_gateway() || missing.has(&PROPERTY) || missing.has(&ENVIRONMENT) {
        true => OnRefusal::Deny,
        false => OnRefusal::Reject,
    };
    let word = wasi::variable(VARIABLE).map(|word| word.unwrap_or_else(|_| "\u{fffd}".to_owned()));
    decide(otherwise, word.as_deref())
}

fn decide(otherwise: OnRefusal, word: Option<&str>) -> (OnRefusal, Option<Problem>) {
    match word {
        None => (otherwise, None),
        Some("deny") => (OnRefusal::Deny, None),
        Some("reject") => (OnRefusal::Reject, None),
        Some(word) => {
            let word: String = word.chars().take(32).collect();
            let message = format!(
                "is {word:?} in the environment of the VM; write \"deny\" (accept a configuration that cannot be used, keep the last good one, else answer 503) or \"reject\" (let Envoy refuse it), or leave it out"
            );
            (otherwise, Some(Problem { path: VARIABLE.to_owned(), message }))
        }
    }
}

/// A plugin of this VM: its name and its root id, which stay when its configuration changes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) struct PluginName {
    name: String,
    root_id: String,
}

impl PluginName {
    /// The plugin that is being configured; none where the host does not say which it is, so that another plugin of this
    /// VM could be taken for it.
    pub(super) fn current() -> Option<Self> {
        let [name, root_id] = [properties::text(b"plugin_name")?, properties::text(b"plugin_root_id")?];
        Some(Self { name, root_id })
    }

    /// The key of its last good configuration in the shared data.
    fn shared_key(&self) -> String {
        let Self { name, root_id } = self;
        format!("portcullis.configuration.{}.{name}.{root_id}", name.len())
    }
}

thread_local! {
    /// The text of each plugin's last good configuration. It outlives the plugin's root context: Envoy makes a new one
    /// for each configuration, in the same VM as long as the old one serves.
    static GOOD: RefCell<BTreeMap<PluginName, Rc<[u8]>>> = const { RefCell::new(BTreeMap::new()) };
}

thread_local! {
    /// How the names of the gauge end that each plugin ever set in this VM: what was never refused has no metric.
    static SHOWN: RefCell<BTreeMap<PluginName, BTreeSet<String>>> = const { RefCell::new(BTreeMap::new()) };
}

/// The gauges that a plugin has to set, by how their names end, whose configuration was taken or refused under
/// `suffix`.
pub(super) fn gauges(plugin: &PluginName, suffix: &str, refused: bool) -> Vec<(String, bool)> {
    SHOWN.with_borrow_mut(|shown| {
        if refused {
            shown.entry(plugin.clone()).or_default().insert(suffix.to_owned());
        }
        let own = shown.get(plugin).into_iter().flatten();
        own.map(|own| (own.clone(), refused && own == suffix)).collect()
    })
}

thread_local! {
    /// The root context that each plugin's last configuration came to. Those before it serve on until their last
    /// request has gone, and no longer speak for the plugin.
    static NEWEST: RefCell<BTreeMap<PluginName, u32>> = const { RefCell::new(BTreeMap::new()) };
}

/// A configuration of a plugin has come to a root context.
pub(super) fn configured(plugin: PluginName, root: u32) {
    NEWEST.with_borrow_mut(|newest| newest.insert(plugin, root));
}

/// Whether the last configuration of a plugin came to this root context.
pub(super) fn is_newest(plugin: &PluginName, root: u32) -> bool {
    NEWEST.with_borrow(|newest| newest.get(plugin) == Some(&root))
}

/// Keeps a configuration that serves. Under Envoy Gateway also for other VMs of the same policy, which Envoy makes where
/// anything else of the plugin changes: nobody but that policy's VMs can write there, and it goes with the last of them.
/// Elsewhere VMs of other plugins may share the name, so that what is there could be anybody's.
pub(super) fn keep(plugin: PluginName, text: &[u8]) {
    if is_of_envoy_gateway()
        && let Err(status) = hostcalls::set_shared_data(&plugin.shared_key(), text, 0)
    {
        log::debug!("another virtual machine will not find this configuration: {status:?}");
    }
    GOOD.with_borrow_mut(|good| good.insert(plugin, Rc::from(text)));
}

/// The last good configuration of a plugin, of whichever VM where they share it: a VM that is used again after another one
/// would only know an older one.
pub(super) fn last_good(plugin: &PluginName) -> Option<Rc<[u8]>> {
    let shared = || hostcalls::shared_data(&plugin.shared_key()).ok().map(|(text, _)| Rc::from(text));
    let own = || GOOD.with_borrow(|good| good.get(plugin).map(Rc::clone));
    is_of_envoy_gateway().then(shared).flatten().or_else(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_known_by_the_name_of_its_vm() {
        for (vm_id, expected) in [
            ("envoyextensionpolicy/shop/portcullis-orders/wasm/0", Some("portcullis-orders")),
            ("envoyextensionpolicy/shop/orders", Some("orders")),
            ("envoyextensionpolicy/shop//wasm/0", None),
            ("envoyextensionpolicy/shop", None),
            ("envoyextensionpolicy", None),
            ("x/envoyextensionpolicy/shop/orders/wasm/0", None),
            ("", None),
        ] {
            assert_eq!(policy_of(vm_id), expected, "{vm_id}");
        }
    }

    #[test]
    fn a_gauge_under_a_former_name_is_set_back() {
        let plugin = PluginName { name: "a".to_owned(), ..PluginName::default() };
        let gauge = |suffix: &str, value| (suffix.to_owned(), value);
        assert_eq!(gauges(&plugin, ".instance.old", false), []);
        assert_eq!(gauges(&plugin, ".instance.old", true), [gauge(".instance.old", true)]);
        let both = [gauge(".instance.new", true), gauge(".instance.old", false)];
        assert_eq!(gauges(&plugin, ".instance.new", true), both);
        let none = [gauge(".instance.new", false), gauge(".instance.old", false)];
        assert_eq!(gauges(&plugin, ".instance.third", false), none);
        assert_eq!(gauges(&PluginName::default(), ".instance.old", false), []);
    }

    #[test]
    fn the_word_decides_and_then_what_is_known_of_the_vm() {
        use OnRefusal::{Deny, Reject};
        for (otherwise, word, expected, sound) in [
            (Deny, None, Deny, true),
            (Deny, Some("deny"), Deny, true),
            (Deny, Some("reject"), Reject, true),
            (Deny, Some("Reject"), Deny, false),
            (Deny, Some(""), Deny, false),
            (Reject, None, Reject, true),
            (Reject, Some("deny"), Deny, true),
            (Reject, Some("reject"), Reject, true),
            (Reject, Some("denied"), Reject, false),
            (Reject, Some(" deny"), Reject, false),
            (Reject, Some(""), Reject, false),
        ] {
            let (decided, problem) = decide(otherwise, word);
            assert_eq!((decided, problem.is_none()), (expected, sound), "{otherwise:?} {word:?}");
            if let Some(problem) = problem {
                assert!(problem.message.contains("\"deny\"") && problem.message.contains("\"reject\""));
            }
        }
    }
}

//! The module looks up at load what not every Envoy has: the tests' own Envoy exports it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Nothing else: with the whole workspace the plugin's half of the core is linked, whose host is not here.
    println!("cargo::rustc-link-arg-tests=-Wl,--export-dynamic-symbol=envoy_dynamic_module_callback_*");
}

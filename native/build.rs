//! The module looks up at load what not every Envoy has: the tests' own Envoy exports it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-tests=-rdynamic");
}

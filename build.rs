//! How the program is linked where it is released: what is the same is there once, and what the loader has to move when
//! the program starts is told in a tenth of the bytes (it reads them all, so that they count as memory of the pod).
//!
//! Only for the linker that Rust itself brings, which is the default of this target alone; elsewhere the program is some
//! MiB larger. The second takes glibc 2.36 or newer where the program runs (Debian 12, Ubuntu 24.04; the image brings its own).

use std::env::var_os;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| var_os(name).is_some_and(|there| there == value);
    if is("PROFILE", "release") && is("TARGET", "x86_64-unknown-linux-gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

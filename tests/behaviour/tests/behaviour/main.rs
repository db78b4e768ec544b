//! What the running operator does, against real servers: `cargo test -p keyferry-behaviour-tests [-- NAME]`.
//!
//! One program, so that all tests share one testbed. Each has a namespace and an operator of its own, and ends with a
//! search for secret values in all that anybody can see.

use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

/// A test, ready to run.
type Test = (&'static str, fn() -> Pin<Box<dyn Future<Output = ()>>>);

/// The tests of a module. One that is not named here is dead code, which does not compile without a warning.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub const TESTS: &[crate::Test] = &[$((stringify!($name), || Box::pin($name()))),*];
    };
}

// In reading order: from what is promised daily to what is rare.
mod refresh;
mod drift;
mod recovery;
mod policies;
mod ownership;
mod bad_input;
mod generators;
mod pushes;
mod leases;
mod engines;
mod manifests;
mod credentials;
mod cluster_stores;
mod copies;
mod crash;
mod push_crash;
mod generator_crash;
mod revocation;
mod outage;
mod lifecycle;
mod restarts;
mod events;
mod economy;
mod leaks;
mod remains;
mod sync;
mod sealed;
mod desk;
mod audit;

/// Tests wait most of the time, for intervals and for each other's servers.
fn at_once() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).saturating_mul(4).min(10)
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert_with(at_once);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let runtime = Arc::new(runtime);
    let modules = [
        ("refresh", refresh::TESTS),
        ("drift", drift::TESTS),
        ("recovery", recovery::TESTS),
        ("policies", policies::TESTS),
        ("ownership", ownership::TESTS),
        ("bad_input", bad_input::TESTS),
        ("generators", generators::TESTS),
        ("pushes", pushes::TESTS),
        ("leases", leases::TESTS),
        ("engines", engines::TESTS),
        ("manifests", manifests::TESTS),
        ("credentials", credentials::TESTS),
        ("cluster_stores", cluster_stores::TESTS),
        ("copies", copies::TESTS),
        ("crash", crash::TESTS),
        ("push_crash", push_crash::TESTS),
        ("generator_crash", generator_crash::TESTS),
        ("revocation", revocation::TESTS),
        ("outage", outage::TESTS),
        ("lifecycle", lifecycle::TESTS),
        ("restarts", restarts::TESTS),
        ("events", events::TESTS),
        ("economy", economy::TESTS),
        ("leaks", leaks::TESTS),
        ("remains", remains::TESTS),
        ("sync", sync::TESTS),
        ("sealed", sealed::TESTS),
        ("desk", desk::TESTS),
        ("audit", audit::TESTS),
    ];
    let mut trials = Vec::new();
    for (module, tests) in modules {
        for (name, test) in tests {
            let runtime = runtime.clone();
            let trial = Trial::test(format!("{module}::{name}"), move || {
                runtime.block_on(test());
                Ok(())
            });
            trials.push(trial);
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

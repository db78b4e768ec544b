//! Volumes as the kubelet asks for them: `cargo test -p keyferry-node-driver-tests [-- NAME]`. The API server, its tokens and OpenBao
//! are real, and so is the memory that is mounted: it takes root. One program, so that all tests share one testbed.

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

// In reading order: what all drivers are asked, a volume's beginning, with logins of clouds, what changes meanwhile, how it ends, who else is there; and what
// another driver asks.
mod sanity;
mod mount;
mod clouds;
mod refresh;
mod gone;
mod leases;
mod crash;
mod crowd;
mod operator;
mod provider;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(4);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let runtime = Arc::new(runtime);
    let modules = [
        ("sanity", sanity::TESTS),
        ("mount", mount::TESTS),
        ("clouds", clouds::TESTS),
        ("refresh", refresh::TESTS),
        ("gone", gone::TESTS),
        ("leases", leases::TESTS),
        ("crash", crash::TESTS),
        ("crowd", crowd::TESTS),
        ("operator", operator::TESTS),
        ("provider", provider::TESTS),
    ];
    let trials = modules.into_iter().flat_map(|(module, tests)| {
        let runtime = runtime.clone();
        tests.iter().map(move |(name, test)| {
            let runtime = runtime.clone();
            Trial::test(format!("{module}::{name}"), move || {
                runtime.block_on(test());
                Ok(())
            })
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

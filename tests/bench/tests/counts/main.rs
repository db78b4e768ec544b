//! What is promised in numbers, counted by the double and by the API server itself:
//! `cargo test -p keyferry-bench --test counts [-- NAME]`.
//!
//! One test at a time, each on a control plane of its own: whoever counts must be alone.

use std::pin::Pin;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

// In reading order: from what is promised daily to what is rare.
mod stage;
mod noise;

mod economy;
mod copies;
mod pace;
mod urgency;
mod trust;
mod freshness;
mod bad_keys;
mod no_batch;
mod faults;
mod shards;

/// A test, ready to run.
type Test = (&'static str, fn() -> Pin<Box<dyn Future<Output = ()>>>);

const TESTS: &[Test] = &[
    ("economy::refreshes_share_calls_and_idle_ones_leave_secrets_alone", || Box::pin(economy::aws())),
    ("economy::parameters_travel_by_ten", || Box::pin(economy::ssm())),
    ("copies::copies_of_one_key_are_one_call", || Box::pin(copies::copies_of_one_key_are_one_call())),
    ("pace::what_is_applied_at_fifty_a_second_shares_calls_and_waits_little", || Box::pin(pace::test())),
    ("urgency::what_somebody_waits_for_is_ready_within_a_second", || Box::pin(urgency::test())),
    ("trust::who_logs_in_as_itself_never_sees_the_others_value", || Box::pin(trust::test())),
    ("freshness::a_forced_sync_reads_what_was_just_written", || Box::pin(freshness::test())),
    ("bad_keys::four_of_a_hundred_fail_alone_and_say_why", || Box::pin(bad_keys::test())),
    ("no_batch::secrets_are_read_singly_where_iam_knows_no_batch", || Box::pin(no_batch::secrets_manager())),
    ("no_batch::parameters_are_read_singly_where_iam_knows_no_batch", || Box::pin(no_batch::parameter_store())),
    ("faults::a_store_in_trouble_of_every_kind", || Box::pin(faults::store())),
    ("faults::an_api_server_that_restarts_and_an_etcd_that_pauses", || Box::pin(faults::control_plane())),
    ("faults::killed_again_and_again", || Box::pin(faults::kills())),
    ("faults::two_at_once", || Box::pin(faults::two_at_once())),
    ("shards::each_is_one_replicas_whoever_comes_and_goes", || Box::pin(shards::test())),
    ("shards::one_store_is_asked_by_all_replicas_each_for_its_part", || Box::pin(shards::one_store())),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let run = |test: fn() -> Pin<Box<dyn Future<Output = ()>>>| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test());
        Ok(())
    };
    let trials = TESTS.iter().map(|(name, test)| Trial::test(*name, move || run(*test))).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

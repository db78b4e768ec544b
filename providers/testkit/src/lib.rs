//! One behaviour suite for every store: what [`Provider`] promises, checked against a real backend and gated by the
//! capabilities that the store declares.
//!
//! A store gives a [`Fixture`] and calls [`suite`] in a test. A trial that fails panics; the values that the suite writes
//! are canaries, and every error, whatever prints itself, and all logs are searched for them and for the fixture's
//! credentials. What came of each trial is a row of the store's column in the table of all stores (`docs/stores/README.md`),
//! left in `target/stores` for `scripts/stores`.
//!
//! What a backend can't do, or a fixture does not say how to, is "not supported" there: everything that a fixture need not
//! say has a default that says so.
//!
//! Modules, in reading order: `trials` how they are run and noted, `watched` a store whose answers are looked at, `logs`
//! the same for what is logged, `checks` of reading, `searches` checks of searching, one of them for servers that fail in
//! between, `writes` checks of writing, `troubles` of what goes wrong on the other side, `map` credentials out of a map.

#![forbid(unsafe_code)]

mod trials;
mod watched;
mod logs;
mod checks;
mod searches;
mod writes;
mod troubles;
mod map;

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_doubles::{Faults, Server};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{Capabilities, ErrorKind, Metadata, PropertyLookup, Provider};

use crate::trials::Trials;

pub use map::MapCredentials;
pub use searches::{FAULTS, Fault, a_search_under_faults};

/// Part of every value that the suite writes.
pub const CANARY: &str = "canary-b7e19c";

/// A real backend that tests may write to, and the provider in front of it.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// What the column of the table is called: the store, and what tells this one from its others.
    fn name(&self) -> String {
        trials::name_of_crate()
    }

    /// Whether a real server, or the vendor's own client, has shown that the backend is what the vendor has.
    fn is_proven(&self) -> bool {
        true
    }

    /// Whether that holds of what is pushed into it and deleted, too.
    fn is_proven_for_writes(&self) -> bool {
        self.is_proven()
    }

    /// What stands before the backend, or is it: it counts calls, and fails when it is told to.
    fn server(&self) -> Option<Server> {
        None
    }

    /// Credentials and tokens that the store logs in with, as text that must show up nowhere.
    fn credentials(&self) -> Vec<String> {
        Vec::new()
    }

    /// What the store's registration says that a store of this spec can do.
    fn registered(&self) -> Capabilities;

    /// A provider that sees all that was put before: the one at the server, where there is one.
    async fn provider(&self) -> Arc<dyn Provider> {
        let server = self.server().expect("who has no server says what its provider is");
        self.provider_at(&server.url(), Addresses::anywhere()).await.expect("it can be at any server")
    }

    /// Writes a secret, as a new version where there was one. Gives the name of the version where the store has any.
    async fn put(&self, name: &str, value: &[u8]) -> Option<String>;

    /// Writes a secret that bears tags. Called only where the store can be searched by them.
    async fn put_tagged(&self, name: &str, value: &[u8], tags: &[(&str, &str)]) {
        panic!("{name}, of {} bytes, is to bear {tags:?}, and this backend has no tags", value.len());
    }

    /// What the backend holds under this name, as a fetch would give it: for stores that can't be read.
    async fn held(&self, name: &str) -> Option<Vec<u8>> {
        panic!("{name} can be read by nobody but the store, which can't")
    }

    /// Gives a version of a secret a stage, a label or an alias, and what a user writes as the version to read by it.
    async fn stage(&self, _name: &str, _version: &str) -> Option<String> {
        None
    }

    /// Has the backend refuse to show this secret, which is there. Whether it could be done.
    async fn deny(&self, _name: &str) -> bool {
        false
    }

    /// Disables this secret, which stays there. Whether it could be done.
    async fn disable(&self, _name: &str) -> bool {
        false
    }

    /// Has the backend accept another credential in place of the one before; [`provider`](Fixture::provider) logs in with
    /// that one from now on. Whether it could be done.
    async fn rotate(&self) -> bool {
        false
    }

    /// The same provider, where the server is at this URL, and may be reached so. Whatever else it asks, as for a login, is
    /// behind that URL too.
    async fn provider_at(&self, _url: &str, _addresses: Addresses) -> Option<Arc<dyn Provider>> {
        None
    }

    /// How many calls the backend answers at once within the time that a call has, on a busy machine too.
    fn at_once(&self) -> usize {
        64
    }

    /// How many keys are enough to see what many cost: fewer where the backend takes its time for each.
    fn keys(&self) -> usize {
        troubles::A_THOUSAND
    }

    /// How many secrets the backend names on one page of a list.
    fn page(&self) -> Option<usize> {
        None
    }

    /// The most calls that so many keys may cost, with all that a login takes.
    fn calls_for(&self, _keys: usize) -> Option<usize> {
        None
    }

    /// Removes a secret in the way a user of the store would.
    async fn delete(&self, name: &str);

    /// What is answered for a secret that is not there. `Denied` where the backend does not tell that from one that is not
    /// for us.
    fn missing(&self) -> ErrorKind {
        ErrorKind::NotFound
    }

    /// What a fetch gives for a secret that was written so. Stores that keep several fields write one and give JSON.
    fn fetched(&self, value: &[u8]) -> Vec<u8> {
        value.to_vec()
    }

    /// Whether the backend keeps any bytes, rather than text only.
    fn takes_binary(&self) -> bool {
        false
    }

    /// Whether the backend keeps values without a byte.
    fn takes_empty(&self) -> bool {
        false
    }

    /// Whether an answer that is none of the store's API can be told from a value.
    fn knows_garbage(&self) -> bool {
        true
    }

    /// The largest value that the backend takes, in bytes.
    fn largest(&self) -> usize {
        1 << 20
    }

    /// The property under which a push writes what [`put`](Fixture::put) writes; `None` where that is the whole secret.
    fn property(&self) -> Option<String> {
        None
    }

    /// Whether a push can write one property of a secret and leave the others.
    fn keeps_other_properties(&self) -> bool {
        true
    }

    /// Whether the store marks what it writes, so that it knows what others wrote.
    fn marks(&self) -> bool {
        true
    }

    /// Whether the current value of a store with versions is one of them, and says which.
    fn current_has_a_version(&self) -> bool {
        true
    }

    /// What stands between a path and the rest of a name: stores without folders take the beginning of a name for a path.
    fn separator(&self) -> char {
        '/'
    }

    /// Whether the backend itself takes secrets of this name.
    fn takes_name(&self, _name: &str) -> bool {
        true
    }
}

/// Runs every trial that the store's capabilities ask for. Panics where one fails, when all have run.
pub async fn suite(fixture: &dyn Fixture) {
    let can = watched::provider(fixture).await.capabilities();
    assert_eq!(fixture.registered(), can, "the registration and the provider say different things");
    let mut trials = Trials::of(fixture);
    reading(&mut trials, can).await;
    searching(&mut trials, can).await;
    writes::suite(&mut trials, can).await;
    trouble(&mut trials, can.max_batch > 0).await;
    trials.run("nothing secret in errors, Debug and logs", true, async { logs::are_clean() }).await;
    trials.end();
}

async fn reading(trials: &mut Trials<'_>, can: Capabilities) {
    const KIB_64: usize = 64 << 10;
    let fixture = trials.fixture();
    let (reads, largest) = (can.max_batch > 0, fixture.largest());
    trials.run("validates", true, checks::validates(fixture)).await;
    trials.run("text", reads, checks::text(fixture)).await;
    trials.run("any bytes", reads && fixture.takes_binary(), checks::binary(fixture)).await;
    trials.run("empty", reads && fixture.takes_empty(), checks::empty(fixture)).await;
    trials.run("64 KiB", reads && largest >= KIB_64, checks::large(fixture, KIB_64)).await;
    trials.run("odd names", reads, checks::names_of_every_kind(fixture)).await;
    trials.run("a new value at once", reads, checks::a_new_value_is_read_at_once(fixture)).await;
    trials.run("many at once", reads, checks::many_at_once(fixture)).await;
    trials.run("versions", reads && can.versions, checks::versions(fixture)).await;
    trials.run("stages, labels, aliases", reads && can.versions, checks::stages(fixture)).await;
    trials.run("metadata", reads && can.metadata == Metadata::Answered, checks::metadata(fixture)).await;
    trials.run("missing", reads, checks::deleted_is_missing(fixture)).await;
    trials.run("denied", reads, troubles::denied(fixture)).await;
    trials.run("disabled", reads, troubles::disabled(fixture)).await;
    let among = checks::missing_among_present(fixture, can.max_batch.max(1));
    trials.run("batches, one entry bad", can.max_batch > 1, among).await;
    trials.run("credentials that change", reads, troubles::credentials_change(fixture)).await;
    trials.run("through a proxy, logins too", reads, troubles::through_a_proxy(fixture)).await;
    if reads {
        silent(trials, can).await;
    }
}

/// What holds for every store that can be read, and is no row of the table.
async fn silent(trials: &mut Trials<'_>, can: Capabilities) {
    let fixture = trials.fixture();
    trials.hold("nothing asked", checks::nothing_asked_nothing_answered(fixture)).await;
    trials.hold("the largest value", checks::large(fixture, fixture.largest())).await;
    trials.hold("one result per key", checks::one_result_per_key_in_order(fixture, can.max_batch)).await;
    if can.max_batch == 1 {
        trials.hold("missing among present", checks::missing_among_present(fixture, 1)).await;
    }
    if !can.versions {
        trials.hold("versions are passed over", checks::versions_are_passed_over(fixture)).await;
    }
    match can.metadata {
        Metadata::Answered => {}
        Metadata::PassedOver => trials.hold("metadata are passed over", checks::metadata_is_passed_over(fixture)).await,
        Metadata::Refused => trials.hold("metadata are refused", checks::metadata_is_refused(fixture)).await,
    }
}

async fn searching(trials: &mut Trials<'_>, can: Capabilities) {
    let fixture = trials.fixture();
    // Where names are those of parts, whoever has the values looks for them.
    let of_secrets = fixture.provider().await.dialect().property != PropertyLookup::Parts;
    let name = can.find_by_name && of_secrets;
    let (path, tags) = (can.find_by_path, can.find_by_tags);
    trials.run("find by name", name, searches::what_bears_the_name_is_found(fixture)).await;
    trials.run("find by tags", name && tags, searches::a_name_and_tags_must_all_hold(fixture)).await;
    trials.run("find by path", name && path, searches::a_name_and_a_path_must_both_hold(fixture)).await;
    trials.run("find nothing", name, searches::what_nothing_bears_is_not_found_and_no_error(fixture)).await;
    trials.run("find over several pages", of_secrets, searches::over_several_pages(fixture)).await;
}

async fn trouble(trials: &mut Trials<'_>, reads: bool) {
    let fixture = trials.fixture();
    let none = Faults::default;
    let throttled = Faults { throttled: 100, told: true, ..none() };
    trials.run("throttled", reads, troubles::passing(fixture, throttled, ErrorKind::Throttled)).await;
    let broken = Faults { broken: 100, ..none() };
    trials.run("broken", reads, troubles::passing(fixture, broken, ErrorKind::Unavailable)).await;
    let reset = Faults { reset: 100, ..none() };
    trials.run("resetting", reads, troubles::passing(fixture, reset, ErrorKind::Unavailable)).await;
    trials.run("hanging", reads, troubles::hanging(fixture)).await;
    let knows = reads && fixture.knows_garbage();
    trials.run("garbage", knows, troubles::nonsense(fixture, Faults { garbage: 100, ..none() })).await;
    trials.run("a huge answer", reads, troubles::nonsense(fixture, Faults { huge: 100, ..none() })).await;
    trials.run("300 calls, 17 % fail", reads, troubles::many_faults(fixture)).await;
    // Last, so that no search goes through all those.
    trials.run("1,000 keys", reads, troubles::a_thousand_keys(fixture)).await;
}

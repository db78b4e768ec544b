//! No slip deletes. Random manifests are synced; then somebody makes a mistake in them, or the store does, or secrets are
//! really gone. Under each creationPolicy and deletionPolicy a key, or the Secret, goes only where the store itself said
//! that the secret behind it is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use keyferry_builders::es;
use keyferry_crds::{CreationPolicy, DeletionPolicy, ExternalSecret};
use keyferry_provider_core::{Error, ErrorKind};
use keyferry_sync::look::Memory;
use keyferry_sync::outcome::{Outcome, SyncResult};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use super::world::{World, told};

/// Secrets with fields, and without.
const OBJECTS: [&str; 3] = ["o0", "o1", "o2"];
const TEXTS: [&str; 3] = ["t0", "t1", "t2"];

/// What a store answers that has lost its mind: nothing that `extract` can take.
const GARBAGE: [&str; 6] = ["", "null", "{}", "[]", "plain", r#"{"user"#];

fn any<'a, T: ?Sized>(random: &mut StdRng, of: &[&'a T]) -> &'a T {
    of[random.random_range(0..of.len())]
}

/// All values differ, so that none is lost unseen.
fn fill(world: &World) {
    let mut state = world.state();
    state.secrets = OBJECTS
        .map(|name| {
            (name.to_owned(), Ok(json!({"user": format!("{name}-u"), "pass": format!("{name}-p")}).to_string()))
        })
        .into();
    state.secrets.extend(TEXTS.map(|name| (name.to_owned(), Ok(format!("{name}-value")))));
}

/// A manifest, and the secrets behind each key that it makes.
struct Manifest {
    spec: Value,
    behind: BTreeMap<String, BTreeSet<&'static str>>,
}

impl Manifest {
    fn any(random: &mut StdRng) -> Self {
        let creation = any(random, &["Owner", "Owner", "Orphan", "Merge", "CreateOrMerge", "None"]);
        let deletion = match creation {
            "Owner" => any(random, &["Retain", "Delete", "Delete", "Merge"]),
            "None" => "Retain",
            _ => any(random, &["Retain", "Merge"]),
        };
        let mut made = Self { spec: json!({"data": [], "dataFrom": []}), behind: BTreeMap::new() };
        for n in 0..random.random_range(1..4) {
            match random.random_range(0..3) {
                0 => made.data(random, n),
                1 => made.extract(random, n),
                _ => made.find(random, n),
            }
        }
        made.spec["target"] = json!({"creationPolicy": creation, "deletionPolicy": deletion});
        if random.random_bool(0.2) {
            made.spec["target"]["template"] = json!({"mergePolicy": "Merge", "data": {"made": "1"}});
            let all = made.behind.values().flatten().copied().collect();
            made.behind.insert("made".to_owned(), all);
        }
        made
    }

    fn data(&mut self, random: &mut StdRng, n: usize) {
        let (name, property) =
            if random.random_bool(0.5) { (any(random, &TEXTS), None) } else { (any(random, &OBJECTS), Some("user")) };
        let entry = json!({"secretKey": format!("d{n}"), "remoteRef": {"key": name, "property": property}});
        self.spec["data"].as_array_mut().unwrap().push(entry);
        self.behind.insert(format!("d{n}"), [name].into());
    }

    fn extract(&mut self, random: &mut StdRng, n: usize) {
        let name = any(random, &OBJECTS);
        let rename = json!([{"regexp": {"source": "^(.*)$", "target": format!("e{n}_${{1}}")}}]);
        self.spec["dataFrom"].as_array_mut().unwrap().push(json!({"extract": {"key": name}, "rewrite": rename}));
        self.behind.extend(["user", "pass"].map(|field| (format!("e{n}_{field}"), [name].into())));
    }

    fn find(&mut self, random: &mut StdRng, n: usize) {
        let rename = if random.random_bool(0.5) {
            json!([{"regexp": {"source": "^t", "target": format!("f{n}_t")}}])
        } else {
            json!([{"transform": {"template": format!("f{n}_{{{{ .value }}}}")}}])
        };
        let find = json!({"find": {"name": {"regexp": "^t"}}, "rewrite": rename});
        self.spec["dataFrom"].as_array_mut().unwrap().push(find);
        self.behind.extend(TEXTS.map(|name| (format!("f{n}_{name}"), [name].into())));
    }

    fn of(&self, generation: i64) -> Arc<ExternalSecret> {
        let mut es = es(self.spec.clone());
        es.metadata.generation = Some(generation);
        Arc::new(es)
    }

    /// Somebody makes a mistake in one entry; `None` where there is none to make.
    fn slip(&mut self, random: &mut StdRng) -> Option<&'static str> {
        let list = any(random, &["data", "dataFrom"]);
        let entries = self.spec[list].as_array_mut().unwrap();
        if entries.is_empty() {
            return None;
        }
        let at = random.random_range(0..entries.len());
        let entry = &mut entries[at];
        let remote = if list == "data" { "remoteRef" } else { "extract" };
        Some(match random.random_range(0..8) {
            0 if entry[remote].is_object() => {
                entry[remote]["version"] = json!(any(random, &["9", "latest"]));
                "a version"
            }
            1 if entry[remote].is_object() => {
                entry[remote]["property"] = json!(any(random, &["nope", "user.nope", "user."]));
                "a property"
            }
            2 if entry[remote].is_object() => {
                entry[remote]["decodingStrategy"] = json!("Base64");
                "a decoding"
            }
            3 if entry["rewrite"].is_array() => {
                entry["rewrite"] = json!([{"regexp": {"source": "^(.*)$", "target": "$1_X"}}]);
                "a group of another name"
            }
            4 if entry["rewrite"].is_array() => {
                entry["rewrite"] = json!([{"transform": {"template": "{{ if eq .value \"\" }}x{{ end }}"}}]);
                "a template of nothing"
            }
            // Two names at least: to give one secret another name is no slip.
            5 if entry["extract"].is_object() => {
                entry["rewrite"] = json!([{"regexp": {"source": ".+", "target": "k"}}]);
                "one name for all"
            }
            6 if entry["find"].is_object() => {
                entry["find"]["name"]["regexp"] = json!("^nothing");
                "a search"
            }
            _ => return None,
        })
    }
}

/// Something goes wrong with the store; answers what. Which secrets are gone is noted.
fn fault(random: &mut StdRng, world: &World, gone: &mut BTreeSet<&'static str>) -> &'static str {
    let mut state = world.state();
    let kinds = [
        ErrorKind::Denied,
        ErrorKind::Unauthenticated,
        ErrorKind::Throttled,
        ErrorKind::Unavailable,
        ErrorKind::Timeout,
        ErrorKind::Tls,
        ErrorKind::Invalid,
        ErrorKind::Malformed,
    ];
    let kind = kinds[random.random_range(0..kinds.len())];
    match random.random_range(0..6) {
        0 => {
            for answer in state.secrets.values_mut().filter(|_| random.random_bool(0.5)) {
                *answer = Err(Error::new(kind, "it fails"));
            }
            "secrets fail"
        }
        1 => {
            // A store that finds nothing below a path may say "not found" as well: it is not asked for a secret.
            let kind = if random.random_bool(0.5) { ErrorKind::NotFound } else { kind };
            state.search_fails = Some(Error::new(kind, "it fails"));
            "searches fail"
        }
        2 => {
            for name in OBJECTS {
                if random.random_bool(0.6) {
                    state.secrets.insert(name.to_owned(), Ok(any(random, &GARBAGE).to_owned()));
                }
            }
            "it answers garbage"
        }
        3 => {
            state.hangs = true;
            "it hangs"
        }
        _ => {
            let share = if random.random_bool(0.5) { 1.0 } else { 0.6 };
            for name in OBJECTS.into_iter().chain(TEXTS) {
                if random.random_bool(share) {
                    // Some stores still find what is marked as deleted.
                    if random.random_bool(0.5) {
                        state.secrets.remove(name);
                    } else {
                        state.secrets.insert(name.to_owned(), Err(Error::new(ErrorKind::NotFound, "deleted")));
                    }
                    gone.insert(name);
                }
            }
            "secrets are gone"
        }
    }
}

/// How often what happened.
#[derive(Debug, Default)]
struct Count {
    failed: usize,
    less: usize,
    deleted: usize,
}

/// One ExternalSecret in a world of its own.
struct Life {
    world: World,
    manifest: Manifest,
    es: Arc<ExternalSecret>,
    memory: Memory,
    /// The keys of the target before anything went wrong.
    before: BTreeSet<String>,
    /// Secrets that the store says are not there.
    gone: BTreeSet<&'static str>,
    /// What went wrong, for messages.
    at: String,
}

impl Life {
    async fn begin(random: &mut StdRng) -> Self {
        let world = World::default();
        fill(&world);
        let manifest = Manifest::any(random);
        let policy = &manifest.spec["target"]["creationPolicy"];
        if policy == "Merge" || policy == "CreateOrMerge" && random.random_bool(0.8) {
            let mut state = world.state();
            state.target = Some((1, false));
            state.held = [("others".to_owned(), "1".to_owned())].into();
        }
        world.state().dialect.missing_fails_data = random.random_bool(0.2);
        let (mut es, mut memory) = (manifest.of(1), Memory::default());
        // Sometimes it goes wrong from the start.
        if random.random_bool(0.8) {
            let report = world.look(&es, &memory, 0).await;
            assert!(matches!(report.outcome, Outcome::Synced(_)), "{:?}: {}", report.outcome, manifest.spec);
            (es, memory) = (told(&es, &report), report.memory);
        }
        let before = world.state().held.keys().cloned().collect();
        Self { world, manifest, es, memory, before, gone: BTreeSet::new(), at: String::new() }
    }

    /// Somebody makes a mistake, or something happens to the store, or both.
    fn goes_wrong(&mut self, random: &mut StdRng, seed: u64) {
        let slip = if random.random_bool(0.6) { self.manifest.slip(random) } else { None };
        let happens = slip.is_none() || random.random_bool(0.2);
        let fault = happens.then(|| fault(random, &self.world, &mut self.gone));
        if slip.is_some() {
            let mut slipped = (*self.manifest.of(2)).clone();
            slipped.status = self.es.status.clone();
            self.es = Arc::new(slipped);
        }
        let (seed, gone, spec) = (format!("{}={seed}", keyferry_seed::VARIABLE), &self.gone, &self.manifest.spec);
        self.at = format!("{seed}: {slip:?} {fault:?} gone: {gone:?}\n{spec}");
    }

    async fn look(&mut self, hour: i64, count: &mut Count) {
        let had_target = self.world.state().target.is_some();
        let look = self.world.look(&self.es, &self.memory, hour * 3600);
        let Ok(report) = tokio::time::timeout(Duration::from_secs(60), look).await else { return };
        let has_target = self.world.state().target.is_some();
        let (target, at) = (&self.es.spec.target, &self.at);
        let result = match &report.outcome {
            Outcome::Synced(synced) => Some(synced.result),
            _ => None,
        };
        count.failed += usize::from(matches!(report.outcome, Outcome::Failed(_)));
        if had_target && !has_target {
            assert_eq!(target.deletion_policy, DeletionPolicy::Delete, "the Secret is gone: {at}");
            count.deleted += 1;
        }
        if result == Some(SyncResult::Synced) && target.creation_policy != CreationPolicy::None {
            assert!(has_target, "it is called synced, and there is nothing: {at}");
        }
        for lost in self.before.iter().filter(|key| !self.world.state().held.contains_key(*key)) {
            let behind = self.manifest.behind.get(lost).unwrap_or_else(|| panic!("others' {lost} is gone: {at}"));
            assert!(behind.iter().all(|secret| self.gone.contains(secret)), "{lost} is gone: {at}");
            count.less += 1;
        }
        (self.es, self.memory) = (told(&self.es, &report), report.memory);
    }
}

#[tokio::test(start_paused = true)]
async fn no_slip_deletes() {
    let seeds = keyferry_seed::each(0..1000);
    let many = seeds.end - seeds.start > 1;
    let mut count = Count::default();
    for seed in seeds {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut life = Life::begin(random).await;
        life.goes_wrong(random, seed);
        for hour in 1..4 {
            life.look(hour, &mut count).await;
        }
    }
    assert!(!many || count.failed > 1000 && count.less > 300 && count.deleted > 20, "{count:?}");
}

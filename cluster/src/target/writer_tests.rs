//! Tests of the writer over an API server in memory: the same rules for Secrets and Widgets, but where a test says so.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use keyferry_limits::Budget;
use serde_json::Value;

use keyferry_sync::hash;

use super::*;
use crate::leader::Lead;
use crate::target::fake_api::{Cluster, FakeApi};
use crate::target::kinds::Kinds;
use crate::target::of;
use keyferry_sync::data::Sources;
use keyferry_sync::dependency::Version;
use keyferry_sync::engine::{Engine, Means};
use keyferry_sync::settings::Adopt;
use keyferry_sync::template::content;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Secret,
    Widget,
}

use Kind::{Secret, Widget};

impl Kind {
    fn key(self, name: &str) -> String {
        match self {
            Secret => format!("secrets/{name}"),
            Widget => format!("widgets/{name}"),
        }
    }

    /// An object that holds `value`, with this metadata.
    fn object(self, value: &str, metadata: Value) -> Value {
        match self {
            Secret => json!({"metadata": metadata, "type": "Opaque", "data": {"k": BASE64.encode(value)}}),
            Widget => json!({
                "apiVersion": "example.org/v1", "kind": "Widget", "metadata": metadata, "spec": {"data": {"k": value}},
                "status": {"seen": 1},
            }),
        }
    }
}

fn owner(kind: &str, name: &str, uid: &str) -> Value {
    let api_version = if kind == "ExternalSecret" { "external-secrets.io/v1" } else { "apps/v1" };
    json!({"ownerReferences": [{"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": true}]})
}

fn ours() -> Value {
    owner("ExternalSecret", "e", "es-uid")
}

/// One ExternalSecret, `e`, and the API server of its target.
struct Rig {
    kind: Kind,
    api: FakeApi,
    client: kube::Client,
    turns: Turns,
    kinds: Kinds,
    es: ExternalSecret,
}

impl Rig {
    fn new(kind: Kind, mut target: Value) -> Self {
        if kind == Widget && target["manifest"].is_null() {
            target["manifest"] = json!({"apiVersion": "example.org/v1", "kind": "Widget"});
        }
        let mut es = keyferry_builders::es(json!({"target": target}));
        es.metadata.creation_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        let api = FakeApi::default();
        Self { kind, client: api.client(), api, turns: Turns::new(4, Lead::always()), kinds: Kinds::default(), es }
    }

    /// The output of one look.
    fn output(&self) -> Box<dyn Output + '_> {
        of(&self.client, &self.turns, &self.kinds, &self.es, Adopt::Any, None)
    }

    fn content(&self, value: &str) -> Content {
        let data = [("k".to_owned(), value.into())].into();
        let means = Means { engine: &Engine::new("{{", "}}"), now: Timestamp::UNIX_EPOCH, budget: &Budget::default() };
        content(&self.es, data, &Sources::new(), &means).unwrap()
    }

    async fn apply(&self, value: &str, presumed_absent: bool) -> Result<Applied, Failure> {
        let presumed = if presumed_absent { Presumed::Absent } else { Presumed::Nothing };
        self.output().apply(&self.content(value), presumed).await
    }

    fn key(&self) -> String {
        self.kind.key("e")
    }

    fn lay(&self, name: &str, value: &str, metadata: Value) {
        self.api.cluster().put(&self.kind.key(name), self.kind.object(value, metadata));
    }

    /// The value in the target; `None` where there is none.
    fn value(&self) -> Option<String> {
        let cluster = self.api.cluster();
        let object = cluster.objects.get(&self.key())?;
        match self.kind {
            Secret => String::from_utf8(BASE64.decode(object["data"]["k"].as_str()?).unwrap()).ok(),
            Widget => object["spec"]["data"]["k"].as_str().map(str::to_owned),
        }
    }

    /// The version that the API server says the target has.
    fn version(&self) -> Option<Version> {
        let cluster = self.api.cluster();
        let metadata = &cluster.objects.get(&self.key())?["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap().to_owned();
        Some(Version { uid: text("uid").into(), revision: text("resourceVersion").into() })
    }

    /// What was asked since the last time; not of kinds.
    fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut self.api.cluster().requests);
        asked.retain(|asked| !asked.starts_with("discover"));
        asked
    }

    /// What was asked, for rules that know no rehearsals.
    fn asked_in_earnest(&self) -> Vec<String> {
        let mut asked = self.asked();
        asked.retain(|asked| !asked.starts_with("rehearse"));
        asked
    }

    /// Before each of so many writes, somebody changes the target.
    fn disturb(&self, times: usize) {
        for _ in 0..times {
            let (kind, key) = (self.kind, self.key());
            self.api.cluster().meanwhile(move |cluster| cluster.put(&key, kind.object("theirs", json!({}))));
        }
    }

    fn meanwhile(&self, what: impl FnOnce(&mut Cluster, &str) + Send + 'static) {
        let key = self.key();
        self.api.cluster().meanwhile(move |cluster| what(cluster, &key));
    }

    fn refuse(&self, word: &'static str, code: u16) {
        self.api.cluster().refused.insert(word, (code, "Refused"));
    }

    fn heed(&self) {
        self.api.cluster().refused.clear();
    }
}

fn rigs(target: Value) -> [Rig; 2] {
    [Secret, Widget].map(|kind| Rig::new(kind, target.clone()))
}

#[tokio::test]
async fn what_is_not_there_is_created_without_reading_where_that_is_presumed() {
    for (presumed, asked) in [(true, vec!["create e"]), (false, vec!["get e", "create e"])] {
        for rig in rigs(json!({})) {
            let applied = rig.apply("one", presumed).await.unwrap();
            assert_eq!((applied.change, applied.adopted), (TargetChange::Created, None));
            assert!(applied.version.is_some() && applied.version == rig.version());
            assert_eq!(rig.value().as_deref(), Some("one"));
            assert_eq!(rig.asked_in_earnest(), asked);
            assert_eq!(rig.api.cluster().managers, ["externalsecrets.external-secrets.io/e"]);
        }
    }
}

#[tokio::test]
async fn what_was_observed_is_changed_without_reading_it_again() {
    for rig in rigs(json!({})) {
        rig.apply("one", true).await.unwrap();
        rig.asked();
        let mut output = rig.output();
        output.observe().await.unwrap();
        let applied = output.apply(&rig.content("two"), Presumed::Nothing).await.unwrap();
        assert_eq!((applied.change, applied.version, applied.adopted), (TargetChange::Updated, rig.version(), None));
        assert_eq!(rig.value().as_deref(), Some("two"));
        assert_eq!(rig.asked_in_earnest(), ["get e", "replace e"]);
    }
}

/// What stays as it is when the data alone are written.
fn all_but_data(object: &Value) -> Value {
    let mut object = object.clone();
    object["data"].take();
    for field in ["resourceVersion", "managedFields"] {
        object["metadata"][field].take();
    }
    object["metadata"]["annotations"][names::ANNOTATION_DATA_HASH].take();
    object
}

#[tokio::test]
async fn other_data_of_what_we_wrote_are_one_write() {
    let rig = Rig::new(Secret, json!({}));
    rig.apply("one", true).await.unwrap();
    let (before, was) = (rig.version().unwrap(), rig.api.cluster().objects[&rig.key()].clone());
    rig.asked();
    let applied = rig.output().apply(&rig.content("two"), Presumed::Alike(&before)).await.unwrap();
    assert_eq!((applied.change, &applied.version, applied.adopted), (TargetChange::Updated, &rig.version(), None));
    assert_eq!((rig.value().as_deref(), rig.asked()), (Some("two"), vec!["patch e".to_owned()]));
    let now = rig.api.cluster().objects[&rig.key()].clone();
    assert_eq!(all_but_data(&now), all_but_data(&was));
    let hash = hash::data_hash([("k", b"two".as_slice())]);
    assert_eq!(now["metadata"]["annotations"][names::ANNOTATION_DATA_HASH], json!(hash));
    assert_eq!(rig.api.cluster().managers, ["externalsecrets.external-secrets.io/e"; 2]);
    // The same again: the API server says that nothing changed.
    let applied = rig.output().apply(&rig.content("two"), Presumed::Alike(&rig.version().unwrap())).await.unwrap();
    assert_eq!((applied.change, applied.version), (TargetChange::Nothing, rig.version()));
}

#[tokio::test]
async fn only_what_came_out_as_it_was_to_be_and_is_ours_is_alike() {
    for (policy, is_ours) in [("Owner", true), ("Orphan", false)] {
        let rig = Rig::new(Secret, json!({"creationPolicy": policy}));
        assert!(rig.apply("one", true).await.unwrap().is_alike, "we made it");
        // As it should be, but nothing tells who made an orphan: to write over it needs leave.
        let found = rig.apply("one", false).await.unwrap();
        assert_eq!((found.change, found.is_alike), (TargetChange::Nothing, is_ours), "{policy}");
        assert!(rig.apply("two", false).await.unwrap().is_alike, "we wrote it");
        // What admission took off, a whole write is to put back.
        rig.api.cluster().strips = Some(names::LABEL_MANAGED);
        assert!(!rig.apply("three", false).await.unwrap().is_alike, "{policy}");
        let version = rig.version().unwrap();
        let patched = rig.output().apply(&rig.content("four"), Presumed::Alike(&version)).await.unwrap();
        assert_eq!((patched.change, patched.is_alike), (TargetChange::Updated, false), "{policy}");
    }
}

#[tokio::test]
async fn who_can_not_write_the_data_alone_reads_first() {
    let alike = async |rig: &Rig, version: &Version| {
        rig.asked();
        let applied = rig.output().apply(&rig.content("two"), Presumed::Alike(version)).await.unwrap();
        assert_eq!((applied.change, applied.version), (TargetChange::Updated, rig.version()));
        assert_eq!(rig.value().as_deref(), Some("two"));
        rig.asked_in_earnest()
    };
    // Others may hold a part of it, or it is of a kind whose contents are not known.
    for rig in [Rig::new(Secret, json!({"creationPolicy": "CreateOrMerge"})), Rig::new(Widget, json!({}))] {
        rig.apply("one", true).await.unwrap();
        assert_eq!(alike(&rig, &rig.version().unwrap()).await, ["get e", "replace e"], "{:?}", rig.kind);
    }
    // Somebody was there in between, or put another in its place.
    for times in [0, 1] {
        let rig = Rig::new(Secret, json!({}));
        rig.apply("one", true).await.unwrap();
        let version = rig.version().unwrap();
        if times == 0 {
            rig.api.cluster().objects.remove(&rig.key());
            rig.lay("e", "theirs", json!({}));
        }
        rig.disturb(times);
        assert_eq!(alike(&rig, &version).await, ["patch e", "get e", "replace e"]);
    }
    // The rights do not hold it, or somebody made it immutable.
    for code in [403, 422] {
        let rig = Rig::new(Secret, json!({}));
        rig.apply("one", true).await.unwrap();
        rig.refuse("patch", code);
        assert_eq!(alike(&rig, &rig.version().unwrap()).await, ["patch e", "get e", "replace e"]);
    }
    // What may be tried again is no reason to read.
    let rig = Rig::new(Secret, json!({}));
    rig.apply("one", true).await.unwrap();
    rig.refuse("patch", 503);
    rig.asked();
    let version = rig.version().unwrap();
    let failure = rig.output().apply(&rig.content("two"), Presumed::Alike(&version)).await.unwrap_err();
    assert_eq!((failure.headline, failure.retry, rig.asked().len()), (Headline::Update, Retry::Soon, 1));
}

#[tokio::test]
async fn what_is_as_it_should_be_is_not_written() {
    for rig in rigs(json!({})) {
        rig.apply("one", true).await.unwrap();
        let version = rig.version();
        rig.asked();
        let applied = rig.apply("one", false).await.unwrap();
        assert_eq!((applied.change, &applied.version), (TargetChange::Nothing, &version));
        assert_eq!(rig.version(), version);
        assert_eq!(rig.asked_in_earnest(), ["get e"], "{:?}", rig.kind);
    }
}

#[tokio::test]
async fn an_object_of_nobody_becomes_ours_and_its_keys_are_told() {
    for (rig, keys) in rigs(json!({})).into_iter().zip([vec!["k"], vec!["spec", "status"]]) {
        rig.lay("e", "theirs", json!({}));
        let applied = rig.apply("one", false).await.unwrap();
        assert_eq!(applied.adopted.unwrap(), keys);
        assert_eq!(rig.value().as_deref(), Some("one"));
    }
}

#[tokio::test]
async fn where_there_is_nothing_to_merge_into_nothing_is_written() {
    for rig in rigs(json!({"creationPolicy": "Merge"})) {
        let applied = rig.apply("one", false).await.unwrap();
        assert_eq!((applied.change, applied.version), (TargetChange::Nothing, None));
        assert_eq!(rig.asked(), ["get e"]);
    }
}

#[tokio::test]
async fn who_was_overtaken_once_reads_once_and_decides_again() {
    for rig in rigs(json!({})) {
        // Somebody created it.
        rig.disturb(1);
        let applied = rig.apply("one", true).await.unwrap();
        assert_eq!((applied.change, applied.version), (TargetChange::Updated, rig.version()));
        assert!(applied.adopted.is_some(), "it is another object than that which was decided on");
        let reads = |asked: Vec<String>| asked.iter().filter(|asked| *asked == "get e").count();
        assert_eq!((rig.value().as_deref(), reads(rig.asked())), (Some("one"), 1));
        // Somebody changed it.
        rig.disturb(1);
        let applied = rig.apply("two", false).await.unwrap();
        assert_eq!((applied.change, applied.version), (TargetChange::Updated, rig.version()));
        assert_eq!((rig.value().as_deref(), reads(rig.asked())), (Some("two"), 2));
        // Somebody deleted it.
        rig.meanwhile(|cluster, key| drop(cluster.objects.remove(key)));
        let applied = rig.apply("three", false).await.unwrap();
        assert_eq!((applied.change, applied.version), (TargetChange::Created, rig.version()));
        assert_eq!((rig.value().as_deref(), reads(rig.asked())), (Some("three"), 2));
    }
}

#[tokio::test]
async fn who_was_overtaken_twice_comes_back_soon() {
    for rig in rigs(json!({})) {
        rig.lay("e", "theirs", json!({}));
        rig.disturb(2);
        let failure = rig.apply("one", false).await.unwrap_err();
        assert_eq!((failure.headline, failure.retry), (Headline::Update, Retry::Soon));
        let name = format!("{:?} \"e\"", rig.kind);
        assert_eq!(failure.causes[0].as_str(), format!("{name}: somebody else is changing it at the same time"));
        assert_eq!(rig.value().as_deref(), Some("theirs"));
    }
}

#[tokio::test]
async fn who_lost_it_to_another_controller_meanwhile_leaves_it() {
    for (rig, (kind, name, headline)) in rigs(json!({})).into_iter().flat_map(|rig| {
        let (other, deployment) = (("ExternalSecret", "f", Headline::Owned), ("Deployment", "d", Headline::Ownership));
        [(Rig::new(rig.kind, json!({})), other), (rig, deployment)]
    }) {
        let theirs = rig.kind.object("theirs", owner(kind, name, "other-uid"));
        rig.meanwhile(move |cluster, key| cluster.put(key, theirs));
        let failure = rig.apply("one", true).await.unwrap_err();
        assert_eq!((failure.headline, failure.retry), (headline, Retry::Late));
        assert_eq!(rig.value().as_deref(), Some("theirs"));
        rig.asked();
        assert_eq!(rig.apply("one", false).await.unwrap_err(), failure);
        assert_eq!(rig.asked(), ["get e"], "known before the write");
    }
}

#[tokio::test]
async fn an_observer_sees_version_edits_and_when_it_was_written() {
    for rig in rigs(json!({})) {
        assert!(rig.output().observe().await.unwrap().is_none());
        rig.apply("one", true).await.unwrap();
        let observed = rig.output().observe().await.unwrap().unwrap();
        assert_eq!((observed.version, observed.intact), (rig.version(), true));
        assert_eq!(observed.written_at.unwrap().to_string(), "2026-02-01T00:00:00Z");
        let (pointer, value) = match rig.kind {
            Secret => ("/data/k", BASE64.encode("edited")),
            Widget => ("/spec/filled", "edited".to_owned()),
        };
        rig.api.cluster().edit(&rig.key(), pointer, value.into());
        let observed = rig.output().observe().await.unwrap().unwrap();
        assert_eq!((observed.version, observed.intact), (rig.version(), false));
    }
}

#[tokio::test]
async fn by_when_what_it_holds_is_to_be_replaced_is_written_with_it() {
    let rig = Rig::new(Secret, json!({}));
    let end = |second| Some(Timestamp::from_second(second).unwrap());
    let content = |value: &str, refresh_by| Content { refresh_by, ..rig.content(value) };
    let noted = async || rig.output().observe().await.unwrap().unwrap().refresh_by;
    rig.output().apply(&content("one", end(3000)), Presumed::Absent).await.unwrap();
    assert_eq!(noted().await, end(3000));
    rig.asked();
    let version = rig.version().unwrap();
    rig.output().apply(&content("two", end(6000)), Presumed::Alike(&version)).await.unwrap();
    assert_eq!(rig.asked(), ["patch e"], "with the data alone");
    assert_eq!((rig.value().as_deref(), noted().await), (Some("two"), end(6000)));
    assert_ne!(content("two", None).form(), content("two", end(1)).form(), "that is no change of data alone");
    rig.output().apply(&content("three", None), Presumed::Nothing).await.unwrap();
    assert_eq!((rig.value().as_deref(), noted().await), (Some("three"), None));
}

#[tokio::test]
async fn only_what_is_controlled_is_removed() {
    for rig in rigs(json!({})) {
        assert!(!rig.output().remove().await.unwrap(), "there is none");
        for others in [json!({}), owner("ExternalSecret", "e", "that of an earlier one"), owner("Deployment", "d", "u")]
        {
            rig.lay("e", "theirs", others);
            let failure = rig.output().remove().await.unwrap_err();
            let headline = if rig.kind == Secret { Headline::Delete } else { Headline::ManifestDelete };
            assert_eq!((failure.headline, failure.retry), (headline, Retry::Late));
            assert!(
                failure.causes[0].as_str().ends_with("\"e\" is not owned by this ExternalSecret: delete it yourself")
            );
        }
        rig.lay("e", "ours", ours());
        assert!(rig.output().remove().await.unwrap());
        assert_eq!(rig.value(), None);
        rig.lay("e", "ours", ours());
        rig.meanwhile(|cluster, key| drop(cluster.objects.remove(key)));
        assert!(!rig.output().remove().await.unwrap(), "somebody else was quicker");
    }
}

#[tokio::test]
async fn what_is_removed_is_what_was_seen() {
    for rig in rigs(json!({})) {
        rig.lay("e", "ours", ours());
        let another = rig.kind.object("another", json!({}));
        rig.meanwhile(move |cluster, key| {
            cluster.objects.remove(key);
            cluster.put(key, another);
        });
        assert_eq!(rig.output().remove().await.unwrap_err().retry, Retry::Soon);
        assert_eq!(rig.value().as_deref(), Some("another"));
    }
    // A Secret that changed may have become somebody else's; other kinds change with every status.
    let rig = Rig::new(Secret, json!({}));
    rig.lay("e", "ours", ours());
    rig.disturb(1);
    assert_eq!(rig.output().remove().await.unwrap_err().headline, Headline::Delete);
    assert_eq!(rig.value().as_deref(), Some("theirs"));
    let rig = Rig::new(Widget, json!({}));
    rig.lay("e", "ours", ours());
    rig.meanwhile(|cluster, key| cluster.edit(key, "/status/seen", json!(2)));
    assert!(rig.output().remove().await.unwrap());
}

#[tokio::test]
async fn of_former_names_only_what_is_ours_goes() {
    let labelled = |mut metadata: Value| {
        metadata["labels"] = json!({names::LABEL_CREATED_BY: hash::created_by("ns", "e")});
        metadata
    };
    for mut rig in rigs(json!({})) {
        rig.es.status = Some(serde_json::from_value(json!({"binding": {"name": "old"}})).unwrap());
        assert!(rig.output().remove_renamed().await.unwrap().is_empty(), "it is gone already");
        // Copied, label and all.
        rig.lay("old", "theirs", labelled(owner("Deployment", "d", "u")));
        assert!(rig.output().remove_renamed().await.unwrap().is_empty());
        rig.lay("old", "ours", labelled(ours()));
        rig.lay("e", "ours", labelled(ours()));
        rig.lay("unknown", "ours, but nothing says so", ours());
        rig.asked();
        assert_eq!(rig.output().remove_renamed().await.unwrap(), ["old"]);
        let found = if rig.kind == Secret { "list" } else { "get old" };
        assert_eq!(rig.asked(), [found, "delete old"]);
        let left: Vec<String> = rig.api.cluster().objects.keys().cloned().collect();
        assert_eq!(left, [rig.kind.key("e"), rig.kind.key("unknown")]);
    }
}

#[tokio::test]
async fn a_target_is_marked_once_and_nothing_else_of_it_changes() {
    for rig in rigs(json!({})) {
        rig.output().mark().await.unwrap();
        assert_eq!(rig.asked(), ["get e"], "there is none");
        rig.lay("e", "theirs", json!({"labels": {"theirs": "1"}}));
        rig.output().mark().await.unwrap();
        assert_eq!(rig.asked(), ["get e", "patch e"]);
        let labels = rig.api.cluster().objects[&rig.key()]["metadata"]["labels"].clone();
        assert_eq!(labels, json!({"theirs": "1", names::LABEL_MANAGED: "true"}));
        assert_eq!(rig.value().as_deref(), Some("theirs"));
        rig.output().mark().await.unwrap();
        assert_eq!(rig.asked(), ["get e"], "it is marked");
        rig.lay("e", "theirs", json!({}));
        rig.meanwhile(|cluster, key| {
            let object = cluster.objects.remove(key).unwrap();
            cluster.put(key, object);
        });
        assert_eq!(rig.output().mark().await.unwrap_err().headline, Headline::Update, "it is another one now");
        assert_eq!(rig.api.cluster().objects[&rig.key()]["metadata"]["labels"], Value::Null);
    }
}

#[tokio::test]
async fn credentials_of_the_cluster_are_neither_written_nor_marked_nor_removed() {
    let rig = Rig::new(Secret, json!({}));
    let mut token = Secret.object("token", ours());
    token["type"] = json!("kubernetes.io/service-account-token");
    rig.api.cluster().put("secrets/e", token);
    let written = rig.apply("one", false).await.unwrap_err();
    let refused = rig.output().remove().await.unwrap_err();
    assert_eq!(refused, Failure { theirs: true, ..written.clone() });
    assert_eq!((written.headline, written.retry), (Headline::Update, Retry::OnChange));
    rig.output().mark().await.unwrap();
    assert_eq!(rig.asked(), ["get e"; 3]);
}

/// A request that is refused, what it was part of, and the headlines for Secrets and others.
const REFUSALS: [(&str, Doing, Headline, Headline); 8] = [
    ("get", Doing::Observe, Headline::Update, Headline::ManifestGet),
    ("create", Doing::Create, Headline::Update, Headline::Update),
    ("replace", Doing::TargetChange, Headline::Update, Headline::Update),
    ("get", Doing::Remove, Headline::Delete, Headline::ManifestGet),
    ("delete", Doing::Remove, Headline::Delete, Headline::ManifestDelete),
    ("list", Doing::RemoveRenamed, Headline::Orphans, Headline::ManifestGet),
    ("delete", Doing::RemoveRenamed, Headline::Orphans, Headline::ManifestDelete),
    ("patch", Doing::Mark, Headline::Update, Headline::Update),
];

#[derive(Clone, Copy)]
enum Doing {
    Observe,
    Create,
    TargetChange,
    Remove,
    RemoveRenamed,
    Mark,
}

impl Doing {
    async fn failure(self, rig: &Rig) -> Failure {
        let mut output = rig.output();
        match self {
            Self::Observe => output.observe().await.unwrap_err(),
            Self::Create => output.apply(&rig.content("hunter2"), Presumed::Absent).await.unwrap_err(),
            Self::TargetChange => output.apply(&rig.content("hunter2"), Presumed::Nothing).await.unwrap_err(),
            Self::Remove => output.remove().await.unwrap_err(),
            Self::RemoveRenamed => output.remove_renamed().await.unwrap_err(),
            Self::Mark => output.mark().await.unwrap_err(),
        }
    }
}

#[tokio::test]
async fn every_refusal_has_its_headline_and_shows_nothing_that_the_api_server_quotes() {
    let named = |metadata: Value, label: &str, value: &str| {
        let mut metadata = metadata;
        metadata["labels"] = json!({label: value});
        metadata
    };
    for (word, doing, of_secrets, of_others) in REFUSALS {
        for (code, retry) in [(403, Retry::Late), (422, Retry::Late), (500, Retry::Soon), (429, Retry::Soon)] {
            for mut rig in rigs(json!({})) {
                rig.es.status = Some(serde_json::from_value(json!({"binding": {"name": "old"}})).unwrap());
                if !matches!(doing, Doing::Create) {
                    rig.lay("e", "ours", ours());
                    let created_by = hash::created_by("ns", "e");
                    rig.lay("old", "ours", named(ours(), names::LABEL_CREATED_BY, &created_by));
                }
                let (word, expected) = match (rig.kind, word) {
                    (Secret, word) => (word, of_secrets),
                    (Widget, "list") => ("get", of_others),
                    (Widget, word) => (word, of_others),
                };
                rig.refuse(word, code);
                let failure = doing.failure(&rig).await;
                assert_eq!((failure.headline, failure.retry), (expected, retry), "{word} {code} {:?}", rig.kind);
                let said = failure.to_string();
                assert!(said.contains(&format!("{:?} \"e\": the API server", rig.kind)), "{said}");
                assert!(!said.contains("hunter2") && !said.contains(&BASE64.encode("hunter2")), "{said}");
                rig.heed();
                assert!(rig.output().observe().await.is_ok(), "nothing but that request was wrong");
            }
        }
    }
}

#[tokio::test]
async fn a_rehearsal_shows_what_the_api_server_fills_in() {
    let rig = Rig::new(Widget, json!({}));
    rig.apply("one", true).await.unwrap();
    assert_eq!(rig.asked(), ["rehearse e", "create e"]);
    assert!(rig.output().observe().await.unwrap().unwrap().intact, "the hash is of what was filled in");
    rig.asked();
    rig.apply("one", false).await.unwrap();
    assert_eq!(rig.asked(), ["get e", "rehearse e"], "what would change nothing is not written");
    let secret = Rig::new(Secret, json!({}));
    secret.apply("one", true).await.unwrap();
    assert_eq!(secret.asked(), ["create e"], "Secrets need none");
}

#[tokio::test]
async fn a_rehearsal_that_is_refused_leaves_the_word_to_the_write() {
    for code in [400, 403, 422] {
        let rig = Rig::new(Widget, json!({}));
        rig.refuse("rehearse", code);
        assert_eq!(rig.apply("one", true).await.unwrap().change, TargetChange::Created);
        assert_eq!(rig.asked(), ["rehearse e", "create e"]);
    }
    for code in [429, 500, 503] {
        let rig = Rig::new(Widget, json!({}));
        rig.refuse("rehearse", code);
        let failure = rig.apply("one", true).await.unwrap_err();
        assert_eq!((failure.headline, failure.retry), (Headline::Update, Retry::Soon));
        assert_eq!(rig.asked(), ["rehearse e"], "{code} says nothing about the write");
    }
    // Overtaken between rehearsal and write.
    let rig = Rig::new(Widget, json!({}));
    rig.meanwhile(|_, _| {});
    rig.disturb(1);
    assert_eq!(rig.apply("one", true).await.unwrap().change, TargetChange::Updated);
    assert_eq!(rig.asked(), ["rehearse e", "create e", "get e", "rehearse e", "replace e"]);
}

#[tokio::test]
async fn a_kind_is_asked_for_once_and_again_when_it_may_have_gone() {
    let rig = Rig::new(Widget, json!({}));
    let asked = |rig: &Rig| std::mem::take(&mut rig.api.cluster().requests);
    let known = "discover /apis/example.org/v1";
    rig.apply("one", true).await.unwrap();
    rig.output().observe().await.unwrap();
    assert_eq!(asked(&rig), [known, "rehearse e", "create e", "get e"]);
    rig.api.cluster().objects.clear();
    rig.refuse("create", 404);
    let failure = rig.apply("one", true).await.unwrap_err();
    assert_eq!((failure.headline, failure.retry), (Headline::Update, Retry::Late));
    rig.heed();
    asked(&rig);
    rig.apply("one", true).await.unwrap();
    assert_eq!(asked(&rig), [known, "rehearse e", "create e"]);
}

#[tokio::test]
async fn kinds_that_can_be_no_target_are_refused_before_anything_is_asked_of_them() {
    for (api_version, kind, retry, says) in [
        ("example.org/v1", "Gadget", Retry::Late, "the API server knows no \"Gadget\" of \"example.org/v1\""),
        ("example.com/v1", "Widget", Retry::Late, "the API server knows no \"Widget\" of \"example.com/v1\""),
        ("example.org/v1", "World", Retry::OnChange, "World has no namespace"),
        ("/v1", "Secret", Retry::OnChange, "\"/v1\" is no group and version"),
    ] {
        let rig = Rig::new(Widget, json!({"manifest": {"apiVersion": api_version, "kind": kind}}));
        let failure = rig.output().observe().await.unwrap_err();
        assert_eq!((failure.headline, failure.retry), (Headline::ManifestKind, retry), "{failure}");
        assert!(failure.causes[0].as_str().contains(says), "{failure}");
        assert_eq!(rig.output().mark().await.unwrap_err(), failure);
        assert_eq!(rig.output().remove().await.unwrap_err(), failure);
        assert!(rig.asked().is_empty());
    }
}

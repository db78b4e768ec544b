//! What people ask at their desks, of a cluster in which an operator works: `status`, `explain`, `refresh`, `diff`, `who`, `doctor`.

use std::process::{Output, Stdio};
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use keyferry_behaviour_tests::Rig;
use keyferry_testkit::Operator as Program;
use kube::api::{Api, PostParams};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

tests![
    status_and_explain_tell_of_what_failed,
    status_follows_what_changes,
    refresh_waits_for_what_it_asked_for,
    diff_tells_of_keys_and_of_no_value,
    who_agrees_with_the_api_server_about_two_hundred_subjects,
    doctor_looks_at_a_cluster,
    a_plugin_of_kubectl_has_its_name,
];

/// The verb with these arguments, for the namespace, as an admin.
fn command(rig: &Rig, args: &[&str]) -> Command {
    let mut command = Command::new(Program::program().expect("cargo built it"));
    command.args(args).arg(format!("--kubeconfig={}", rig.testbed.kubeconfig().display()));
    command.env("NO_COLOR", "1").kill_on_drop(true);
    command
}

async fn run(rig: &Rig, args: &[&str]) -> (String, String, i32) {
    let mut command = command(rig, args);
    // That of the operator of this test.
    if ["explain", "diff"].contains(&args[0]) {
        command.arg(format!("--controller-class={}", rig.namespace()));
    }
    let Output { status, stdout, stderr } = command.output().await.expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (text(stdout), text(stderr), status.code().unwrap_or(-1))
}

fn json_of((out, err, code): (String, String, i32)) -> Value {
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("no JSON ({code}): {out}\n{err}"))
}

fn metrics_url(rig: &Rig) -> String {
    format!("--metrics-url={}", rig.operator.as_ref().expect("it runs").metrics_url("/metrics"))
}

/// A rig with `e`, which is well, and `broken`, whose secret the store does not have.
async fn with_a_broken_one(prefix: &str) -> (Rig, String) {
    let (rig, value) = Rig::synced(prefix, json!({"refreshInterval": "1h"})).await;
    rig.external_secret("broken", json!({"refreshInterval": "1h", "data": rig.data("absent", &["user"])})).await;
    rig.until_failed("broken", &["absent"]).await;
    (rig, value)
}

async fn status_and_explain_tell_of_what_failed() {
    let (rig, value) = with_a_broken_one("desk-status").await;
    let (namespace, url) = (format!("-n={}", rig.namespace()), metrics_url(&rig));
    let all = json_of(run(&rig, &["status", &namespace, &url, "-o=json"]).await);
    let of = |kind: &str, name: &str| {
        let all = all.as_array().expect("a list");
        all.iter().find(|of| of["kind"] == kind && of["name"] == name).cloned().unwrap_or_default()
    };
    let (well, broken, store) = (of("ExternalSecret", "e"), of("ExternalSecret", "broken"), of("SecretStore", "s"));
    assert_eq!(
        (&well["status"], &broken["status"], &store["status"]),
        (&json!("Ready"), &json!("Failed"), &json!("Ready"))
    );
    assert!(well["nextSync"].is_string() && well["tries"] == 0, "{well}");
    assert!(broken["nextTry"].is_string() && broken["tries"].as_u64() >= Some(1), "{broken}");
    let (text, ..) = run(&rig, &["status", &namespace, &url, "--failed"]).await;
    assert!(
        text.contains("broken") && !text.contains("secret synced") && text.contains("2 ExternalSecrets, 1 failed"),
        "{text}"
    );

    let (text, err, code) = run(&rig, &["explain", "broken", &namespace, &url]).await;
    let key = rig.key("absent");
    for part in [
        "Failed since",
        "Next: it is tried again in",
        "To do: see what the message says",
        "spec.data[0]",
        &key,
        "its stores can be used",
    ] {
        assert!(text.contains(part), "{part}\n{text}\n{err}");
    }
    assert_eq!(code, 0, "{err}");
    let (text, ..) = run(&rig, &["explain", "e", &namespace, &url]).await;
    assert!(
        text.contains("Next: it is refreshed in") && text.contains("-> a refresh is due: nothing is due before"),
        "{text}"
    );
    assert!(!text.contains(&value), "a value is shown");
    let (text, ..) = run(&rig, &["explain", "store/s", &namespace, &url]).await;
    assert!(text.contains("SecretStore") && text.contains("To do: nothing: it lets us in"), "{text}");
    let (_, err, code) = run(&rig, &["explain", "brokn", &namespace, &url]).await;
    assert!(err.contains("did you mean broken?") && code == 1, "{err}");
    rig.finish().await;
}

/// Reads lines until one tells that an ExternalSecret has this status.
async fn until(lines: &mut Lines<BufReader<ChildStdout>>, name: &str, status: &str) {
    let waiting = async {
        while let Ok(Some(line)) = lines.next_line().await {
            let of: Value = serde_json::from_str(&line).expect("a line of JSON");
            if of["kind"] == "ExternalSecret" && of["name"] == name && of["status"] == status {
                return;
            }
        }
        panic!("it ended");
    };
    let waited = tokio::time::timeout(Duration::from_secs(120), waiting).await;
    waited.unwrap_or_else(|_| panic!("{name} is not {status}"));
}

async fn status_follows_what_changes() {
    let (rig, _) = Rig::synced("desk-watch", json!({"refreshInterval": "1h"})).await;
    let (namespace, url) = (format!("-n={}", rig.namespace()), metrics_url(&rig));
    let mut child = command(&rig, &["status", "--watch", "-o=json", &namespace, &url])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    until(&mut lines, "e", "Ready").await;
    rig.respec("e", json!({"data": rig.data("absent", &["user"])})).await;
    until(&mut lines, "e", "Failed").await;
    rig.cluster.delete("ExternalSecret", "e").await;
    until(&mut lines, "e", "Gone").await;
    child.kill().await.expect("it ends");
    rig.finish().await;
}

async fn refresh_waits_for_what_it_asked_for() {
    let (rig, _) = with_a_broken_one("desk-refresh").await;
    let namespace = format!("-n={}", rig.namespace());
    let value = rig.canaries.value("rotated");
    rig.put("app", json!({"user": value})).await;
    let (out, err, code) = run(&rig, &["refresh", "e", "--wait", &namespace]).await;
    assert_eq!(
        (out.as_str(), code),
        (format!("ExternalSecret {}/e: refreshed\n", rig.namespace()).as_str(), 0),
        "{err}"
    );
    assert!(rig.holds("e", &json!({"user": value})).await.is_ok(), "it was refreshed when it said so");
    let (out, _, code) = run(&rig, &["refresh", "--store=s", "--wait", &namespace]).await;
    assert!(out.contains("/e: refreshed") && out.contains("/broken: failed: ") && code == 1, "{out}");
    let (out, ..) = run(&rig, &["refresh", "--all", &namespace]).await;
    assert_eq!(out.lines().count(), 2, "{out}");
    rig.finish().await;
}

async fn diff_tells_of_keys_and_of_no_value() {
    let (rig, first) = Rig::synced("desk-diff", json!({"refreshInterval": "1h"})).await;
    let namespace = format!("-n={}", rig.namespace());
    let (out, err, code) = run(&rig, &["diff", "e", &namespace]).await;
    assert!(out.contains("nothing would change") && code == 0, "{out}{err}");
    let value = rig.canaries.value("rotated");
    rig.put("app", json!({"user": value, "pass": value})).await;
    let (out, err, code) = run(&rig, &["diff", "e", &namespace]).await;
    assert!(out.contains("  ~ user\n") && code == 1, "{out}{err}");
    assert!([&value, &first].iter().all(|value| !out.contains(*value) && !err.contains(*value)), "a value is shown");
    rig.put("app", json!({"other": value})).await;
    let (_, err, code) = run(&rig, &["diff", "e", &namespace]).await;
    assert!(err.contains("user") && !err.contains(&value) && code == 2, "{err}");
    rig.finish().await;
}

/// What `who` and the API server are asked about: verb, group, resource, subresource.
const ACTS: [(&str, &str, &str, &str); 8] = [
    ("get", "", "secrets", ""),
    ("list", "", "secrets", ""),
    ("watch", "", "secrets", ""),
    ("create", "", "pods", ""),
    ("create", "apps", "deployments", ""),
    ("create", "", "serviceaccounts", "token"),
    ("create", "", "pods", "exec"),
    ("bind", "rbac.authorization.k8s.io", "roles", ""),
];

const SUBJECTS: usize = 200;
const ROLES: usize = 30;

/// Users, groups and ServiceAccounts.
fn subject(rig: &Rig, n: usize) -> Value {
    let group = "rbac.authorization.k8s.io";
    match n % 3 {
        0 => json!({"kind": "User", "apiGroup": group, "name": format!("user-{n}")}),
        1 => json!({"kind": "Group", "apiGroup": group, "name": format!("group-{n}")}),
        _ => json!({"kind": "ServiceAccount", "name": format!("account-{n}"), "namespace": rig.namespace()}),
    }
}

/// A rule for something of [`ACTS`], or for nearly that.
fn rule(random: &mut StdRng, act: usize) -> Value {
    let mut one_of = |words: &[&str]| words[random.random_range(0..words.len())].to_owned();
    let (verb, group, resource, sub) = ACTS[act % ACTS.len()];
    let whole = if sub.is_empty() { resource.to_owned() } else { format!("{resource}/{sub}") };
    let mut rule = json!({
        "verbs": [one_of(&["*", verb, verb, "delete"])],
        "apiGroups": [one_of(&["*", group, group, "other"])],
        "resources": [one_of(&["*", &whole, &whole, "configmaps", "*/exec"])],
    });
    match one_of(&["all", "all", "this", "other"]).as_str() {
        "this" => rule["resourceNames"] = json!(["s"]),
        "other" => rule["resourceNames"] = json!(["t"]),
        _ => {}
    }
    rule
}

/// Roles, each bound to some of the subjects; some subjects are bound to none.
async fn bind(rig: &Rig) {
    let mut random = StdRng::seed_from_u64(7);
    for n in 0..ROLES {
        let rules = [rule(&mut random, n), rule(&mut random, n + 5)];
        rig.apply("Role", &format!("r{n}"), json!({ "rules": rules })).await;
        let subjects: Vec<Value> = (0..SUBJECTS).filter(|s| s % (ROLES + 3) == n).map(|s| subject(rig, s)).collect();
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": format!("r{n}")});
        rig.apply("RoleBinding", &format!("b{n}"), json!({"roleRef": role, "subjects": subjects})).await;
    }
}

/// What the API server says of a subject and something of [`ACTS`].
async fn review(rig: &Rig, subject: &Value, (verb, group, resource, sub): (&str, &str, &str, &str)) -> bool {
    let (namespace, name) = (rig.namespace(), subject["name"].as_str().unwrap_or_default());
    let (user, groups) = match subject["kind"].as_str() {
        Some("Group") => ("somebody".to_owned(), vec![name.to_owned()]),
        Some("ServiceAccount") => (format!("system:serviceaccount:{namespace}:{name}"), vec![]),
        _ => (name.to_owned(), vec![]),
    };
    let attributes = ResourceAttributes {
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: Some(sub.to_owned()).filter(|sub| !sub.is_empty()),
        name: Some("s".to_owned()).filter(|_| resource == "secrets"),
        namespace: Some(namespace.to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(user),
        groups: Some(groups),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let reviews = Api::<SubjectAccessReview>::all(rig.cluster.client());
    let answer = reviews.create(&PostParams::default(), &review).await.expect("an answer");
    answer.status.is_some_and(|status| status.allowed)
}

async fn who_agrees_with_the_api_server_about_two_hundred_subjects() {
    let rig = Rig::idle("desk-who").await;
    bind(&rig).await;
    agrees(&rig).await;
    rig.finish().await;
}

async fn agrees(rig: &Rig) {
    let namespace = format!("-n={}", rig.namespace());
    let told = json_of(run(rig, &["who", "secret/s", &namespace, "-o=json"]).await);
    let ways = told["ways"].as_array().expect("a list");
    let says = |subject: &Value, act: &str| {
        let name = match subject["kind"].as_str() {
            Some("ServiceAccount") => json!([subject["namespace"], subject["name"]]),
            _ => subject["name"].clone(),
        };
        ways.iter().any(|way| way["kind"] == subject["kind"] && way["name"] == name && way["by"] == act)
    };
    let asked = (0..SUBJECTS).flat_map(|n| ACTS.iter().map(move |act| (n, *act))).map(|(n, act)| async move {
        let subject = subject(rig, n);
        let is_allowed = review(rig, &subject, act).await;
        (subject, act, is_allowed)
    });
    let answers: Vec<_> = stream::iter(asked).buffer_unordered(16).collect().await;
    let allowed = answers.iter().filter(|(.., is_allowed)| *is_allowed).count();
    assert!(allowed > 100 && allowed < answers.len() - 100, "it found its subjects: {allowed} of {}", answers.len());
    for (subject, (verb, _, resource, sub), is_allowed) in answers {
        let act = if sub.is_empty() { format!("{verb} {resource}") } else { format!("{verb} {resource}/{sub}") };
        assert_eq!(says(&subject, &act), is_allowed, "{subject} {act}");
    }
}

async fn doctor_looks_at_a_cluster() {
    let (rig, value) = with_a_broken_one("desk-doctor").await;
    let found = json_of(run(&rig, &["doctor", "-o=json"]).await);
    let level = |check: &str| {
        let all = found.as_array().expect("a list");
        all.iter().find(|fault| fault["check"] == check).map(|fault| fault["level"].clone()).unwrap_or_default()
    };
    assert_eq!((level("version"), level("kinds")), (json!("good"), json!("good")));
    assert_eq!(level("static-logins"), "warning", "the store of this test logs in with a token");
    assert!(["warning", "unknown", "good"].contains(&level("encryption").as_str().unwrap_or_default()));
    let (text, err, _) = run(&rig, &["doctor"]).await;
    assert!(text.contains("static-logins") && !text.contains(&value) && !err.contains(&value), "{text}{err}");
    rig.finish().await;
}

async fn a_plugin_of_kubectl_has_its_name() {
    let rig = Rig::idle("desk-plugin").await;
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = folder.path().join("kubectl-keyferry");
    std::os::unix::fs::symlink(Program::program().expect("cargo built it"), &plugin).expect("a link");
    let help = Command::new(&plugin).arg("--help").output().await.expect("it runs");
    assert!(String::from_utf8_lossy(&help.stdout).contains("Usage: kubectl keyferry"), "{help:?}");
    let wrong = Command::new(&plugin).arg("statsu").output().await.expect("it runs");
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(told.contains("status") && wrong.status.code() == Some(2), "{told}");
    rig.finish().await;
}

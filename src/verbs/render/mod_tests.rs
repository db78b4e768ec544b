use std::path::Path;

use super::*;

const STORE: &str = r#"
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: s}
spec:
  provider:
    fake:
      data:
      - {key: a, value: canary-alpha}
      - {key: j, value: '{"user":"bob","password":"canary-alpha"}'}
"#;

fn external_secret(name: &str, spec: &str) -> String {
    format!(
        "\n---\napiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {{name: {name}}}\nspec:\n  \
         secretStoreRef: {{name: s}}\n{spec}"
    )
}

/// What it prints, what it tells, and its exit code, as text.
async fn rendered(folder: &Path, flags: &[&str]) -> (String, String, String) {
    told(folder, &["-f", folder.to_str().unwrap()], flags, "").await
}

async fn told(folder: &Path, names: &[&str], flags: &[&str], input: &str) -> (String, String, String) {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        render: Render,
    }
    let folder = folder.to_str().unwrap();
    let args = ["render"].iter().chain(names).chain(flags).copied();
    let Cli { render } = clap::Parser::parse_from(args);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run(&render, &mut input.as_bytes(), &mut out, &mut err).await.unwrap();
    let text = |bytes: Vec<u8>, folder: &str| String::from_utf8(bytes).unwrap().replace(folder, "DIR");
    (text(out, folder), text(err, folder), format!("{code:?}"))
}

fn folder(files: &[(&str, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn code(code: u8) -> String {
    format!("{:?}", ExitCode::from(code))
}

#[tokio::test]
async fn values_are_masked_and_equal_ones_are_seen_to_be_equal() {
    let template = "  target:\n    template:\n      metadata: {annotations: {who: '{{ .user }}-x', plain: word}}\n  \
                    dataFrom: [{extract: {key: j}}]\n";
    let text = STORE.to_owned()
        + &external_secret("e", "  dataFrom: [{extract: {key: j}}]\n  data: [{secretKey: a, remoteRef: {key: a}}]\n")
        + &external_secret("t", template);
    let folder = folder(&[("app.yaml", text)]);
    let (out, err, exit) = rendered(folder.path(), &[]).await;
    assert_eq!((exit, err.as_str()), (code(0), "2 of 2 rendered, 0 failed\n"));
    assert!(!out.contains("canary") && !out.contains("bob"), "{out}");
    let line = |key: &str| out.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap().to_owned();
    assert_eq!(line("a: "), line("password: "));
    assert!(line("a: ").starts_with("\"[12 bytes, #") && line("user: ").starts_with("\"[3 bytes, #"), "{out}");
    assert!(out.contains("plain: word") && line("who: ").starts_with("\"[5 bytes, #"), "{out}");
    let hash = line("reconcile.external-secrets.io/data-hash: ");
    assert!(hash.starts_with("\"[56 bytes, #"), "what is derived from values is masked, too: {hash}");
    let (again, ..) = rendered(folder.path(), &[]).await;
    assert_ne!(out, again, "each run has its own key");
}

#[tokio::test]
async fn values_are_shown_where_that_is_asked_for() {
    let text = STORE.to_owned() + &external_secret("e", "  data: [{secretKey: a, remoteRef: {key: a}}]\n");
    let folder = folder(&[("app.yaml", text)]);
    let (out, _, exit) = rendered(folder.path(), &["--show-values", "-o", "json", "-n", "team"]).await;
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    let secret = &list["items"][0];
    assert_eq!((exit, secret["stringData"]["a"].as_str()), (code(0), Some("canary-alpha")));
    assert_eq!((secret["metadata"]["namespace"].as_str(), secret["type"].as_str()), (Some("team"), Some("Opaque")));
}

#[tokio::test]
async fn what_fails_is_told_with_its_place_and_stops_nobody_else() {
    let bad = external_secret("bad", "  data: [{secretKey: a, remoteRef: {key: gone}}]\n");
    let good = external_secret("good", "  data: [{secretKey: a, remoteRef: {key: a}}]\n");
    let folder = folder(&[("app.yaml", STORE.to_owned() + &bad + &good)]);
    let (out, err, exit) = rendered(folder.path(), &[]).await;
    assert_eq!(exit, code(1));
    assert!(out.contains("name: good") && !out.contains("name: bad"), "{out}");
    let expected = "DIR/app.yaml:18: error: ExternalSecret default/bad: could not get secret data from provider: error \
                    processing spec.data[0] (secretKey \"a\"): key \"gone\" of SecretStore \"s\"";
    assert!(err.starts_with(expected) && err.ends_with("\n1 of 2 rendered, 1 failed\n"), "{err}");
}

#[tokio::test]
async fn each_cause_is_told_with_the_line_of_its_entry() {
    let bad = external_secret(
        "bad",
        "  data:\n  - {secretKey: a, remoteRef: {key: gone}}\n  - {secretKey: b, remoteRef: {key: a}}\n  \
         - secretKey: c\n    remoteRef:\n      key: lost\n  dataFrom: [{extract: {key: a}}]\n",
    );
    let list = r#"{"apiVersion": "v1", "kind": "List", "items": [{
        "apiVersion": "external-secrets.io/v1beta1", "kind": "ExternalSecret", "metadata": {"name": "j"},
        "spec": {
            "secretStoreRef": {"name": "s"},
            "target": {"template": {"data": {"x": "{{ .nope }}"}}},
            "data": [{"secretKey": "a", "remoteRef": {"key": "a"}}]}}]}"#;
    let folder = folder(&[("a.yaml", STORE.to_owned() + &bad.replace('\n', "\r\n")), ("b.json", list.to_owned())]);
    let (_, err, exit) = rendered(folder.path(), &[]).await;
    let places: Vec<&str> = err.lines().filter_map(|line| Some(line.split_once(": error: ")?.0)).collect();
    let expected = ["DIR/a.yaml:24", "DIR/a.yaml:19", "DIR/a.yaml:21", "DIR/b.json:5"];
    assert_eq!((exit, places.as_slice()), (code(1), &expected[..]), "{err}");
}

#[tokio::test]
async fn what_can_not_be_read_is_told_with_its_line_and_stops_nothing_else() {
    let good = STORE.to_owned() + &external_secret("e", "  data: [{secretKey: a, remoteRef: {key: a}}]\n");
    let folder = folder(&[
        ("a.yaml", "apiVersion: v1\nkind: [\n".to_owned()),
        ("b.yaml", "kind: Thing\n".to_owned()),
        ("c.txt", "not looked at".to_owned()),
        ("d.yaml", good),
        ("e.yaml", "apiVersion: external-secrets.io/v1alpha1\nkind: ExternalSecret\nmetadata: {name: x}\n".to_owned()),
        ("kustomization.yaml", "resources: [d.yaml]\n".to_owned()),
    ]);
    let (out, err, exit) = rendered(folder.path(), &[]).await;
    assert!(exit == code(2) && out.contains("name: e\n"), "{out}");
    let lines: Vec<&str> = err.lines().collect();
    assert!(
        lines[0].starts_with("DIR/kustomization.yaml: note: ") && lines[0].contains("kubectl kustomize DIR |"),
        "{err}"
    );
    assert!(lines[1].starts_with("DIR/a.yaml:") && lines[2].starts_with("DIR/b.yaml:1: error: "), "{err}");
    assert!(
        lines[3].starts_with("DIR/e.yaml:1: error: ExternalSecret is read in the versions v1 and v1beta1"),
        "{err}"
    );
    assert_eq!(lines[4..], ["1 of 1 rendered, 0 failed"]);
    let (_, err, exit) = rendered(&folder.path().join("nothing"), &[]).await;
    assert!(exit == code(2) && err.starts_with("DIR: error: there is no such file or folder"), "{err}");
}

#[tokio::test]
async fn files_folders_and_standard_input_are_read_as_kubectl_reads_them() {
    let es = |name| external_secret(name, "  data: [{secretKey: a, remoteRef: {key: a}}]\n");
    let folder = folder(&[("a.yaml", es("a")), ("b.txt", es("b"))]);
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    std::fs::write(folder.path().join("sub/c.yaml"), es("c")).unwrap();
    let (dir, file) = (folder.path().to_str().unwrap(), folder.path().join("b.txt"));
    let names = ["-f", dir, "-f", file.to_str().unwrap(), "-f", "-"];
    let secrets = |out: &str| out.lines().filter_map(|line| line.strip_prefix("  name: ").map(str::to_owned)).collect();
    let (out, err, exit) = told(folder.path(), &names, &[], STORE).await;
    assert_eq!((exit, secrets(&out)), (code(0), vec!["a".to_owned(), "b".to_owned()]), "{err}");
    let (out, ..) = told(folder.path(), &names, &["-R"], STORE).await;
    let all: Vec<String> = secrets(&out);
    assert_eq!(all, ["a", "c", "b"]);
    let (_, err, exit) = told(folder.path(), &["-f", "-"], &[], "---\n# nothing\n").await;
    assert!(exit == code(2) && err.starts_with("-: error: there are no manifests"), "{err}");
}

#[tokio::test]
async fn where_there_is_nothing_it_says_what_the_operator_would_do() {
    let target = |rest: &str, from: &str| format!("  target: {{{rest}}}\n  dataFrom: [{from}]\n");
    let gone = "{extract: {key: gone}}";
    let cases = [
        ("deletionPolicy: Delete", gone, "secret deleted due to DeletionPolicy=Delete"),
        ("creationPolicy: Merge", "{extract: {key: j}}", "secret will not be created due to CreationPolicy=Merge"),
        ("creationPolicy: None", "{extract: {key: j}}", "creationPolicy is None: nothing is written"),
    ];
    for (rest, from, note) in cases {
        let folder = folder(&[("a.yaml", STORE.to_owned() + &external_secret("e", &target(rest, from)))]);
        let (out, err, exit) = rendered(folder.path(), &[]).await;
        assert_eq!((exit, out.as_str()), (code(0), ""), "{rest}: {err}");
        assert!(err.contains(&format!(": note: ExternalSecret default/e: {note}\n")), "{rest}: {err}");
    }
    let folder =
        folder(&[("a.yaml", STORE.to_owned() + &external_secret("e", &target("deletionPolicy: Merge", gone)))]);
    let (out, err, _) = rendered(folder.path(), &[]).await;
    assert!(
        out.contains("name: e") && err.contains("the store does not have spec.dataFrom[0].extract (key=gone)"),
        "{err}"
    );
}

#[tokio::test]
async fn a_target_among_the_manifests_counts_as_there() {
    let there = "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: t, labels: {mine: 'yes'}}\ntype: example.org/x\n\
                 stringData: {own: '1'}\n";
    let with = |policy: &str| {
        let spec = format!(
            "  target: {{name: t, creationPolicy: {policy}}}\n  data: [{{secretKey: a, remoteRef: {{key: a}}}}]\n"
        );
        folder(&[("a.yaml", STORE.to_owned() + &external_secret("e", &spec) + there)])
    };
    for (policy, keeps) in [("Merge", true), ("Owner", false)] {
        let folder = with(policy);
        let (out, err, _) = rendered(folder.path(), &["--show-values", "-o", "json"]).await;
        let list: serde_json::Value = serde_json::from_str(&out).unwrap();
        let secret = &list["items"][0];
        assert_eq!(secret["metadata"]["labels"]["mine"], "yes", "{err}");
        assert_eq!(secret["type"], "example.org/x");
        assert_eq!(secret["stringData"]["own"].is_string(), keeps, "{policy}");
    }
}

#[tokio::test]
async fn no_key_shows_a_value_and_bytes_are_counted_as_bytes() {
    let template = "  target:\n    template:\n      templateFrom:\n      - literal: '{{ .password }}-{{ .user }}: x'\n      \
                    - {target: Labels, literal: 'l-{{ .password }}: x'}\n      - literal: 'fixed: {{ .user }}'\n  \
                    dataFrom: [{extract: {key: j}}]\n";
    let bytes = "  data: [{secretKey: a, remoteRef: {key: a, decodingStrategy: Base64}}]\n";
    let store = STORE.replace("key: a, value: canary-alpha", "key: a, value: //79");
    let folder = folder(&[("a.yaml", store + &external_secret("e", template) + &external_secret("b", bytes))]);
    let (out, err, exit) = rendered(folder.path(), &[]).await;
    assert_eq!(exit, code(0), "{err}");
    assert!(!out.contains("canary") && !err.contains("canary"), "{out}");
    assert!(out.contains("\n  fixed: \"[3 bytes, #") && out.contains("\n  \"[16 bytes, #"), "{out}");
    assert!(out.contains("data:\n  a: \"[3 bytes, #"), "{out}");
    assert!(out.contains("reconcile.external-secrets.io/data-hash: "), "{out}");
}

#[tokio::test]
async fn given_values_stand_in_for_every_store() {
    let store = "apiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {name: s}\nspec: {provider: {vault: \
                 {server: 'https://vault.invalid', auth: {kubernetes: {mountPath: k, role: r}}}}}\n";
    let spec = "  data: [{secretKey: pw, remoteRef: {key: app, property: pw}}]\n  \
                dataFrom: [{find: {name: {regexp: '^db-'}}}]\n";
    let values = "app: {pw: 5}\ndb-a: one\ndb-b: two\nother: x\n".to_owned();
    let folder = folder(&[("app.yml", store.to_owned() + &external_secret("e", spec)), ("values.txt", values)]);
    let values = folder.path().join("values.txt");
    let flags = ["--show-values", "--values", values.to_str().unwrap()];
    let (out, err, exit) = rendered(folder.path(), &flags).await;
    assert_eq!(exit, code(0), "{err}");
    let data = out.split("stringData:\n").nth(1).unwrap();
    assert!(data.starts_with("  db-a: one\n  db-b: two\n  pw: \"5\"\n"), "{out}");
    let alone = external_secret("e", spec);
    let (_, err, exit) = told(folder.path(), &["-f", "-"], &flags, &alone).await;
    assert_eq!(exit, code(0), "{err}");
    assert!(err.starts_with("note: SecretStore \"s\" is not among the manifests; --values stands in\n"), "{err}");
}

#[tokio::test]
async fn templates_logins_and_generators_come_from_the_folder() {
    let from = "  target:\n    template:\n      templateFrom: [{configMap: {name: c, items: [{key: t}]}}]\n  \
                dataFrom: [{sourceRef: {generatorRef: {kind: Fake, name: g}}}]\n";
    let rest = "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {t: 'is {{ .x }}'}\n\
                ---\napiVersion: generators.external-secrets.io/v1alpha1\nkind: Fake\nmetadata: {name: g}\n\
                spec: {data: {x: made}}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n";
    let folder = folder(&[("a.yaml", STORE.to_owned() + &external_secret("e", from) + rest)]);
    let (out, err, _) = rendered(folder.path(), &["--show-values"]).await;
    assert!(out.contains("t: is made") || out.contains("t: \"is made\""), "{out}");
    assert_eq!(err, "1 of 1 rendered, 0 failed; passed over: 1 Deployment\n");
}

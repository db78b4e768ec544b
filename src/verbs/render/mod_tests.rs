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
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        render: Render,
    }
    let folder = folder.to_str().unwrap();
    let args = ["render", "-f", folder].into_iter().chain(flags.iter().copied());
    let Cli { render } = clap::Parser::parse_from(args);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run(&render, &mut out, &mut err).await.unwrap();
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
    let expected = "DIR/app.yaml:13: error: ExternalSecret default/bad: could not get secret data from provider: error \
                    processing spec.data[0] (secretKey \"a\"): key \"gone\" of SecretStore \"s\"";
    assert!(err.starts_with(expected) && err.ends_with("\n1 of 2 rendered, 1 failed\n"), "{err}");
}

#[tokio::test]
async fn what_can_not_be_read_is_told_with_its_line() {
    let folder = folder(&[
        ("a.yaml", "apiVersion: v1\nkind: [\n".to_owned()),
        ("b.yaml", "kind: Thing\n".to_owned()),
        ("c.txt", "not looked at".to_owned()),
    ]);
    let (out, err, exit) = rendered(folder.path(), &[]).await;
    assert_eq!((exit, out.as_str()), (code(2), ""));
    let lines: Vec<&str> = err.lines().collect();
    assert!(lines[0].starts_with("error: DIR/a.yaml:") && lines[1].starts_with("error: DIR/b.yaml:1: "), "{err}");
    let (_, err, exit) = rendered(&folder.path().join("nothing"), &[]).await;
    assert!(exit == code(2) && err.contains("entity not found"), "{err}");
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

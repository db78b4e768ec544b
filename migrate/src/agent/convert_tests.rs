use super::*;
use std::path::Path;

use super::super::workload::of_file;

fn args() -> VaultAgent {
    VaultAgent {
        refresh_interval: "5m".into(),
        vault_server: Some("https://vault".into()),
        auth_path: "kubernetes".into(),
        audience: "vault".into(),
        ..VaultAgent::default()
    }
}

fn converted(text: &str) -> Converted {
    let mut all = Vec::new();
    assert_eq!(of_file(Path::new("f.yaml"), text, &mut all), Vec::<String>::new());
    convert(&all, &args())
}

fn texts(converted: &Converted, weight: Weight) -> Vec<String> {
    let of = converted.notes.iter().filter(|note| note.weight == weight);
    of.map(|note| format!("{}: {}", note.place, note.text)).collect()
}

const DEPLOYMENT: &str = r#"kind: ConfigMap
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: team}
spec:
  template:
    metadata:
      annotations:
        vault.hashicorp.com/agent-inject: "true"
        vault.hashicorp.com/role: app
        vault.hashicorp.com/auth-path: auth/cluster-a
        vault.hashicorp.com/namespace: tenants
        vault.hashicorp.com/agent-inject-secret-db: secret/data/db
        vault.hashicorp.com/agent-inject-template-db: |
          {{ with secret "secret/data/db" }}user={{ .Data.data.user }}{{ end }}
        vault.hashicorp.com/agent-inject-secret-kv: team/app
        vault.hashicorp.com/agent-inject-perms-kv: "0400"
        vault.hashicorp.com/agent-inject-file-kv: sub/kv.txt
        vault.hashicorp.com/agent-inject-command-kv: kill -HUP 1
        vault.hashicorp.com/agent-run-as-same-user: "true"
        example.com/other: stays
    spec:
      serviceAccountName: runner
      containers: [{name: main, image: x, securityContext: {runAsUser: 1000}}]
"#;

#[test]
fn a_deployment_becomes_a_store_an_external_secret_and_a_patch() {
    let made = converted(DEPLOYMENT);
    let [second, first, secret] = made.manifests.as_slice() else { panic!("{:?}", made.manifests) };
    let login = json!({"mountPath": "cluster-a", "role": "app", "serviceAccountRef": {"name": "whoever-mounts", "audiences": ["vault"]}});
    let vault = |mount: &str, version: &str| {
        json!({"loginBy": "Mount", "provider": {"vault": {
            "server": "https://vault", "path": mount, "version": version, "namespace": "tenants", "auth": {"kubernetes": login},
        }}})
    };
    assert_eq!(second["metadata"], json!({"name": "vault-secret-app", "namespace": "team"}));
    assert_eq!((&second["spec"], &first["spec"]), (&vault("secret", "v2"), &vault("team", "v1")));
    let expected = json!({
        "refreshInterval": "5m",
        "secretStoreRef": {"name": "vault-secret-app", "kind": "SecretStore"},
        "target": {"creationPolicy": "None", "template": {"engineVersion": "v2", "data": {
            "db": "{{/* secret/data/db */}}user={{ $.v0 }}{{/* end */}}\n",
            "sub-kv.txt": "{{/* team/app */}}{{ range $k, $v := (mustFromJson $.v1) }}{{ $k }}: {{ $v }}\n{{ end }}{{/* end */}}",
        }}},
        "data": [
            {"secretKey": "v0", "remoteRef": {"key": "db", "property": "user"}},
            {
                "secretKey": "v1", "remoteRef": {"key": "app"},
                "sourceRef": {"storeRef": {"name": "vault-team-app", "kind": "SecretStore"}},
            },
        ],
    });
    assert_eq!((&secret["metadata"]["name"], &secret["spec"]), (&json!("app"), &expected));
    let [(_, grant), (place, patch)] = made.commands.as_slice() else { panic!("{:?}", made.commands) };
    assert_eq!(place, "f.yaml:3: Deployment team/app");
    assert_eq!(grant, "keyferry grant app --to runner --namespace team | kubectl apply --filename -");
    let patch = patch.strip_prefix("kubectl patch deployment app --namespace team --type merge --patch '").unwrap();
    let patch: Value = serde_json::from_str(patch.strip_suffix('\'').unwrap()).unwrap();
    let annotations = patch["spec"]["template"]["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(annotations["keyferry.io/inject"], "app");
    assert_eq!(annotations["keyferry.io/inject-path-app"], "/vault/secrets");
    assert_eq!(annotations["keyferry.io/inject-owner-app"], "1000");
    let items: Value = serde_json::from_str(annotations["keyferry.io/inject-items-app"].as_str().unwrap()).unwrap();
    assert_eq!(
        items,
        json!([{"key": "db", "path": "db"}, {"key": "sub-kv.txt", "path": "sub/kv.txt", "mode": "0400"}])
    );
    assert_eq!(annotations.values().filter(|value| value.is_null()).count(), 11);
    assert!(!annotations.contains_key("example.com/other"));
    assert_eq!(texts(&made, Weight::Lost), Vec::<String>::new());
    let to_do = texts(&made, Weight::ToDo);
    assert!(
        to_do.iter().any(|text| text.starts_with("f.yaml:20: Deployment team/app: file \"sub/kv.txt\": nothing runs")),
        "{to_do:?}"
    );
    assert!(
        to_do
            .iter()
            .any(|text| text.contains("the role \"app\" of auth/cluster-a take tokens of the audience \"vault\""))
    );
}

#[test]
fn what_is_lost_is_told_by_its_line_and_the_agent_stays() {
    let made = converted(&DEPLOYMENT.replace("team/app\n", "database/creds/app\n"));
    let lost = texts(&made, Weight::Lost);
    let [lost] = lost.as_slice() else { panic!("{lost:?}") };
    assert!(
        lost.starts_with(
            "f.yaml:17: Deployment team/app: file \"sub/kv.txt\": \"database/creds/app\" is no key-value secret"
        ),
        "{lost}"
    );
    assert_eq!(made.manifests.len(), 2, "what can be carried over is");
    assert!(!made.commands.iter().any(|(_, command)| command.contains("patch")), "{:?}", made.commands);
    assert!(
        texts(&made, Weight::ToDo).iter().any(|text| text.contains("it keeps the agent until nothing of it is lost"))
    );
    let none = converted(&DEPLOYMENT.replace("team/app\n", "secret/data/kv\n"));
    assert!(
        texts(&none, Weight::Lost)[0]
            .contains("{{ with secret \"secret/data/kv\" }}{{ range $key, $value := .Data.data }}")
    );
}

#[test]
fn a_workload_is_carried_over_once_and_stores_of_one_name_differ_by_their_specs() {
    let made = converted(&format!("{DEPLOYMENT}---\n{}", DEPLOYMENT.replace("role: app", "role: other")));
    let lost = texts(&made, Weight::Lost);
    let [lost] = lost.as_slice() else { panic!("{lost:?}") };
    assert!(lost.ends_with("it is there already (f.yaml:3: Deployment team/app): only that is carried over"), "{lost}");
    assert_eq!(made.manifests.len(), 3);

    let other = DEPLOYMENT.replace("name: app,", "name: other,").replace("namespace: tenants", "namespace: others");
    let made = converted(&format!("{DEPLOYMENT}---\n{other}"));
    let stores: Vec<&Value> = made.manifests.iter().filter(|manifest| manifest["kind"] == "SecretStore").collect();
    let names: Vec<&str> = stores.iter().filter_map(|store| store["metadata"]["name"].as_str()).collect();
    let hash = |at: usize| short_hash(&stores[at]["spec"]["provider"]["vault"].to_string());
    let (second, first) = (format!("vault-secret-app-{}", hash(2)), format!("vault-team-app-{}", hash(3)));
    assert_eq!(names, ["vault-secret-app", "vault-team-app", &second, &first]);
}

/// A patch takes the agent away: not while something is missing that the agent gave.
#[test]
fn a_patch_waits_for_all_that_the_agent_gave() {
    let has_patch = |made: &Converted| made.commands.iter().any(|(_, command)| command.starts_with("kubectl patch"));
    assert!(has_patch(&converted(DEPLOYMENT)));
    for (more, weight, says) in [
        ("agent-configmap: c", Weight::Lost, "agent-configmap: its configuration is in a ConfigMap"),
        ("agent-extra-secret: s", Weight::Lost, "templateFrom"),
        ("agent-inject-token: 'true'", Weight::Lost, "no token of Vault is given away"),
        ("agent-template-left-delim-db: '<<'", Weight::Lost, "delimiters of its own"),
        ("agent-inject-containers: other", Weight::ToDo, "all containers would have the files"),
    ] {
        let more = format!("vault.hashicorp.com/{more}\n        example.com/other");
        let made = converted(&DEPLOYMENT.replace("example.com/other", &more));
        let said = texts(&made, weight);
        assert_eq!(said.iter().filter(|text| text.contains(says)).count(), 1, "{more}: {said:?}");
        assert!(!has_patch(&made), "{more}");
    }
    assert!(has_patch(&converted(&DEPLOYMENT.replace(
        "example.com/other",
        "vault.hashicorp.com/agent-inject-containers: main\n        example.com/other"
    ))));
    // A folder of plain text alone makes no volume.
    let plain = "vault.hashicorp.com/agent-inject-template-note: plain\n        vault.hashicorp.com/secret-volume-path-note: /etc/note\n        \
                 example.com/other";
    let made = converted(&DEPLOYMENT.replace("example.com/other", plain));
    let lost = texts(&made, Weight::Lost);
    assert!(lost.len() == 1 && lost[0].contains("file \"note\": nothing in its folder asks"), "{lost:?}");
    assert!(!has_patch(&made));
}

#[test]
fn who_reads_a_file_is_its_owner_where_its_group_is_root() {
    for (mode, has_group, is_owned) in [
        ("0400", false, true),
        ("0400", true, true),
        ("0440", false, true),
        ("0640", false, true),
        ("0440", true, false),
        ("0444", false, false),
    ] {
        let group = if has_group { "securityContext: {fsGroup: 2000}" } else { "restartPolicy: Always" };
        let text = DEPLOYMENT.replace("\"0400\"", &format!("{mode:?}"));
        let text = text.replace("serviceAccountName: runner", &format!("serviceAccountName: runner\n      {group}"));
        let made = converted(&text);
        let owned =
            made.commands.iter().any(|(_, command)| command.contains(r#""keyferry.io/inject-owner-app":"1000""#));
        assert_eq!(owned, is_owned, "{mode} {has_group}");
    }
}

#[test]
fn every_kind_is_patched_where_its_pods_are() {
    let pod = |indent: &str| {
        let lines = [
            "metadata:",
            "  annotations:",
            "    vault.hashicorp.com/agent-inject: 'true'",
            "    vault.hashicorp.com/agent-pre-populate-only: 'true'",
            "    vault.hashicorp.com/agent-inject-template-a: '{{ with secret \"kv/a\" }}{{ .Data.x }}{{ end }}'",
            "    vault.hashicorp.com/secret-volume-path-a: /etc/a",
            "    vault.hashicorp.com/agent-inject-template-b: '{{ with secret \"kv/a\" }}{{ .Data.x }}{{ end }}'",
            "    vault.hashicorp.com/secret-volume-path-b: /etc/a/b",
            "    vault.hashicorp.com/agent-inject-template-c: '{{ with secret \"kv/a\" }}{{ .Data.x }}{{ end }}'",
        ];
        lines.map(|line| format!("{indent}{line}\n")).concat()
    };
    for (kind, above, indent, patched) in [
        ("StatefulSet", "spec:\n  template:\n", "    ", Some("/spec/template")),
        ("DaemonSet", "spec:\n  template:\n", "    ", Some("/spec/template")),
        (
            "CronJob",
            "spec:\n  jobTemplate:\n    spec:\n      template:\n",
            "        ",
            Some("/spec/jobTemplate/spec/template"),
        ),
        ("Job", "spec:\n  template:\n", "    ", None),
    ] {
        let made = converted(&format!("kind: {kind}\nmetadata: {{name: app}}\n{above}{}", pod(indent)));
        let secrets: Vec<&Value> =
            made.manifests.iter().filter(|manifest| manifest["kind"] == "ExternalSecret").collect();
        let names: Vec<&str> = secrets.iter().filter_map(|secret| secret["metadata"]["name"].as_str()).collect();
        assert_eq!(
            (names.as_slice(), &secrets[0]["spec"]["refreshPolicy"]),
            (&["app", "app-2"][..], &json!("CreatedOnce"))
        );
        let patch = made.commands.iter().find(|(_, command)| command.starts_with("kubectl patch"));
        match (patched, patch) {
            (Some(at), Some((_, command))) => {
                let patch: Value = serde_json::from_str(command.split('\'').nth(1).unwrap()).unwrap();
                let annotations = &patch.pointer(at).unwrap()["metadata"]["annotations"];
                assert_eq!(annotations["keyferry.io/inject"], "app,app-2");
                assert_eq!(annotations["keyferry.io/inject-path-app"], "/etc/a");
                assert_eq!(
                    annotations["keyferry.io/inject-items-app"],
                    r#"[{"key":"a","path":"a"},{"key":"b-b","path":"b/b"}]"#
                );
                assert_eq!(annotations["keyferry.io/inject-path-app-2"], "/vault/secrets");
            }
            (None, None) => {
                let to_do = texts(&made, Weight::ToDo);
                assert!(
                    to_do.iter().any(|text| text.contains("a Job can't be given volumes: make it anew")),
                    "{to_do:?}"
                );
            }
            other => panic!("{kind}: {other:?}"),
        }
    }
}

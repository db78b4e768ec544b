use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::Parser;

use super::*;

/// The verb as a command of its own, for its flags.
#[derive(Parser)]
struct Alone {
    #[command(flatten)]
    args: Validate,
}

fn args(more: &[&str]) -> Validate {
    Alone::parse_from(["validate"].iter().chain(more)).args
}

fn told(more: &[&str], input: &str) -> (String, String, ExitCode) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run(&args(more), &mut input.as_bytes(), &mut out, &mut err).unwrap();
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), code)
}

/// What is wrong with a text, each as `line severity path: message`.
fn found(input: &str) -> Vec<String> {
    let args = args(&["-f", "-"]);
    let manifests = read::read_closed(&args.filename, false, &mut input.as_bytes());
    let found = judge(&args, &manifests).1;
    found.iter().map(|f| format!("{} {:?} {}: {}", f.line, f.severity, f.path, f.message)).collect()
}

const GOOD: &str = "\
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: app}
spec:
  secretStoreRef: {name: s}
  data:
  - secretKey: password
    remoteRef: {key: app, property: password}
";

#[test]
fn what_is_well_is_not_told_of() {
    assert_eq!(found(GOOD), [""; 0]);
    let (out, err, code) = told(&["-f", "-"], GOOD);
    assert_eq!((out.as_str(), err.as_str(), code), ("", "1 objects, 0 errors, 0 warnings\n", ExitCode::SUCCESS));
    let strange = format!("{GOOD}---\na: 1\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\n");
    assert_eq!(found(&strange), [""; 0], "a repository has other files, too");
}

#[test]
fn what_kubectl_takes_for_a_boolean_is_no_text() {
    let told = found(&GOOD.replace("key: app", "key: NO"));
    assert!(told.len() == 1 && told[0].starts_with("8 Error spec.data[0].remoteRef.key: "), "{told:?}");
}

#[test]
fn what_is_not_there_has_no_line() {
    let (out, _, code) = told(&["-f", "nowhere"], "");
    assert_eq!((out.as_str(), code), ("nowhere: error: there is no such file or folder\n", ExitCode::from(2)));
}

#[test]
fn each_kind_of_output_and_end() {
    let bad = GOOD.replace("property: password", "propery: password");
    let (out, _, code) = told(&["-f", "-"], &bad);
    let expected = "stdin:8: error: ExternalSecret app: spec.data[0].remoteRef.propery: there is no such field: the API server \
                    would refuse it, or drop it; did you mean property?\n";
    assert_eq!((out.as_str(), code), (expected, ExitCode::from(1)));
    let (out, _, _) = told(&["-f", "-", "-o", "json"], &bad);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&json[0]["line"], &json[0]["check"], &json[0]["severity"]),
        (&8.into(), &"pruned".into(), &"error".into())
    );
    let (out, _, _) = told(&["-f", "-", "-o", "github"], &bad);
    assert!(out.starts_with("::error file=stdin,line=8,title=keyferry::ExternalSecret app: spec.data[0]"), "{out}");
    let old = GOOD.replace("io/v1", "io/v1beta1");
    assert_eq!(told(&["-f", "-"], &old).2, ExitCode::SUCCESS, "a warning");
    assert_eq!(told(&["-f", "-", "--strict"], &old).2, ExitCode::from(1));
    assert_eq!(told(&["-f", "-"], "a: [").2, ExitCode::from(2));
}

#[test]
fn what_is_not_among_the_manifests_counts_where_they_are_complete() {
    let (out, _, code) = told(&["-f", "-", "--complete"], GOOD);
    assert!(out.contains("no SecretStore \"s\" is among the manifests") && out.starts_with("stdin:5:"), "{out}");
    assert_eq!(code, ExitCode::from(1));
}

#[test]
fn a_guess_is_a_warning_unless_the_manifests_are_complete() {
    let store = "---\napiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {name: backend}\nspec: {provider: {fake: {data: []}}}\n";
    let near = GOOD.replace("{name: s}", "{name: backand}") + store;
    let elsewhere =
        GOOD.replace("{name: s}", "{name: backend}").replace("{name: app}", "{name: app, namespace: shop}") + store;
    let other_kind = GOOD.replace("{name: s}", "{name: backend, kind: ClusterSecretStore}") + store;
    for (text, part) in
        [(near, "did you mean backend?"), (elsewhere, "is in namespace \"default\""), (other_kind, "set kind: ")]
    {
        let (out, _, code) = told(&["-f", "-"], &text);
        assert!(out.contains(": warning: ") && out.contains(part) && code == ExitCode::SUCCESS, "{out}");
        let (out, _, code) = told(&["-f", "-", "--complete"], &text);
        assert!(out.contains(": error: ") && out.contains(part) && code == ExitCode::FAILURE, "{out}");
    }
}

#[test]
fn only_our_own_objects_are_there_twice_and_none_that_gets_its_name_when_it_is_made() {
    let other = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
    assert_eq!(found(&format!("{GOOD}{other}{other}")), [""; 0]);
    let generated = GOOD.replace("{name: app}", "{generateName: app-}");
    assert_eq!(found(&format!("{generated}---\n{generated}")), [""; 0]);
    let twice = found(&format!("{GOOD}---\n{GOOD}"));
    assert!(twice.iter().any(|told| told.contains("it is there already")), "{twice:?}");
}

#[test]
fn what_can_not_be_read_by_the_operator_is_told() {
    let labels = found(&GOOD.replace("{name: app}", "{name: app, labels: {a: 1}}"));
    let expected = "3 Error metadata.labels: metadata.labels is not of its form: all of its values have to be texts, so put them in quotes";
    assert_eq!(labels, [expected]);
    let generator = "apiVersion: generators.external-secrets.io/v1alpha1\nkind: UUID\nmetadata: {name: u, annotations: {a: true}}\n";
    let told = found(generator);
    assert!(told.len() == 1 && told[0].contains("metadata.annotations is not of its form"), "{told:?}");
}

#[test]
fn a_kind_of_ours_without_its_group_is_told_and_one_of_others_is_not() {
    let of = |version: &str| GOOD.replace("apiVersion: external-secrets.io/v1\n", version);
    for version in ["apiVersion: v1\n", "apiVersion: apps/v1\n", ""] {
        let told = found(&of(version));
        assert!(told.len() == 1 && told[0].contains("external-secrets.io/v1"), "{version:?}: {told:?}");
    }
    assert_eq!(found(&of("apiVersion: kubernetes-client.io/v1\n")), [""; 0]);
    assert_eq!(found("apiVersion: acme.io/v1\nkind: Password\nmetadata: {name: p}\n"), [""; 0]);
    assert_eq!(found("kind: Password\nmetadata: {name: p}\n"), [""; 0]);
}

/// Each mistake of `mistakes` is marked on its line: `# MISTAKE: what is told`.
#[test]
fn every_seeded_mistake_is_found_on_its_line_and_nothing_else() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/verbs/validate/mistakes");
    let args = args(&["-f", folder]);
    let manifests = read::read_closed(&args.filename, false, &mut std::io::empty());
    let found = judge(&args, &manifests).1;
    let mut expected = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in &files {
        for (n, line) in std::fs::read_to_string(file).unwrap().lines().enumerate() {
            if let Some((_, message)) = line.split_once("# MISTAKE: ") {
                expected.push((file.display().to_string(), n as u64 + 1, message.to_owned()));
            }
        }
    }
    assert!(expected.len() >= 40, "{} mistakes", expected.len());
    let mut rest = found.clone();
    for (file, line, message) in &expected {
        let is_it = |f: &Finding| f.file == *file && f.line == *line && f.message.contains(message);
        let at = rest.iter().position(is_it);
        let there: Vec<String> = found.iter().filter(|f| f.file == *file).map(ToString::to_string).collect();
        rest.remove(
            at.unwrap_or_else(|| panic!("not found: {file}:{line}: {message}; there are\n{}", there.join("\n"))),
        );
    }
    let rest: Vec<String> = rest.iter().map(ToString::to_string).collect();
    assert!(rest.is_empty(), "nobody made these mistakes:\n{}", rest.join("\n"));
}

/// The YAML blocks of the documentation, of the samples, and of what External Secrets Operator documents.
#[test]
fn documented_manifests_have_no_mistakes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for folder in ["config/samples", "docs/stores", "docs"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let text = match path.extension().and_then(|extension| extension.to_str()) {
                Some("yaml") => std::fs::read_to_string(&path).unwrap(),
                Some("md") => blocks(&std::fs::read_to_string(&path).unwrap()),
                _ => continue,
            };
            let manifests = read::read_closed(&[Path::new("-").to_owned()], false, &mut text.as_bytes());
            let (objects, found) = judge(&args(&["-f", "-"]), &manifests);
            count += objects;
            let errors = found.iter().filter(|f| f.severity == Severity::Error && f.check != "yaml");
            // Pages name the same object again as they explain it.
            let errors: Vec<String> =
                errors.filter(|f| f.check != "name" && f.check != "reference").map(ToString::to_string).collect();
            assert!(errors.is_empty(), "{}:\n{}", path.display(), errors.join("\n"));
        }
    }
    assert!(count > 60, "the check found its subjects: {count}");
}

/// The YAML blocks of a page that hold whole objects, one document each.
fn blocks(page: &str) -> String {
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("```"));
    blocks.map(|(block, _)| block).filter(|block| block.contains("apiVersion: ")).collect::<Vec<_>>().join("\n---\n")
}

#[test]
fn a_thousand_manifests_take_a_second_and_each_rule_is_compiled_once() {
    let text: String =
        (0..1000).map(|n| format!("---\n{}", GOOD.replace("name: app", &format!("name: app{n}")))).collect();
    let rules = |text: &str| {
        let manifests = read::read_closed(&[Path::new("-").to_owned()], false, &mut text.as_bytes());
        let began = Instant::now();
        let (count, found) = judge(&args(&["-f", "-"]), &manifests);
        assert_eq!(found, []);
        (count, rules::COMPILED.load(Ordering::Relaxed), began.elapsed())
    };
    let (one, compiled, _) = rules(GOOD);
    let (thousand, after, took) = rules(&text);
    assert_eq!((one, thousand), (1, 1000));
    // Tests beside this one compile theirs meanwhile: there are so many rules, and no more.
    assert!(after - compiled < 80, "{compiled} rules were compiled for one, {after} for a thousand");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("1,000 manifests: {took:?}\n").as_bytes());
}

/// Manifests of kubernetes-external-secrets, of each backend.
fn old_manifests() -> String {
    let ibm = |by_name: bool| {
        format!(
            "backendType: ibmcloudSecretsManager, keyByName: {by_name}, data: [{{key: k, name: u, property: username, secretType: username_password}}, \
             {{key: k, name: a, property: payload, secretType: arbitrary}}]"
        )
    };
    let plain = "data: [{key: k, name: n, property: p}], dataFrom: [whole]";
    let specs = [
        format!(
            "backendType: secretsManager, roleArn: 'arn:aws:iam::1:role/r', {plain}, dataFromWithOptions: [{{key: k, versionStage: AWSPREVIOUS}}], \
             template: {{type: Opaque, metadata: {{labels: {{a: b}}}}, stringData: {{f: 'x {{{{ y }}}}'}}}}"
        ),
        "backendType: secretsManager, region: us-east-1, data: [{key: k, name: n, isBinary: true, versionId: i}]".to_owned(),
        "backendType: systemManager, data: [{path: /app/, recursive: true}, {key: /a, name: n}]".to_owned(),
        "backendType: vault, vaultRole: r, vaultMountPoint: k8s, kvVersion: 1, data: [{key: kv/a, name: n, property: p}]".to_owned(),
        "backendType: vault, kvVersion: 2, dataFrom: [kv/data/a]".to_owned(),
        format!("backendType: azureKeyVault, keyVaultName: kv, {plain}"),
        format!("backendType: azureKeyVault, {plain}"),
        "backendType: gcpSecretsManager, projectId: p, data: [{key: projects/p/secrets/s/versions/3, name: n}]".to_owned(),
        format!("backendType: gcpSecretsManager, {plain}"),
        format!("backendType: alicloudSecretsManager, {plain}"),
        format!("backendType: akeyless, {plain}"),
        ibm(false),
        ibm(true),
    ];
    let one = |(n, spec)| {
        format!(
            "---\napiVersion: kubernetes-client.io/v1\nkind: ExternalSecret\nmetadata: {{name: es-{n}, namespace: team}}\nspec: {{{spec}}}\n"
        )
    };
    specs.iter().enumerate().map(one).collect()
}

#[test]
fn what_kubernetes_external_secrets_left_becomes_manifests_without_mistakes() {
    use keyferry_migrate::kes::{Kes, store::Place};

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("old.yaml"), old_manifests()).unwrap();
    let named = |text: &str| Some(text.to_owned());
    let whole = Place {
        region: named("eu-west-1"),
        vault_server: named("https://vault.example.com"),
        vault_role: named("app"),
        service_account: named("app"),
        project: named("project"),
        alibaba_region: named("eu-central-1"),
        ibm_endpoint: named("https://i.eu-de.secrets-manager.appdomain.cloud"),
        ..Place::default()
    };
    for (place, cluster_stores) in
        [(whole.clone(), false), (whole, true), (Place::default(), false), (Place::default(), true)]
    {
        let place = Place { vault_mount_point: "kubernetes".to_owned(), ..place };
        let paths = vec![folder.path().to_owned()];
        let args = Kes { paths, out: None, cluster_stores, refresh_interval: "1m".to_owned(), place };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        keyferry_migrate::kes::run(&args, &mut out, &mut err).unwrap();
        let (made, report) = (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap());
        assert!(report.contains("13 ExternalSecrets of kubernetes-client.io: 13 carried over"), "{report}");
        assert_eq!(found(&made), [""; 0], "{made}");
    }
}

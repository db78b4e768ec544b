use std::path::PathBuf;

use keyferry_crds::pruned;

use super::*;

/// Set to have what samples come to written anew; it is to be read before it is committed.
const UPDATE: &str = "KEYFERRY_UPDATE_SAMPLES";

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples")
}

fn run_on(args: &SecretsStore) -> (Stand, String, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let stand = runtime.block_on(run(args, &mut out, &mut err)).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (stand, text(out), text(err).replace(&format!("{}/", samples().display()), ""))
}

fn args() -> SecretsStore {
    SecretsStore {
        refresh_interval: "2m".to_owned(),
        place: Place { vault_audience: "vault".to_owned(), ..Place::default() },
        ..SecretsStore::default()
    }
}

/// Twenty classes of each provider, those of its own documentation among them, and what they come to.
#[test]
fn samples_come_to_what_is_written_beside_them() {
    for provider in ["vault", "aws", "azure", "gcp"] {
        let file = samples().join(format!("{provider}.yaml"));
        assert_eq!(fs::read_to_string(&file).unwrap().matches("\nkind: SecretProviderClass").count(), 20);
        let (stand, out, err) = run_on(&SecretsStore { paths: vec![file], secrets: true, ..args() });
        assert_eq!(stand, Stand::Left);
        for (text, name) in [(out, format!("{provider}.new.yaml")), (err, format!("{provider}.report.txt"))] {
            let beside = samples().join(&name);
            if std::env::var_os(UPDATE).is_some() {
                fs::write(&beside, &text).unwrap();
            }
            let known = fs::read_to_string(&beside).unwrap_or_default();
            let differs = text.lines().zip(known.lines()).find(|(now, then)| now != then);
            assert!(
                text == known,
                "{name} is not what samples come to ({differs:?}): run with {UPDATE}=1, and read it"
            );
        }
    }
}

/// What comes out is taken by an API server, as far as its schemas say.
#[test]
fn what_comes_out_has_no_field_that_is_lost() {
    for provider in ["vault", "aws", "azure", "gcp"] {
        let text = fs::read_to_string(samples().join(format!("{provider}.new.yaml"))).unwrap();
        let mut secrets = 0;
        for (_, document) in documents(&text).into_iter().filter(|(_, document)| !document.trim().is_empty()) {
            let manifest: Value = serde_saphyr::from_str(&document).unwrap();
            assert_eq!(pruned(&manifest), Vec::<String>::new(), "{document}");
            match manifest["kind"].as_str() {
                Some("ExternalSecret") => {
                    secrets += 1;
                    serde_json::from_value::<keyferry_crds::ExternalSecret>(manifest).unwrap();
                }
                _ => drop(serde_json::from_value::<keyferry_crds::SecretStore>(manifest).unwrap()),
            }
        }
        assert!(secrets > 10, "{provider}");
    }
}

#[test]
fn a_class_of_ours_stands_in_place_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let class = "apiVersion: secrets-store.csi.x-k8s.io/v1\nkind: SecretProviderClass\nmetadata: {name: app, namespace: team}\nspec:\n  \
                 provider: gcp\n  parameters:\n    secrets: |\n      - resourceName: projects/p/secrets/s/versions/latest\n        \
                 path: db/password\n        mode: 0400\n  secretObjects:\n  - secretName: made\n    type: Opaque\n    \
                 data: [{objectName: db/password, key: pw}]\n";
    fs::write(folder.path().join("a.yaml"), class).unwrap();
    fs::write(folder.path().join("b.yaml"), format!("# {GROUP}\nkind: {{{{ .Values.kind }}}}\n")).unwrap();
    let args = SecretsStore { paths: vec![folder.path().to_owned()], classes: true, ..args() };
    let (stand, out, err) = run_on(&args);
    assert_eq!(stand, Stand::Failed, "{err}");
    assert!(err.contains("b.yaml: 2: it is not YAML; render templates first"), "{err}");
    let ours = documents(&out).into_iter().map(|(_, document)| serde_saphyr::from_str::<Value>(&document).unwrap());
    let ours = ours.into_iter().find(|manifest| manifest["kind"] == "SecretProviderClass").expect("a class");
    let parameters = serde_json::json!({
        "externalSecret": "app", "items": r#"[{"key":"db.password","mode":"0400","path":"db/password"}]"#,
    });
    assert_eq!((&ours["spec"]["provider"], &ours["spec"]["parameters"]), (&"keyferry".into(), &parameters));
    assert_eq!(ours["spec"]["secretObjects"][0]["secretName"], "made", "the driver makes it still");
    // Then ExternalSecrets write them, and the driver does not.
    fs::remove_file(folder.path().join("b.yaml")).unwrap();
    let (stand, out, err) = run_on(&SecretsStore { secrets: true, ..args });
    assert_eq!((stand, out.contains("secretObjects")), (Stand::Left, false), "{err}");
    assert!(
        out.contains("name: made") && err.contains("1 SecretProviderClasses: 2 ExternalSecrets, 2 stores"),
        "{err}"
    );
}

#[test]
fn a_list_holds_classes_too_and_what_is_ours_is_left() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: secrets-store.csi.x-k8s.io/v1\n  kind: SecretProviderClass\n  \
                metadata: {name: a}\n  spec: {provider: keyferry, parameters: {externalSecret: a}}\n- {apiVersion: v1, kind: Pod}\n";
    let mut classes = Vec::new();
    assert!(take(Path::new("l.yaml"), text, &mut classes).is_empty());
    let converted = convert(&classes, &args());
    assert!(converted.manifests.is_empty());
    assert_eq!(converted.notes[0].text, "it is keyferry's already");
}

/// Of several that would have one name only the first is made, and it is told of which.
#[test]
fn a_name_is_one_external_secret_s() {
    let class = |name: &str, made: &str| {
        format!(
            "---\napiVersion: secrets-store.csi.x-k8s.io/v1\nkind: SecretProviderClass\nmetadata: {{name: {name}, namespace: team}}\n\
             spec:\n  provider: gcp\n  parameters:\n    secrets: |\n      - resourceName: projects/p/secrets/s/versions/latest\n        \
             path: pw\n  secretObjects: [{{secretName: {made}, type: Opaque, data: [{{objectName: pw, key: pw}}]}}]\n"
        )
    };
    let text = [class("a", "b"), class("b", "made"), class("c", "made"), class("a", "d")].concat();
    let mut classes = Vec::new();
    assert!(take(Path::new("l.yaml"), &text, &mut classes).is_empty());
    let converted = convert(&classes, &SecretsStore { secrets: true, ..args() });
    let secrets = converted.manifests.iter().filter(|manifest| manifest["kind"] == "ExternalSecret");
    let names: Vec<_> = secrets.filter_map(|manifest| manifest["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["a", "b-secret", "b", "made", "c"]);
    let lost = converted.notes.iter().filter(|note| note.weight == crate::carry::Weight::Lost);
    let lost: Vec<_> = lost.map(|note| format!("{}: {}", note.place, note.text)).collect();
    let [made, a] = lost.as_slice() else { panic!("{lost:?}") };
    let says = |name: &str, line: usize, class: &str| {
        format!(
            "ExternalSecret {name:?} is made already of l.yaml:{line}: SecretProviderClass team/{class}: give another name to one"
        )
    };
    assert!(
        made.starts_with("l.yaml:33: SecretProviderClass team/c") && made.ends_with(&says("made", 22, "b")),
        "{made}"
    );
    assert!(a.starts_with("l.yaml:35: SecretProviderClass team/a") && a.ends_with(&says("a", 2, "a")), "{a}");
}

use std::io::Write as _;

use serde_json::{Value, json};

use super::*;

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    STANDARD.encode(gzip.finish().unwrap()).into_bytes()
}

fn crd(name: &str, annotations: &str) -> String {
    let (_, group) = name.split_once('.').unwrap();
    format!(
        "# Source: chart/templates/crd.yaml\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  \
         name: {name}\n  annotations: {annotations}\nspec:\n  group: {group}\n  versions: [{{name: v1}}]\n"
    )
}

const ES: &str = "externalsecrets.external-secrets.io";

fn release(manifest: &str) -> Value {
    json!({
        "name": "old", "namespace": "eso", "version": 7, "manifest": manifest,
        "info": {"status": "deployed", "notes": "x"},
        "config": {"password": "sesame"},
        "chart": {"metadata": {"name": "external-secrets", "version": "2.9.0", "dependencies": null}, "templates": []},
    })
}

fn record(release: &Value) -> Result<Option<Release>, Broken> {
    read(&packed(release.to_string().as_bytes()))
}

#[test]
fn a_release_with_crds() {
    let manifest = format!(
        "---\n{}---\n{}--- # with a word\n{}---\nkind: ConfigMap\nmetadata: {{name: external-secrets.io}}\n",
        crd(ES, "{a: b}"),
        crd("fakes.generators.external-secrets.io", r#"{"helm.sh/resource-policy": keep}"#),
        crd("widgets.example.com", "{}"),
    );
    let found = record(&release(&manifest)).unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.namespace.as_str(), found.revision), ("old", "eso", 7));
    assert_eq!((found.chart.as_str(), found.version.as_str(), found.subchart), ("external-secrets", "2.9.0", None));
    assert_eq!(found.deletes, BTreeSet::from([ES.to_owned()]));
    assert_eq!(found.keeps, BTreeSet::from(["fakes.generators.external-secrets.io".to_owned()]));
    assert_eq!(found.unclear, 0);
}

#[test]
fn what_helm_takes_for_keep() {
    for (policy, keeps) in
        [("keep", true), ("' KEEP '", true), ("'keep, please'", false), ("delete", false), ("true", false), ("", false)]
    {
        let found = manifest(&crd(ES, &format!("{{helm.sh/resource-policy: {policy}}}")));
        assert_eq!(found.keeps.len(), usize::from(keeps), "{policy}");
        assert_eq!(found.deletes.len(), usize::from(!keeps), "{policy}");
    }
}

#[test]
fn other_forms_of_manifests() {
    let as_json = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": ES}, "spec": {"group": "external-secrets.io"},
    });
    assert_eq!(manifest(&as_json.to_string()).deletes.len(), 1);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [as_json, {"kind": "ConfigMap"}]});
    assert_eq!(manifest(&list.to_string()).deletes.len(), 1);
    assert_eq!(manifest(&format!("\r\n---\r\n{}", crd(ES, "null").replace('\n', "\r\n"))).deletes.len(), 1);
    assert_eq!(manifest(""), Manifest::default());
    // A text that holds a line like that between documents.
    let text =
        "kind: ConfigMap\ndata:\n  text: |\n    ---\n    kind: CustomResourceDefinition\n    external-secrets.io\n";
    assert_eq!(manifest(text), Manifest::default());
}

#[test]
fn a_broken_document_hides_no_other() {
    let broken = format!("kind: [\n---\n{}---\n\t{{ external-secrets.io CustomResourceDefinition", crd(ES, "{}"));
    assert_eq!(manifest(&broken).deletes.len(), 1);
    assert_eq!(manifest(&broken).unclear, 0);
    // One that is a CRD, as far as can be seen, counts.
    let unclear = manifest("kind: CustomResourceDefinition\nmetadata: {name: externalsecrets.external-secrets.io\n");
    assert_eq!((unclear.unclear, unclear.deletes.len()), (1, 0));
}

#[test]
fn releases_of_no_interest() {
    let of_another = |manifest: &str| {
        let mut other = release(&format!("{manifest}---\nkind: ExternalSecret\napiVersion: external-secrets.io/v1\n"));
        other["chart"]["metadata"]["name"] = json!("shop");
        record(&other)
    };
    assert_eq!(of_another("kind: ConfigMap\n"), Ok(None));
    assert_eq!(of_another(&crd("widgets.example.com", "{}")), Ok(None));
    let mut uninstalled = release(&crd(ES, "{}"));
    uninstalled["info"]["status"] = json!("uninstalled");
    assert_eq!(record(&uninstalled), Ok(None), "it is kept for its history; nothing of it is there any more");
    for status in ["failed", "pending-upgrade", "uninstalling", "superseded"] {
        let mut other = release(&crd(ES, "{}"));
        other["info"]["status"] = json!(status);
        assert!(record(&other).unwrap().is_some(), "helm uninstall takes it for {status}");
    }
}

#[test]
fn a_part_of_a_larger_chart() {
    let mut umbrella = release(&crd(ES, "{}"));
    umbrella["chart"]["metadata"]["name"] = json!("platform");
    umbrella["chart"]["metadata"]["dependencies"] = json!([{"name": "ingress"}, {"name": "external-secrets"}]);
    assert_eq!(record(&umbrella).unwrap().unwrap().subchart.as_deref(), Some("external-secrets"));
    umbrella["chart"]["metadata"]["dependencies"][1]["alias"] = json!("eso");
    assert_eq!(record(&umbrella).unwrap().unwrap().subchart.as_deref(), Some("eso"));
}

#[test]
fn a_release_of_the_operator_counts_without_crds_too() {
    let account = "# Source: external-secrets/templates/serviceaccount.yaml\nkind: ServiceAccount\nmetadata: {name: external-secrets.io}\n";
    let found = record(&release(account)).unwrap().unwrap();
    assert!(found.is_eso && found.deletes.is_empty());
    assert_eq!(found.objects[0].to_string(), "ServiceAccount eso/external-secrets.io");
    // A fork is known by what it runs.
    let mut fork = release(&format!(
        "{account}---\nkind: Deployment\nmetadata: {{name: a}}\nspec:\n  - image: \"ghcr.io/external-secrets/external-secrets:v1\"\n"
    ));
    fork["chart"]["metadata"]["name"] = json!("fork");
    assert!(record(&fork).unwrap().is_some_and(|found| found.is_eso));
    // Of a larger chart, its part counts.
    let mut umbrella = release(&format!(
        "{account}---\n# Source: platform/charts/eso/templates/serviceaccount.yaml\nkind: ServiceAccount\nmetadata: {{name: of-the-part}}\n"
    ));
    umbrella["chart"]["metadata"] =
        json!({"name": "platform", "version": "1", "dependencies": [{"name": "external-secrets", "alias": "eso"}]});
    let names: Vec<String> = record(&umbrella).unwrap().unwrap().objects.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["ServiceAccount eso/of-the-part"]);
}

#[test]
fn images_of_the_values_and_nothing_else_of_them() {
    let mut with = release(&crd(ES, "{}"));
    with["config"] = json!({
        "password": "sesame", "image": {"repository": "a/external-secrets/external-secrets", "tag": 1},
        "webhook": {"image": {"repository": "b"}}, "global": {"repository": ""},
        "external-secrets": {"certController": {"image": {"repository": "c"}}},
    });
    let found = record(&with).unwrap().unwrap();
    let named = |path: &str, image: &str| (path.to_owned(), image.to_owned());
    assert_eq!(
        found.images,
        [
            named("image.repository", "a/external-secrets/external-secrets"),
            named("webhook.image.repository", "b"),
            named("external-secrets.certController.image.repository", "c"),
        ]
    );
    // Values of another form hide nothing else.
    with["config"] = json!({"image": "all in one"});
    assert!(record(&with).unwrap().is_some_and(|found| found.images.is_empty() && found.deletes.len() == 1));
}

#[test]
fn payloads_that_are_none() {
    let good = release(&crd(ES, "{}")).to_string();
    let whole = packed(good.as_bytes());
    assert_eq!(read(b" \n"), Err(Broken::Empty));
    assert_eq!(read(b"not base64!"), Err(Broken::Base64));
    let cut = STANDARD.encode(&STANDARD.decode(&whole).unwrap()[..200]);
    assert_eq!(read(cut.as_bytes()), Err(Broken::Gzip));
    assert_eq!(read(&packed(b"external-secrets.io, and no JSON")), Err(Broken::Json));
    assert_eq!(read(&packed(b"[\"external-secrets.io\"]")), Err(Broken::Json));
    // Unpacked records are from before Helm packed them.
    assert!(read(STANDARD.encode(&good).as_bytes()).unwrap().is_some());
    // Both of ends of lines, and of several parts.
    let lines: Vec<u8> = whole.chunks(76).flat_map(|line| [line, b"\n"].concat()).collect();
    assert!(read(&lines).unwrap().is_some());
    let (first, second) = good.as_bytes().split_at(50);
    let part = |bytes: &[u8]| STANDARD.decode(packed(bytes)).unwrap();
    let parts = STANDARD.encode([part(first), part(second)].concat());
    assert!(read(parts.as_bytes()).unwrap().is_some());
    // Whatever is said about a broken one, it is not what is in it.
    assert!(!Broken::Json.why().contains("external-secrets"));
}

#[test]
fn bombs() {
    assert_eq!(read(&packed(&vec![b' '; LARGEST + 1])), Err(Broken::TooLarge));
    assert_eq!(read(&packed(&vec![b' '; LARGEST])), Ok(None));
}

#[test]
fn what_is_not_utf8_is_read_as_go_reads_it() {
    let mut bytes = release(&crd(ES, "{}")).to_string().into_bytes();
    let at = bytes.windows(6).position(|part| part == b"sesame").unwrap();
    bytes[at] = 0xff;
    let found = read(&packed(&bytes)).unwrap().unwrap();
    assert_eq!(found.deletes.len(), 1);
}

//! Every manifest of the conformance cases and the switch situations is taken, and read by our types.

use std::path::{Path, PathBuf};

use keyferry_crds::{ClusterExternalSecret, ClusterSecretStore, ExternalSecret, SecretStore};
use kube::api::DynamicObject;
use serde_json::Value;

use crate::cluster::{client, decode, from, try_create};

/// A folder of another suite.
fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn documents(folder: &Path) -> Vec<(String, Value)> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    // The files hold words like `y` and `n`, which YAML 1.1 takes for booleans, and Kubernetes doesn't.
    let options = serde_saphyr::options! { strict_booleans: true };
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable");
        let name = file.display().to_string();
        let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(&text, options.clone())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        found.extend(documents.into_iter().map(|document| (name.clone(), document)));
    }
    found
}

fn is_ours(object: &Value) -> bool {
    object["apiVersion"] == "external-secrets.io/v1"
}

/// Takes the object, and reads what would be stored.
async fn take(file: &str, manifest: &Value) -> DynamicObject {
    let mut manifest = manifest.clone();
    let metadata = manifest["metadata"].as_object_mut().expect("metadata");
    // What only the API server may write, and the namespace, which need not exist here.
    for field in ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "namespace"] {
        metadata.remove(field);
    }
    let client = client().await;
    let taken =
        try_create(&client, &from(manifest.clone())).await.unwrap_or_else(|refusal| panic!("{file}: {refusal}"));
    match manifest["kind"].as_str().expect("a kind") {
        "ExternalSecret" => drop(decode::<ExternalSecret>(&taken)),
        "SecretStore" => drop(decode::<SecretStore>(&taken)),
        "ClusterSecretStore" => drop(decode::<ClusterSecretStore>(&taken)),
        "ClusterExternalSecret" => drop(decode::<ClusterExternalSecret>(&taken)),
        other => panic!("{file}: a {other}?"),
    }
    taken
}

#[tokio::test]
async fn what_eso_leaves_behind_is_taken_as_it_is() {
    let mut taken = 0;
    for (file, object) in documents(&folder("switch/situations")).iter().filter(|(_, object)| is_ours(object)) {
        let stored = take(file, object).await;
        assert_eq!(stored.data["spec"], object["spec"], "{file}: our defaults change it");
        taken += 1;
    }
    assert!(taken >= 24, "only {taken} objects");
}

#[tokio::test]
async fn every_object_of_the_cases_is_taken() {
    let mut taken = 0;
    for (file, case) in documents(&folder("conformance/cases")) {
        for step in case["steps"].as_array().expect("steps") {
            for object in step["apply"].as_array().into_iter().flatten().filter(|object| is_ours(object)) {
                let name = format!(
                    "{}/{}",
                    object["kind"].as_str().unwrap_or_default(),
                    object["metadata"]["name"].as_str().unwrap_or_default()
                );
                assert_ne!(
                    step["expect"]["accepted"][&name], false,
                    "{file}: a refusal is expected: teach this test to check it"
                );
                let mut object = object.clone();
                // The harness puts the address and the certificate of the test's own API server here.
                if object["spec"]["provider"]["kubernetes"]["server"]["caBundle"] == "KUBE_CA" {
                    object["spec"]["provider"]["kubernetes"]["server"]["caBundle"] = "LS0tLS1CRUdJTg==".into();
                }
                take(&file, &object).await;
                taken += 1;
            }
        }
    }
    assert!(taken >= 100, "only {taken} objects");
}

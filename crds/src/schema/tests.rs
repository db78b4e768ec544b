//! What must hold for every schema, and what an API server isn't needed for.

use std::path::Path;

use serde_json::{Value, json};

use crate::{crds, duration, file_name, yaml};

/// Calls `visit` for every node, with its path.
fn walk(path: &str, node: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, node);
    for (name, child) in node["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), child, visit);
    }
    for key in ["items", "additionalProperties"] {
        if node[key].is_object() {
            walk(&format!("{path}[]"), &node[key], visit);
        }
    }
}

/// `metadata` of the whole object: the API server forbids us to say anything about it.
fn is_metadata(path: &str) -> bool {
    path.ends_with("/v1.metadata") || path.ends_with("/v1alpha1.metadata")
}

fn each_node(mut visit: impl FnMut(&str, &Value)) {
    for crd in crds() {
        let crd = serde_json::to_value(crd).expect("plain data");
        for version in crd["spec"]["versions"].as_array().expect("versions") {
            let kind = crd["spec"]["names"]["kind"].as_str().expect("kind");
            let name = version["name"].as_str().expect("name");
            walk(&format!("{kind}/{name}"), &version["schema"]["openAPIV3Schema"], &mut visit);
        }
    }
}

#[test]
fn every_field_is_described_in_one_line() {
    each_node(|path, node| {
        let text = node["description"].as_str().unwrap_or_default();
        let good = text.ends_with('.') && !text.contains('\n') && text.len() <= 160;
        assert!(good || is_metadata(path) || path.ends_with("[]"), "{path}: {text:?}");
    });
}

#[test]
fn unknown_fields_are_kept_everywhere_and_null_is_never_stored() {
    each_node(|path, node| {
        assert!(node.get("nullable").is_none(), "{path} is nullable");
        if node["type"] == "object" && node.get("additionalProperties").is_none() && !is_metadata(path) {
            assert_eq!(node["x-kubernetes-preserve-unknown-fields"], true, "{path} drops fields");
        }
    });
}

#[test]
fn defaults_are_these_and_no_others() {
    let mut found = Vec::new();
    each_node(|path, node| {
        if let Some(default) = node.get("default") {
            found.push(format!("{path} = {default}"));
        }
    });
    let spec = "ExternalSecret/v1.spec";
    let generator = "generatorRef.apiVersion = \"generators.external-secrets.io/v1alpha1\"";
    let mut want = vec![
        format!("{spec}.refreshInterval = \"1h0m0s\""),
        format!("{spec}.target = {}", json!({"creationPolicy": "Owner", "deletionPolicy": "Retain"})),
        format!("{spec}.target.creationPolicy = \"Owner\""),
        format!("{spec}.target.deletionPolicy = \"Retain\""),
        format!("{spec}.target.template.engineVersion = \"v2\""),
        format!("{spec}.target.template.mergePolicy = \"Replace\""),
        format!("{spec}.target.template.templateFrom[].configMap.items[].templateAs = \"Values\""),
        format!("{spec}.target.template.templateFrom[].secret.items[].templateAs = \"Values\""),
        format!("{spec}.target.template.templateFrom[].target = \"Data\""),
        format!("{spec}.data[].sourceRef.{generator}"),
        format!("{spec}.dataFrom[].sourceRef.{generator}"),
        format!("{spec}.dataFrom[].rewrite[].merge.into = \"\""),
        format!("{spec}.dataFrom[].rewrite[].merge.priorityPolicy = \"Strict\""),
        format!("{spec}.dataFrom[].rewrite[].merge.conflictPolicy = \"Error\""),
        format!("{spec}.dataFrom[].rewrite[].merge.strategy = \"Extract\""),
    ];
    for password in ["Password/v1alpha1.spec", "ClusterGenerator/v1alpha1.spec.generator.passwordSpec"] {
        want.push(format!("{password}.length = 24"));
        want.push(format!("{password}.noUpper = false"));
        want.push(format!("{password}.allowRepeat = false"));
        want.push(format!("{password}.encoding = \"raw\""));
    }
    want.sort();
    found.sort();
    assert_eq!(found, want);
}

#[test]
fn every_provider_has_its_key() {
    let store = serde_json::to_value(&crds()[1]).expect("plain data");
    let provider =
        &store["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["provider"];
    let keys: Vec<&str> = provider["properties"].as_object().expect("providers").keys().map(String::as_str).collect();
    assert_eq!(keys, crate::provider_keys());
    assert_eq!(keys.len(), 44, "43 of External Secrets Operator 2.9, and alibaba: {keys:?}");
    for typed in ["aws", "fake", "kubernetes", "vault"] {
        assert!(provider["properties"][typed]["properties"].is_object(), "{typed}");
    }
}

/// The rule's pattern and our parser must agree, or an interval is accepted that the operator then can't read.
#[test]
fn the_pattern_of_a_duration_is_what_we_parse() {
    // In CEL the pattern stands in a string literal, where a backslash is written twice.
    let pattern = regex::Regex::new(&super::store::DURATION.replace(r"\\", r"\")).expect("compiles");
    for text in ["0", "0s", "5m", "1h30m", "1.5h", ".5s", "1.s", "+3s", "3us", "3µs", "3μs", "100ms", "1h0m0s", "7ns"]
    {
        assert!(pattern.is_match(text) && duration::nanoseconds(text).is_ok(), "{text}");
    }
    for text in ["", "+", "5", "m", ".", ".s", "1d", "1 h", "-1s", "--1s", "1h-5m", "1e3s", "soon", "1h\n"] {
        let parsed = duration::nanoseconds(text);
        assert!(!pattern.is_match(text) && parsed.map_or(true, |nanoseconds| nanoseconds < 0), "{text}");
    }
}

#[test]
fn the_yaml_reads_back_as_what_was_written() {
    for crd in crds() {
        let read: Value = serde_saphyr::from_str(&yaml(&crd)).expect("is YAML");
        assert_eq!(read, serde_json::to_value(&crd).expect("plain data"), "{}", file_name(&crd));
    }
}

/// An API server refuses annotations of more than 256 KiB, and client-side apply stores the whole object in one.
#[test]
fn the_yaml_is_small_enough_for_client_side_apply() {
    for crd in crds() {
        let text = yaml(&crd);
        let applied = serde_json::to_string(&crd).expect("plain data");
        assert!(text.len() < 150_000, "{}: {} bytes", file_name(&crd), text.len());
        assert!(applied.len() < 262_144 / 2, "{}: {} bytes", file_name(&crd), applied.len());
    }
}

#[test]
fn the_committed_yaml_is_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml");
    let hint =
        "the YAML in crds/yaml is not what the schema says: run `cargo run -p keyferry-crds`, and commit the result";
    let mut want: Vec<String> = crds().iter().map(file_name).collect();
    for crd in crds() {
        let committed = std::fs::read_to_string(folder.join(file_name(&crd))).unwrap_or_default();
        assert!(committed == yaml(&crd), "{}: {hint}", file_name(&crd));
    }
    let mut found: Vec<String> = std::fs::read_dir(&folder)
        .expect("crds/yaml is there")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    want.sort();
    found.sort();
    assert_eq!(found, want, "{hint}");
}

/// The fields of the table in `docs/compatibility.md` are those of the schema.
#[test]
fn the_compatibility_page_names_every_field() {
    let page = include_str!("../../../docs/compatibility.md");
    let rows: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let below = |row: &str, path: &str| match row.strip_suffix(".*") {
        Some(parent) => {
            path == parent || path.starts_with(&format!("{parent}.")) || path.starts_with(&format!("{parent}["))
        }
        None => path == row,
    };
    let mut fields = Vec::new();
    each_node(|path, node| {
        if let Some(path) = path.strip_prefix("ExternalSecret/v1.")
            && path.starts_with("sp") | path.starts_with("status")
            // What holds fields is said with them.
            && node["properties"].is_null()
            && !path.ends_with("[]")
        {
            fields.push(path.to_owned());
        }
    });
    for field in &fields {
        let holds = rows.iter().any(|row| row.trim_end_matches(".*").starts_with(&format!("{field}[")));
        assert!(holds || rows.iter().any(|row| below(row, field)), "docs/compatibility.md has no row for {field}");
    }
    for row in rows {
        assert!(fields.iter().any(|field| below(row, field)), "docs/compatibility.md: there is no field {row}");
    }
}

//! What must hold for every schema, and what an API server isn't needed for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionVersion;
use serde_json::{Value, json};

use crate::{crds, duration, file_name, generator_field, is_built, names, serve_v1beta1, yaml};

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
    ["v1", "v1alpha1", "v1beta1"].iter().any(|version| path.ends_with(&format!("/{version}.metadata")))
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
        assert!(good || is_metadata(path) || path.ends_with("[]") || path.contains("/v1beta1."), "{path}: {text:?}");
    });
}

/// What a request to Vault says.
const PARAMETERS: [&str; 2] = [
    "VaultDynamicSecret/v1alpha1.spec.parameters",
    "ClusterGenerator/v1alpha1.spec.generator.vaultDynamicSecretSpec.parameters",
];

/// Stores whose spec has a schema of its own.
const TYPED: [&str; 32] = [
    "age",
    "akeyless",
    "alibaba",
    "aws",
    "azurekv",
    "barbican",
    "bitwardensecretsmanager",
    "conjur",
    "crd",
    "delinea",
    "doppler",
    "fake",
    "fortanix",
    "gcpsm",
    "github",
    "gitlab",
    "ibm",
    "infisical",
    "kubernetes",
    "ngrok",
    "onepassword",
    "onepasswordSDK",
    "openBao",
    "oracle",
    "ovh",
    "scaleway",
    "sealed",
    "sealedsecrets",
    "secretserver",
    "sops",
    "vault",
    "webhook",
];

/// Open are the providers that are not built, and what has no schema of ours; all else drops what it doesn't name.
#[test]
fn what_is_open_is_this_and_null_is_never_stored() {
    let mut open = BTreeSet::new();
    each_node(|path, node| {
        assert!(node.get("nullable").is_none(), "{path} is nullable");
        if node["x-kubernetes-preserve-unknown-fields"] == true {
            open.insert(path.to_owned());
        }
    });
    let mut want = BTreeSet::new();
    for store in ["SecretStore", "ClusterSecretStore"] {
        for version in ["v1", "v1beta1"] {
            let provider = format!("{store}/{version}.spec.provider");
            let keys = crate::provider_keys().into_iter().filter(|key| !TYPED.contains(key));
            want.extend(keys.map(|key| format!("{provider}.{key}")));
            want.extend(["aws", "azurekv", "gcpsm", "vault"].map(|service| format!("{provider}.sops.{service}")));
            let checked = ["ovh.auth", "pulumi.accessToken"];
            want.extend(checked.map(|part| format!("{provider}.{part}")));
            want.insert(provider);
        }
    }
    let metadata = ["PushSecret/v1alpha1.spec", "ClusterPushSecret/v1alpha1.spec.pushSecretSpec"];
    let metadata = metadata.iter().flat_map(|spec| ["data", "dataTo"].map(|list| format!("{spec}.{list}[].metadata")));
    want.extend(metadata);
    want.insert("PushSecret/v1alpha1.status.syncedPushSecrets[][].metadata".to_owned());
    want.extend(PARAMETERS.map(str::to_owned));
    want.extend(["resource", "state"].map(|field| format!("GeneratorState/v1alpha1.spec.{field}")));
    for kind in crate::schema::generators::kinds().into_iter().filter(|kind| !is_built(names::GENERATORS_GROUP, kind)) {
        want.insert(format!("{kind}/v1alpha1.spec"));
        let field = generator_field(kind).expect("it is a generator");
        want.insert(format!("ClusterGenerator/v1alpha1.spec.generator.{field}"));
    }
    assert_eq!(open, want);
}

/// The kinds of External Secrets Operator 2.14, with their versions, short names and scopes.
#[test]
fn every_kind_is_there() {
    let found: BTreeSet<String> = crds()
        .into_iter()
        .map(|crd| {
            let names = crd.spec.names;
            let versions: Vec<_> = crd.spec.versions.iter().map(|version| version.name.as_str()).collect();
            let short = names.short_names.unwrap_or_default().join(",");
            let group = if crd.spec.group == names::GROUP { "" } else { "generator " };
            format!("{group}{} {} {short} {} {}", names.kind, names.plural, crd.spec.scope, versions.join(","))
        })
        .collect();
    let plain = |kind: &str, plural: &str| format!("generator {kind} {plural}  Namespaced v1alpha1");
    let want: BTreeSet<String> = [
        "ExternalSecret externalsecrets es Namespaced v1,v1beta1".to_owned(),
        "SecretStore secretstores ss Namespaced v1,v1beta1".to_owned(),
        "ClusterSecretStore clustersecretstores css Cluster v1,v1beta1".to_owned(),
        "ClusterExternalSecret clusterexternalsecrets ces Cluster v1,v1beta1".to_owned(),
        "PushSecret pushsecrets ps Namespaced v1alpha1".to_owned(),
        "ClusterPushSecret clusterpushsecrets  Cluster v1alpha1".to_owned(),
        "generator GeneratorState generatorstates gs Namespaced v1alpha1".to_owned(),
        "generator ClusterGenerator clustergenerators  Cluster v1alpha1".to_owned(),
        plain("ACRAccessToken", "acraccesstokens"),
        plain("BeyondtrustWorkloadCredentialsDynamicSecret", "beyondtrustworkloadcredentialsdynamicsecrets"),
        plain("CloudsmithAccessToken", "cloudsmithaccesstokens"),
        plain("ECRAuthorizationToken", "ecrauthorizationtokens"),
        plain("Fake", "fakes"),
        plain("GCRAccessToken", "gcraccesstokens"),
        plain("GithubAccessToken", "githubaccesstokens"),
        plain("GitlabDeployToken", "gitlabdeploytokens"),
        plain("Grafana", "grafanas"),
        plain("MFA", "mfas"),
        plain("Password", "passwords"),
        plain("QuayAccessToken", "quayaccesstokens"),
        plain("SSHKey", "sshkeys"),
        plain("STSSessionToken", "stssessiontokens"),
        plain("UUID", "uuids"),
        plain("VaultDynamicSecret", "vaultdynamicsecrets"),
        plain("Webhook", "webhooks"),
    ]
    .into();
    assert_eq!(found, want);
    let built: Vec<String> = crds()
        .into_iter()
        .filter(|crd| is_built(&crd.spec.group, &crd.spec.names.kind))
        .map(|crd| crd.spec.names.kind)
        .collect();
    let unbuilt = ["BeyondtrustWorkloadCredentialsDynamicSecret"];
    let all = crds().into_iter().map(|crd| crd.spec.names.kind);
    assert_eq!(built, all.filter(|kind| !unbuilt.contains(&kind.as_str())).collect::<Vec<_>>());
}

#[test]
fn one_version_is_stored_and_the_old_one_is_served_on_demand_with_the_same_fields() {
    for served in [false, true] {
        let mut crds = crds();
        if served {
            serve_v1beta1(&mut crds);
        }
        for crd in crds {
            let kind = &crd.spec.names.kind;
            let stored: Vec<_> = crd.spec.versions.iter().filter(|version| version.storage).collect();
            assert_eq!(stored.len(), 1, "{kind}");
            for old in crd.spec.versions.iter().filter(|version| !version.storage) {
                assert_eq!((old.name.as_str(), old.served, old.deprecated), ("v1beta1", served, Some(true)), "{kind}");
                // They are described in the version that is stored.
                let fields = |version: &CustomResourceDefinitionVersion| {
                    let schema = version.schema.as_ref()?.open_api_v3_schema.clone()?;
                    let mut fields = serde_json::to_value(schema.properties?).expect("plain data");
                    super::undescribe(&mut fields);
                    Some(fields)
                };
                assert!(fields(old).is_some() && fields(old) == fields(stored[0]), "{kind}");
                assert_ne!(old.schema, stored[0].schema, "{kind}: alike, they would be hoisted");
                assert_eq!(old.additional_printer_columns, stored[0].additional_printer_columns, "{kind}");
            }
            assert_eq!(crd.spec.conversion.map(|conversion| conversion.strategy), Some("None".to_owned()), "{kind}");
        }
    }
}

/// The defaults of stores, below their provider.
const STORE_DEFAULTS: &[&str] = &[
    "aws.sessionTagsPolicy = \"None\"",
    "azurekv.authType = \"ServicePrincipal\"",
    "azurekv.environmentType = \"PublicCloud\"",
    "azurekv.useAzureSDK = false",
    "barbican.auth.authType = \"password\"",
    "crd.server.url = \"kubernetes.default\"",
    "doppler.auth.oidcConfig.expirationSeconds = 600",
    "infisical.hostAPI = \"https://app.infisical.com/api\"",
    "infisical.secretsScope.expandSecretReferences = true",
    "infisical.secretsScope.recursive = false",
    "infisical.secretsScope.secretsPath = \"/\"",
    "github.url = \"https://github.com/\"",
    "gcpsm.secretVersionSelectionPolicy = \"LatestOrFail\"",
    "kubernetes.server.url = \"kubernetes.default\"",
    "ngrok.apiUrl = \"https://api.ngrok.com\"",
    "kubernetes.remoteNamespace = \"default\"",
    "onepasswordSDK.cache.maxSize = 100",
    "onepasswordSDK.cache.ttl = \"5m\"",
    "onepasswordSDK.integrationInfo.name = \"1Password SDK\"",
    "onepasswordSDK.integrationInfo.version = \"v1.0.0\"",
    "openBao.version = \"v2\"",
    "ovh.okmsTimeout = 30",
    "openBao.auth.appRole.path = \"approle\"",
    "openBao.auth.kubernetes.path = \"kubernetes\"",
    "openBao.auth.userPass.path = \"userpass\"",
    "vault.version = \"v2\"",
    "vault.auth.appRole.path = \"approle\"",
    "vault.auth.cert.path = \"cert\"",
    "vault.auth.gcp.path = \"gcp\"",
    "vault.auth.jwt.path = \"jwt\"",
    "vault.auth.kubernetes.mountPath = \"kubernetes\"",
    "vault.auth.ldap.path = \"ldap\"",
    "vault.auth.userPass.path = \"userpass\"",
];

const PUSH_DEFAULTS: [&str; 13] = [
    "spec.refreshInterval = \"1h0m0s\"",
    "spec.secretStoreRefs[].kind = \"SecretStore\"",
    "spec.updatePolicy = \"Replace\"",
    "spec.deletionPolicy = \"None\"",
    "spec.selector.generatorRef.apiVersion = \"generators.external-secrets.io/v1alpha1\"",
    "spec.data[].conversionStrategy = \"None\"",
    "spec.dataTo[].conversionStrategy = \"None\"",
    "spec.dataTo[].storeRef.kind = \"SecretStore\"",
    "spec.template.engineVersion = \"v2\"",
    "spec.template.mergePolicy = \"Replace\"",
    "spec.template.templateFrom[].configMap.items[].templateAs = \"Values\"",
    "spec.template.templateFrom[].secret.items[].templateAs = \"Values\"",
    "spec.template.templateFrom[].target = \"Data\"",
];

/// The defaults of generators, by themselves and in a ClusterGenerator.
fn generator_defaults() -> Vec<String> {
    let mut want = Vec::new();
    for password in ["Password/v1alpha1.spec", "ClusterGenerator/v1alpha1.spec.generator.passwordSpec"] {
        want.push(format!("{password}.length = 24"));
        want.push(format!("{password}.noUpper = false"));
        want.push(format!("{password}.allowRepeat = false"));
        want.push(format!("{password}.encoding = \"raw\""));
    }
    for (kind, field) in [
        ("ACRAccessToken", "acrAccessTokenSpec"),
        ("SSHKey", "sshKeySpec"),
        ("VaultDynamicSecret", "vaultDynamicSecretSpec"),
    ] {
        let defaults: Vec<String> = match kind {
            "ACRAccessToken" => vec!["environmentType = \"PublicCloud\"".into()],
            "SSHKey" => vec!["keyType = \"rsa\"".into()],
            _ => {
                let of_store = STORE_DEFAULTS.iter().filter_map(|default| default.strip_prefix("vault."));
                let of_store = of_store.map(|default| format!("provider.{default}"));
                of_store.chain(["resultType = \"Data\"".into(), "allowEmptyResponse = false".into()]).collect()
            }
        };
        for base in [format!("{kind}/v1alpha1.spec"), format!("ClusterGenerator/v1alpha1.spec.generator.{field}")] {
            want.extend(defaults.iter().map(|default| format!("{base}.{default}")));
        }
    }
    want
}

#[test]
fn defaults_are_these_and_no_others() {
    let mut found = Vec::new();
    each_node(|path, node| {
        if let Some(default) = node.get("default").filter(|_| !path.contains("/v1beta1")) {
            found.push(format!("{path} = {default}"));
        }
    });
    let generator = "generatorRef.apiVersion = \"generators.external-secrets.io/v1alpha1\"";
    let of_external_secret = |spec: &str| {
        vec![
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
        ]
    };
    let mut want = of_external_secret("ExternalSecret/v1.spec");
    want.extend(of_external_secret("ClusterExternalSecret/v1.spec.externalSecretSpec"));
    want.push("PushSecret/v1alpha1.status.syncedPushSecrets[][].conversionStrategy = \"None\"".to_owned());
    for spec in ["PushSecret/v1alpha1.spec", "ClusterPushSecret/v1alpha1.spec.pushSecretSpec"] {
        let of = |default: &&str| default.replacen("spec", spec, 1);
        want.extend(PUSH_DEFAULTS.iter().map(of));
    }
    for store in ["SecretStore", "ClusterSecretStore"] {
        let provider = format!("{store}/v1.spec.provider");
        want.extend(STORE_DEFAULTS.iter().map(|default| format!("{provider}.{default}")));
    }
    want.extend(generator_defaults());
    want.sort();
    found.sort();
    assert_eq!(found, want);
}

/// What a tenant writes down has an end, so that nothing is gone through without one. Left to the size of the whole
/// object are texts that are rendered, which the budget of a look counts, and what is compared only.
#[test]
fn what_is_gone_through_is_bounded() {
    let free = [
        "template.data[]",
        "metadata.annotations[]",
        "metadata.labels[]",
        "metadata.finalizers[]",
        "templateFrom[].literal",
        "merge.priority[]",
        "find.tags[]",
    ];
    each_node(|path, node| {
        let of_store = path.starts_with("ClusterSecretStore/v1.spec.conditions") && !path.contains("namespaceSelector");
        if !path.starts_with("ExternalSecret/v1.spec") && !of_store {
            return;
        }
        let bound = match node["type"].as_str() {
            Some("array") => "maxItems",
            Some("object") if node["additionalProperties"].is_object() => "maxProperties",
            Some("string") if node["enum"].is_null() && !free.iter().any(|end| path.ends_with(end)) => "maxLength",
            _ => return,
        };
        assert!(node[bound].is_u64(), "{path} has no {bound}");
    });
}

/// Selectors are compared where the loop is that serves everybody.
#[test]
fn what_selectors_compare_is_bounded() {
    let mut bounds = 0;
    each_node(|path, node| {
        let bound = [(".matchLabels", "maxProperties"), (".matchExpressions", "maxItems"), (".values", "maxItems")];
        let of_selector = |end: &str| path.ends_with(end) && (end != ".values" || path.contains(".matchExpressions"));
        if let Some((_, bound)) = bound.iter().find(|(end, _)| of_selector(end)) {
            assert!(node[bound].is_u64(), "{path} has no {bound}");
            bounds += 1;
        }
    });
    assert!(bounds > 20, "{bounds}");
}

#[test]
fn every_list_and_map_of_a_provider_is_bounded() {
    let mut bounds = 0;
    each_node(|path, node| {
        let is_fake = path.contains(".provider.fake");
        if !path.starts_with("SecretStore/v1.spec.provider.") || is_fake {
            return;
        }
        let bound = match node["type"].as_str() {
            Some("array") => "maxItems",
            Some("object") if node["additionalProperties"].is_object() => "maxProperties",
            _ => return,
        };
        assert!(node[bound].is_u64(), "{path} has no {bound}");
        bounds += 1;
    });
    assert!(bounds >= 5, "{bounds} were found");
}

#[test]
fn every_provider_has_its_key() {
    let store = crds().into_iter().find(|crd| crd.spec.names.kind == "SecretStore");
    let store = serde_json::to_value(store).expect("plain data");
    let provider =
        &store["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["provider"];
    let keys: Vec<&str> = provider["properties"].as_object().expect("providers").keys().map(String::as_str).collect();
    assert_eq!(keys, crate::provider_keys());
    assert_eq!(
        keys.len(),
        48,
        "43 of External Secrets Operator 2.9, alibaba, and age, sops, sealed and sealedsecrets of our own: {keys:?}"
    );
    for typed in TYPED {
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
    let mut all = 0;
    for crd in crds() {
        let text = yaml(&crd);
        let applied = serde_json::to_string(&crd).expect("plain data");
        assert!(text.len() < 600_000, "{}: {} bytes", file_name(&crd), text.len());
        assert!(applied.len() < 240_000, "{}: {} bytes", file_name(&crd), applied.len());
        all += applied.len();
    }
    // What an API server holds, sends to each who discovers it, and a Helm release keeps of them.
    assert!(all < 700_000, "all of them: {all} bytes");
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

/// The fields of the tables in `docs/compatibility.md` are those of the schemas, kind by kind: each has a section, under a
/// heading of its name alone.
#[test]
fn the_compatibility_page_names_every_field() {
    let page = include_str!("../../../docs/compatibility.md");
    let sections: BTreeMap<&str, &str> = page.split("\n#").filter_map(section).collect();
    let mut held = BTreeSet::new();
    for crd in crds() {
        let kind = crd.spec.names.kind.as_str();
        let stored = crd.spec.versions.iter().find(|version| version.storage).expect("a version is stored");
        let section = sections.get(kind).unwrap_or_else(|| panic!("docs/compatibility.md has no section {kind}"));
        names_all(kind, section, &fields_of(&format!("{kind}/{}.", stored.name)));
        held.insert(kind.to_owned());
    }
    let has_rows = |text: &&str| text.lines().any(|line| line.starts_with("| `s"));
    let unheld =
        sections.iter().filter(|(title, text)| has_rows(text) && !held.contains(**title)).map(|(title, _)| title);
    assert_eq!(unheld.collect::<Vec<_>>(), Vec::<&&str>::new(), "sections of kinds that do not exist");
}

/// The title and the text of a section, whichever level it is of.
fn section(text: &str) -> Option<(&str, &str)> {
    let (title, text) = text.split_once('\n')?;
    Some((title.trim_start_matches('#').trim(), text))
}

/// The fields of a kind that hold no others, which are said with them.
fn fields_of(kind: &str) -> Vec<String> {
    let mut fields = Vec::new();
    each_node(|path, node| {
        if let Some(path) = path.strip_prefix(kind)
            && (path.starts_with("sp") || path.starts_with("status"))
            && node["properties"].is_null()
            && !path.ends_with("[]")
        {
            fields.push(path.to_owned());
        }
    });
    fields
}

fn names_all(kind: &str, page: &str, fields: &[String]) {
    let rows: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let below = |row: &str, path: &str| match row.strip_suffix(".*") {
        Some(parent) => {
            path == parent || path.starts_with(&format!("{parent}.")) || path.starts_with(&format!("{parent}["))
        }
        None => path == row,
    };
    for field in fields {
        let holds = rows.iter().any(|row| row.trim_end_matches(".*").starts_with(&format!("{field}[")));
        assert!(
            holds || rows.iter().any(|row| below(row, field)),
            "docs/compatibility.md: {kind} has no row for {field}"
        );
    }
    for row in rows {
        assert!(row != "spec.*", "docs/compatibility.md: {kind}: that says nothing of any field");
        assert!(fields.iter().any(|field| below(row, field)), "docs/compatibility.md: {kind} has no field {row}");
    }
}

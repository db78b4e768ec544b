use super::*;

/// Lines and kinds of what is changed, and lines of what is not.
fn told(text: &str) -> (Vec<(usize, String)>, Vec<usize>) {
    let found = find(text);
    let changes = found.changes.iter().map(|change| (change.line, change.kind.clone())).collect();
    (changes, found.doubts.iter().map(|doubt| doubt.line).collect())
}

#[track_caller]
fn becomes(text: &str, expected: &str) {
    let found = find(text);
    assert_eq!(rewritten(text, &found.changes), expected, "{found:?}");
    assert!(found.doubts.is_empty(), "{found:?}");
    // Once is enough.
    assert_eq!(rewritten(expected, &find(expected).changes), expected);
}

#[track_caller]
fn stays(text: &str, doubts: &[usize]) {
    let (changes, left) = told(text);
    assert_eq!((changes, left.as_slice()), (Vec::new(), doubts), "{text}");
}

#[test]
fn nothing_but_the_version_changes() {
    let file = "# Secrets of the shop\r
---
apiVersion: external-secrets.io/v1beta1   # the old one
kind: ExternalSecret
metadata:
  name: shop
  annotations: {reconcile.external-secrets.io/note: 'external-secrets.io/v1beta1-like'}
spec:
  refreshInterval:   1h
  secretStoreRef: &store
    name: vault
    kind: ClusterSecretStore
  data:
  - secretKey: a
    remoteRef: { key: a }
    sourceRef: {storeRef: *store}
---
kind: 'SecretStore'
apiVersion: \"external-secrets.io/v1beta1\"
metadata:
  name: x
...
---
apiVersion: generators.external-secrets.io/v1alpha1
kind: Password
---
apiVersion: external-secrets.io/v1alpha1
kind: PushSecret
---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
";
    becomes(
        file,
        &file
            .replace("io/v1beta1   #", "io/v1   #")
            .replace("\"external-secrets.io/v1beta1\"", "\"external-secrets.io/v1\""),
    );
    assert_eq!(told(file).0, [(3, "ExternalSecret".to_owned()), (19, "SecretStore".to_owned())]);
}

#[test]
fn lists_and_objects_in_objects() {
    becomes(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: external-secrets.io/v1beta1\n  kind: ExternalSecret\n- kind: SecretStore\n  spec:\n    x:\n    - a: b\n  apiVersion: external-secrets.io/v1beta1\n- apiVersion: v1\n  kind: Secret\n  metadata:\n    ownerReferences:\n      - apiVersion: external-secrets.io/v1beta1\n        kind: ExternalSecret\n        name: a\n",
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: external-secrets.io/v1\n  kind: ExternalSecret\n- kind: SecretStore\n  spec:\n    x:\n    - a: b\n  apiVersion: external-secrets.io/v1\n- apiVersion: v1\n  kind: Secret\n  metadata:\n    ownerReferences:\n      - apiVersion: external-secrets.io/v1\n        kind: ExternalSecret\n        name: a\n",
    );
}

#[test]
fn patches_of_kustomize() {
    becomes(
        "patches:\n- target:\n    group: external-secrets.io\n    version: v1beta1 # of all\n    kind: ExternalSecret\n  patch: |-\n    - op: replace\n      path: /spec/refreshInterval\n      value: 1h\n- patch: |-\n    apiVersion: external-secrets.io/v1beta1\n    kind: ExternalSecret\n    metadata:\n      name: any\n- target: {group: external-secrets.io, version: v1beta1}\n  path: p.yaml\n",
        "patches:\n- target:\n    group: external-secrets.io\n    version: v1 # of all\n    kind: ExternalSecret\n  patch: |-\n    - op: replace\n      path: /spec/refreshInterval\n      value: 1h\n- patch: |-\n    apiVersion: external-secrets.io/v1\n    kind: ExternalSecret\n    metadata:\n      name: any\n- target: {group: external-secrets.io, version: v1}\n  path: p.yaml\n",
    );
    stays("- target:\n    group: external-secrets.io\n    version: v1\n    kind: ExternalSecret\n", &[]);
    stays("- op: replace\n  path: /apiVersion\n  value: external-secrets.io/v1beta1\n", &[3]);
    stays("target: {group: external-secrets.io, version: v1alpha1, kind: PushSecret}\n", &[]);
    stays("target: {group: external-secrets.io, version: v1alpha1}\n", &[1]);
    stays("target: {group: generators.external-secrets.io, version: v1alpha1, kind: Password}\n", &[]);
}

#[test]
fn templates_of_helm() {
    becomes(
        "{{- range $name, $es := .Values.externalSecrets }}\n---\napiVersion: external-secrets.io/v1beta1\n{{- if $es.cluster }}\nkind: ClusterExternalSecret\n{{- end }}\nmetadata:\n  name: {{ $name }}\n{{- end }}\n",
        "{{- range $name, $es := .Values.externalSecrets }}\n---\napiVersion: external-secrets.io/v1\n{{- if $es.cluster }}\nkind: ClusterExternalSecret\n{{- end }}\nmetadata:\n  name: {{ $name }}\n{{- end }}\n",
    );
    let choice = "{{- if .Capabilities.APIVersions.Has \"external-secrets.io/v1beta1\" }}\napiVersion: external-secrets.io/v1beta1\n{{- else }}\napiVersion: external-secrets.io/v1\n{{- end }}\nkind: ExternalSecret\n";
    stays(choice, &[1, 2]);
    stays("apiVersion: external-secrets.io/v1beta1\nkind: {{ .kind }}\n", &[1]);
    stays("apiVersion: {{ .Values.version | default \"external-secrets.io/v1beta1\" }}\nkind: ExternalSecret\n", &[1]);
    stays("{{- define \"x\" -}}\nexternal-secrets.io/v1beta1\n{{- end -}}\n", &[2]);
    stays("{{/*\n# external-secrets.io/v1beta1\n*/}}\n", &[]);
}

#[test]
fn json_and_braces() {
    becomes(
        "{\n  \"kind\": \"ExternalSecret\",\n  \"spec\": {\"x\": \"a } \\\" b\", \"data\": [{}, []]},\n  \"apiVersion\": \"external-secrets.io/v1beta1\"\n}\n",
        "{\n  \"kind\": \"ExternalSecret\",\n  \"spec\": {\"x\": \"a } \\\" b\", \"data\": [{}, []]},\n  \"apiVersion\": \"external-secrets.io/v1\"\n}\n",
    );
    becomes(
        "{\"items\":[{\"apiVersion\":\"external-secrets.io/v1beta1\",\"kind\":\"SecretStore\"},{\"apiVersion\":\"v1\",\"kind\":\"Secret\"}]}",
        "{\"items\":[{\"apiVersion\":\"external-secrets.io/v1\",\"kind\":\"SecretStore\"},{\"apiVersion\":\"v1\",\"kind\":\"Secret\"}]}",
    );
    becomes(
        "- {apiVersion: external-secrets.io/v1beta1, kind: ClusterSecretStore, metadata: {name: a}}\n",
        "- {apiVersion: external-secrets.io/v1, kind: ClusterSecretStore, metadata: {name: a}}\n",
    );
    // The last applied configuration, in a text of its own.
    stays(
        "  last: \"{\\\"apiVersion\\\":\\\"external-secrets.io/v1beta1\\\",\\\"kind\\\":\\\"ExternalSecret\\\"}\"\n",
        &[1],
    );
    stays("{\"apiVersion\": \"external-secrets.io/v1beta1\"", &[1]);
}

#[test]
fn anchors_are_changed_with_all_that_repeat_them_or_not_at_all() {
    let with = |kind: &str, version: &str| {
        format!(
            "apiVersion: &v external-secrets.io/{version}\nkind: ExternalSecret\n---\napiVersion: *v\nkind: {kind}\n"
        )
    };
    becomes(&with("SecretStore", "v1beta1"), &with("SecretStore", "v1"));
    stays(&with("PushSecret", "v1beta1"), &[1]);
    stays("apiVersion: &v external-secrets.io/v1beta1\nkind: ExternalSecret\nx: *v\n", &[1]);
}

#[test]
fn the_oldest_version_where_its_fields_are_those_of_today() {
    let with = |kind: &str, version: &str, spec: &str| {
        format!("apiVersion: external-secrets.io/{version}\nkind: {kind}\nspec:\n{spec}")
    };
    let same = "  secretStoreRef: {name: a}\n  data:\n  - secretKey: a\n    remoteRef: {key: a}\n";
    becomes(&with("ExternalSecret", "v1alpha1", same), &with("ExternalSecret", "v1", same));
    becomes(&with("ClusterSecretStore", "v1alpha1", ""), &with("ClusterSecretStore", "v1", ""));
    stays(&with("ExternalSecret", "v1alpha1", "  dataFrom:\n  - key: a\n"), &[1]);
    stays(&with("ExternalSecret", "v1alpha1", "  target:\n    template: {}\n"), &[1]);
    let other = with("ExternalSecret", "v1alpha1", same) + "---\nkind: Deployment\nspec:\n  template: {}\n";
    assert_eq!(told(&other), (vec![(1, "ExternalSecret".to_owned())], vec![]), "another document is another object");
}

#[test]
fn what_is_not_sure_is_left_alone_and_told() {
    stays("apiVersion: external-secrets.io/v1beta1\nmetadata: {}\n", &[1]);
    stays("apiVersion: external-secrets.io/v1beta1\nkind: Workflow\n", &[1]);
    stays("args: [--api=external-secrets.io/v1beta1]\n", &[1]);
    stays("# apiVersion: external-secrets.io/v1beta1\nx: 1 # external-secrets.io/v1beta1\n", &[]);
    stays("apiVersion: external-secrets.io/v1beta10\nkind: ExternalSecret\n", &[]);
    stays("apiVersion: my.external-secrets.io/v1beta1\nkind: ExternalSecret\n", &[]);
    stays("apiGroups: [external-secrets.io]\nversions: [{name: v1beta1}]\n", &[]);
    stays("spec:\n  group: external-secrets.io\n  versions:\n  - name: v1beta1\n", &[]);
}

#[test]
fn no_text_makes_it_fail() {
    let whole = "- {apiVersion: external-secrets.io/v1beta1, kind: 'A\"}\n  group: external-secrets.io\n  version: é\u{1f600}v1beta1\n---\n\"apiVersion\" : \"external-secrets.io/v1beta1\" }{{\n";
    for (at, _) in whole.char_indices() {
        for part in [&whole[..at], &whole[at..]] {
            let found = find(part);
            rewritten(part, &found.changes);
        }
    }
}

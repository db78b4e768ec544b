//! A chart that is like External Secrets Operator's where a switch meets it: its values, its names, its templates' names.

use std::path::Path;

/// The chart, in a folder of its own.
pub fn chart() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    write("Chart.yaml", "apiVersion: v2\nname: external-secrets\nversion: 2.14.0\nappVersion: v2.14.0\n");
    write("values.yaml", VALUES);
    write("templates/_helpers.tpl", HELPERS);
    // Its CRDs are templates, without the annotation that would keep them.
    let head = "\nmetadata:\n  annotations:\n    controller-gen.kubebuilder.io/version: v0\n{{- with .Values.crds.annotations }}\n{{ toYaml . | indent 4 }}\n{{- end }}\n";
    for crd in keyferry_crds::crds() {
        let text = keyferry_crds::yaml(&crd);
        assert!(!text.contains("{{"), "nothing in it may look like a template");
        write(&format!("templates/crds/{}", keyferry_crds::file_name(&crd)), &text.replace("\nmetadata:\n", head));
    }
    write("templates/serviceaccount.yaml", ACCOUNT);
    write("templates/deployment.yaml", DEPLOYMENT);
    write(
        "templates/extra-objects.yaml",
        "{{- range .Values.extraObjects }}\n---\n{{ tpl (toYaml .) $ }}\n{{- end }}\n",
    );
    dir
}

const VALUES: &str = "replicaCount: 1
nameOverride: ''
fullnameOverride: ''
image: {repository: ghcr.io/external-secrets/external-secrets, tag: ''}
crds: {annotations: {}}
serviceAccount: {create: true, annotations: {}, name: ''}
extraObjects: []
";

const HELPERS: &str = r#"{{- define "external-secrets.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- define "external-secrets.account" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "external-secrets.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}
"#;

const ACCOUNT: &str = r#"{{- if .Values.serviceAccount.create }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "external-secrets.account" . }}
  namespace: {{ .Release.Namespace }}
  labels: {helm.sh/chart: external-secrets-2.14.0, app.kubernetes.io/managed-by: Helm}
  {{- with .Values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
"#;

const DEPLOYMENT: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "external-secrets.fullname" . }}
  labels: {app.kubernetes.io/name: external-secrets}
spec:
  replicas: {{ .Values.replicaCount }}
  selector:
    matchLabels: {app.kubernetes.io/name: external-secrets, app.kubernetes.io/instance: {{ .Release.Name }}}
  template:
    metadata:
      labels: {app.kubernetes.io/name: external-secrets, app.kubernetes.io/instance: {{ .Release.Name }}}
    spec:
      serviceAccountName: {{ include "external-secrets.account" . }}
      containers:
      - name: external-secrets
        image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
"#;

{{/*
What names are made from. It is what External Secrets Operator's chart makes them from: stores, roles in Vault and roles in
clouds trust a ServiceAccount by its name and namespace, NetworkPolicies and dashboards find pods by the label. Where
the release bears this chart's own name, it never was that chart's.
*/}}
{{- define "keyferry.base" -}}
{{- .Values.nameOverride | default (contains .Chart.Name .Release.Name | ternary .Chart.Name "external-secrets") -}}
{{- end -}}

{{/* The label app.kubernetes.io/name. */}}
{{- define "keyferry.name" -}}
{{- include "keyferry.base" . | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of most objects. 63 bytes are what a label may hold. */}}
{{- define "keyferry.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "keyferry.base" . -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- $full | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "keyferry.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace -}}
{{- end -}}

{{- define "keyferry.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "keyferry.fullname" .) "default") -}}
{{- end -}}

{{/*
What finds the pods. It must never change: a Deployment keeps its selector for ever, and one of External Secrets
Operator's of the same name has the same, so that its release can be upgraded to this chart.
*/}}
{{- define "keyferry.selectorLabels" -}}
app.kubernetes.io/name: {{ include "keyferry.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The labels of every object: commonLabels, but ours where both name the same. */}}
{{- define "keyferry.labels" -}}
{{- $ours := include "keyferry.selectorLabels" . | fromYaml -}}
{{- $_ := set $ours "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- $_ := set $ours "app.kubernetes.io/version" (.Chart.AppVersion | toString) -}}
{{- $_ := set $ours "app.kubernetes.io/managed-by" .Release.Service -}}
{{- merge $ours (.Values.commonLabels | default dict) | toYaml -}}
{{- end -}}

{{/* Whether everything is about one namespace, rights included. Not empty means yes. */}}
{{- define "keyferry.scoped" -}}
{{- if .Values.scopedRBAC -}}
{{- required "scopedRBAC needs scopedNamespace: the namespace that the operator looks after and has rights in" .Values.scopedNamespace -}}
{{- end -}}
{{- end -}}

{{/* Whether ClusterSecretStores are looked after: they and namespaces can be read with rights in the whole cluster only. */}}
{{- define "keyferry.clusterStores" -}}
{{- if and .Values.processClusterStore (not (include "keyferry.scoped" .)) -}}true{{- end -}}
{{- end -}}

{{/* The kinds that are not built, and whose objects are told so: a JSON list. */}}
{{- define "keyferry.unbuilt" -}}
{{- $kinds := list -}}
{{- if .Values.processPushSecret }}{{ $kinds = append $kinds "PushSecret" }}{{ end -}}
{{- if and .Values.processClusterExternalSecret (not (include "keyferry.scoped" .)) }}{{ $kinds = append $kinds "ClusterExternalSecret" }}{{ end -}}
{{- if and .Values.processClusterPushSecret (not (include "keyferry.scoped" .)) }}{{ $kinds = append $kinds "ClusterPushSecret" }}{{ end -}}
{{- toJson $kinds -}}
{{- end -}}

{{/* The name of the Lease: the Role names it too. */}}
{{- define "keyferry.lease" -}}
{{- index (.Values.extraArgs | default dict) "leader-election-id" | default "external-secrets-controller" -}}
{{- end -}}

{{/* The namespace of the Lease. */}}
{{- define "keyferry.leaseNamespace" -}}
{{- index (.Values.extraArgs | default dict) "leader-election-namespace" | default (include "keyferry.namespace" .) -}}
{{- end -}}

{{/* External Secrets Operator's logger has levels above error, and ours has none. */}}
{{- define "keyferry.loglevel" -}}
{{- $level := lower .Values.log.level -}}
{{- has $level (list "dpanic" "panic" "fatal") | ternary "error" $level -}}
{{- end -}}

{{/* The flags. Each is given once, as a second one would be refused; extraArgs win. */}}
{{- define "keyferry.args" -}}
{{- $liveness := .Values.livenessProbe.spec | default dict -}}
{{- $flags := dict
  "concurrent" (.Values.concurrent | int)
  "enable-leader-election" .Values.leaderElect
  "leader-election-namespace" (include "keyferry.leaseNamespace" .)
  "live-addr" (printf "%s:%d" ($liveness.address | default "") ($liveness.port | default 8082 | int))
  "loglevel" (include "keyferry.loglevel" .)
  "metrics-addr" (printf ":%d" (.Values.metrics.listen.port | int))
-}}
{{- with .Values.controllerClass }}{{ $_ := set $flags "controller-class" . }}{{ end -}}
{{- with .Values.scopedNamespace }}{{ $_ := set $flags "namespace" . }}{{ end -}}
{{- with .Values.storeRequeueInterval }}{{ $_ := set $flags "store-requeue-interval" . }}{{ end -}}
{{- if .Values.genericTargets.enabled }}{{ $_ := set $flags "unsafe-allow-generic-targets" true }}{{ end -}}
{{- if not .Values.processSecretStore }}{{ $_ := set $flags "enable-secret-store-reconciler" false }}{{ end -}}
{{- if not (include "keyferry.clusterStores" .) }}{{ $_ := set $flags "enable-cluster-store-reconciler" false }}{{ end -}}
{{- range $kind, $flag := dict
  "ClusterExternalSecret" "enable-cluster-external-secret-reconciler"
  "ClusterPushSecret" "enable-cluster-push-secret-reconciler"
  "PushSecret" "enable-push-secret-reconciler"
}}
{{- if not (has $kind (include "keyferry.unbuilt" $ | fromJsonArray)) }}{{ $_ := set $flags $flag false }}{{ end -}}
{{- end -}}
{{- range $name, $value := .Values.extraArgs }}{{ $_ := set $flags $name $value }}{{ end -}}
- run
{{- range $name, $value := $flags }}
{{- /* A switch may be given by its name alone. */}}
{{- if or (kindIs "invalid" $value) (eq (toString $value) "") }}
- {{ printf "--%s" $name | quote }}
{{- else }}
{{- /* YAML's numbers are floats to templates: 1000000 would be written as 1e+06. */}}
{{- $text := kindIs "float64" $value | ternary ($value | toJson) ($value | toString) }}
- {{ printf "--%s=%s" $name $text | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "keyferry.image" -}}
{{- $repository := .Values.global.repository | default .Values.image.repository -}}
{{- if hasSuffix "external-secrets/external-secrets" $repository -}}
{{- fail (printf "image.repository is %s, which is External Secrets Operator's: name keyferry's image there (and its tag in image.tag)" $repository) -}}
{{- end -}}
{{- printf "%s:%s" $repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{/* A security context without our own switch `enabled`, and without ids where OpenShift gives them. Takes a list: the root, the context. */}}
{{- define "keyferry.securityContext" -}}
{{- $root := index . 0 -}}
{{- $context := omit (index . 1) "enabled" -}}
{{- $adapt := $root.Values.global.compatibility.openshift.adaptSecurityContext -}}
{{- $openshift := $root.Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- if or (eq $adapt "force") (and (eq $adapt "auto") $openshift) -}}
{{- $context = omit $context "runAsUser" "runAsGroup" "fsGroup" "seLinuxOptions" -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{/* A probe: what the values say of its times, at a path of ours. Takes a list: the values, the path. */}}
{{- define "keyferry.probe" -}}
{{- $spec := omit (index . 0).spec "address" "port" "httpGet" -}}
{{- merge (dict "httpGet" (dict "path" (index . 1) "port" "live")) $spec | toYaml -}}
{{- end -}}

{{/* The namespaces that are looked after, as a list in JSON; none means all. */}}
{{- define "keyferry.scope" -}}
{{- concat (list .Values.scopedNamespace) (.Values.scopedNamespaces | default list) | compact | uniq | sortAlpha | toJson -}}
{{- end -}}

{{/* Whether rights end at those namespaces, too. Not empty means yes. */}}
{{- define "keyferry.scoped" -}}
{{- if .Values.scopedRBAC -}}
{{- if empty (include "keyferry.scope" . | fromJsonArray) -}}
{{- fail "scopedRBAC needs scopedNamespace or scopedNamespaces: where the operator looks and has rights" -}}
{{- end -}}
true
{{- end -}}
{{- end -}}

{{/* Where there are roles: in each of those namespaces, or once in the whole cluster, which is an empty name. A list in JSON. */}}
{{- define "keyferry.places" -}}
{{- if include "keyferry.scoped" . }}{{ include "keyferry.scope" . }}{{ else }}[""]{{ end -}}
{{- end -}}

{{/* Whether ClusterSecretStores are looked after: they and namespaces can be read with rights in the whole cluster only. */}}
{{- define "keyferry.clusterStores" -}}
{{- if and .Values.processClusterStore (not (include "keyferry.scoped" .)) -}}true{{- end -}}
{{- end -}}

{{/* The kinds that make copies in namespaces, and are looked after: a JSON list. They are of the whole cluster. */}}
{{- define "keyferry.copiers" -}}
{{- $kinds := list -}}
{{- if empty (include "keyferry.scope" . | fromJsonArray) -}}
{{- if .Values.processClusterExternalSecret }}{{ $kinds = append $kinds "ClusterExternalSecret" }}{{ end -}}
{{- if .Values.processClusterPushSecret }}{{ $kinds = append $kinds "ClusterPushSecret" }}{{ end -}}
{{- end -}}
{{- toJson $kinds -}}
{{- end -}}

{{/* The name of the Lease: the Role names it too. */}}
{{- define "keyferry.lease" -}}
{{- index (.Values.extraArgs | default dict) "leader-election-id" | default "external-secrets-controller" -}}
{{- end -}}

{{/* How many shards there are, by the values or by a flag among extraArgs, which wins. Empty where there are none. */}}
{{- define "keyferry.shards" -}}
{{- $shards := index (.Values.extraArgs | default dict) "shards" | default .Values.shards | int -}}
{{- if gt $shards 1 }}{{ $shards }}{{ end -}}
{{- end -}}

{{/* The Leases, as a list in JSON: the one of all, and those of shards. */}}
{{- define "keyferry.leases" -}}
{{- $all := include "keyferry.lease" . -}}
{{- $leases := list $all -}}
{{- range $shard := until (include "keyferry.shards" . | int) }}{{ $leases = append $leases (printf "%s-shard-%d" $all $shard) }}{{ end -}}
{{- toJson $leases -}}
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

{{/* Whether SealedSecrets are unsealed: by the values, or by a flag among extraArgs, which wins. Not empty means yes. */}}
{{- define "keyferry.unsealsKind" -}}
{{- if hasKey (.Values.extraArgs | default dict) "enable-sealed-secrets" -}}
{{- include "keyferry.isOn" (list .Values "enable-sealed-secrets") -}}
{{- else if and .Values.sealing.keys .Values.sealing.sealedSecrets -}}true{{- end -}}
{{- end -}}

{{/* Whether workloads are restarted: by the values, or by a flag among extraArgs, which wins. Not empty means yes. */}}
{{- define "keyferry.restarts" -}}
{{- if hasKey (.Values.extraArgs | default dict) "enable-restarts" -}}
{{- include "keyferry.isOn" (list .Values "enable-restarts") -}}
{{- else if .Values.restarts.enabled -}}true{{- end -}}
{{- end -}}

{{/* Whether the values have --seal-listen served. */}}
{{- define "keyferry.servesSeal" -}}
{{- if and .Values.sealing.keys .Values.sealing.seal.enabled -}}true{{- end -}}
{{- end -}}

{{/* Whether the values have --unseal-listen served. */}}
{{- define "keyferry.servesUnseal" -}}
{{- if and .Values.sealing.keys .Values.sealing.unseal.enabled -}}
{{- required "sealing.unseal.enabled needs sealing.unseal.certSecret: a Secret of the release's namespace with tls.crt and tls.key" .Values.sealing.unseal.certSecret -}}
{{- end -}}
{{- end -}}

{{/* The flags of the audit log's webhook, by name: of the operator and of the driver. */}}
{{- define "keyferry.auditFlags" -}}
{{- $webhook := .Values.audit.webhook -}}
{{- $flags := dict -}}
{{- if $webhook.url -}}
{{- $_ := set $flags "audit-webhook" $webhook.url -}}
{{- if $webhook.allowHttp }}{{ $_ := set $flags "audit-webhook-allow-http" true }}{{ end -}}
{{- if $webhook.caConfigMap }}{{ $_ := set $flags "audit-webhook-ca-file" "/etc/keyferry/audit/authority/ca.crt" }}{{ end -}}
{{- if $webhook.tokenSecret }}{{ $_ := set $flags "audit-webhook-token-file" "/etc/keyferry/audit/token/token" }}{{ end -}}
{{- end -}}
{{- toYaml $flags -}}
{{- end -}}

{{/* The volumes that these name. Empty where there are none. */}}
{{- define "keyferry.auditVolumes" -}}
{{- $webhook := .Values.audit.webhook -}}
{{- if and $webhook.url $webhook.caConfigMap }}
- name: audit-authority
  configMap:
    name: {{ $webhook.caConfigMap | quote }}
{{- end }}
{{- if and $webhook.url $webhook.tokenSecret }}
- name: audit-token
  secret:
    secretName: {{ $webhook.tokenSecret | quote }}
{{- end }}
{{- end -}}

{{/* Where these are mounted. */}}
{{- define "keyferry.auditMounts" -}}
{{- $webhook := .Values.audit.webhook -}}
{{- if and $webhook.url $webhook.caConfigMap }}
- name: audit-authority
  mountPath: /etc/keyferry/audit/authority
  readOnly: true
{{- end }}
{{- if and $webhook.url $webhook.tokenSecret }}
- name: audit-token
  mountPath: /etc/keyferry/audit/token
  readOnly: true
{{- end }}
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
{{- with include "keyferry.scope" . | fromJsonArray }}{{ $_ := set $flags "namespace" (join "," .) }}{{ end -}}
{{- with include "keyferry.shards" . }}{{ $_ := set $flags "shards" . }}{{ end -}}
{{- with .Values.storeRequeueInterval }}{{ $_ := set $flags "store-requeue-interval" . }}{{ end -}}
{{- if .Values.genericTargets.enabled }}{{ $_ := set $flags "unsafe-allow-generic-targets" true }}{{ end -}}
{{- if not .Values.processSecretStore }}{{ $_ := set $flags "enable-secret-store-reconciler" false }}{{ end -}}
{{- if not .Values.processPushSecret }}{{ $_ := set $flags "enable-push-secret-reconciler" false }}{{ end -}}
{{- if not (include "keyferry.clusterStores" .) }}{{ $_ := set $flags "enable-cluster-store-reconciler" false }}{{ end -}}
{{- range $kind, $flag := dict
  "ClusterExternalSecret" "enable-cluster-external-secret-reconciler"
  "ClusterPushSecret" "enable-cluster-push-secret-reconciler"
}}
{{- if not (has $kind (include "keyferry.copiers" $ | fromJsonArray)) }}{{ $_ := set $flags $flag false }}{{ end -}}
{{- end -}}
{{- with .Values.sealing.keys }}{{ $_ := set $flags "sealing-keys" . }}{{ end -}}
{{- if include "keyferry.unsealsKind" . }}{{ $_ := set $flags "enable-sealed-secrets" true }}{{ end -}}
{{- if include "keyferry.servesSeal" . }}{{ $_ := set $flags "seal-listen" (printf ":%d" (.Values.sealing.seal.port | int)) }}{{ end -}}
{{- if include "keyferry.servesUnseal" . }}
{{- $_ := set $flags "unseal-listen" (printf ":%d" (.Values.sealing.unseal.port | int)) -}}
{{- $_ := set $flags "unseal-cert-dir" "/etc/keyferry/unseal" -}}
{{- end -}}
{{- if include "keyferry.restarts" . }}{{ $_ := set $flags "enable-restarts" true }}{{ end -}}
{{- if .Values.restarts.withoutOptIn }}{{ $_ := set $flags "restart-without-opt-in" true }}{{ end -}}
{{- with .Values.audit.log }}{{ $_ := set $flags "audit-log" . }}{{ end -}}
{{- $flags = merge $flags (include "keyferry.auditFlags" . | fromYaml) -}}
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

{{/*
Whether an image is External Secrets Operator's: by its name in whichever registry, or in a mirror that makes one word of
a path, with a flavour, tag or digest. Not empty means yes.
*/}}
{{- define "keyferry.isForeignImage" -}}
{{- if regexMatch "(^|/)([a-z0-9._-]+[-_.])?external-secrets(-ubi(-boringssl)?)?(:[^/@]*)?(@.*)?$" . -}}true{{- end -}}
{{- end -}}

{{/* The image that the chart names itself; a test holds that values.yaml has the same. */}}
{{- define "keyferry.ownRepository" -}}
localhost/keyferry
{{- end -}}

{{/*
Of the images that the values name, those of External Secrets Operator, which are passed over, as a list in JSON. A values
file that was written for its chart often names one, or a version of it.
*/}}
{{- define "keyferry.foreignImages" -}}
{{- $foreign := list -}}
{{- range $name, $repository := dict "global.repository" .Values.global.repository "image.repository" .Values.image.repository -}}
{{- if and $repository (include "keyferry.isForeignImage" $repository) -}}
{{- $foreign = append $foreign (printf "%s: %s" $name $repository) -}}
{{- end -}}
{{- end -}}
{{- $tag := .Values.image.tag | default "" | toString -}}
{{- /* A tag alone may be ours. It is theirs where it has their form, and where it stands beside their image only. */ -}}
{{- $theirForm := regexMatch "^v[0-9]" $tag -}}
{{- $unnamed := eq (include "keyferry.repository" .) (include "keyferry.ownRepository" .) -}}
{{- if and $tag (or (and $theirForm (or $foreign $unnamed)) (and $foreign $unnamed)) -}}
{{- $foreign = append $foreign (printf "image.tag: %s" $tag) -}}
{{- end -}}
{{- /* A digest is of one image: where that is passed over, so is it. */ -}}
{{- if and .Values.image.digest $foreign $unnamed -}}
{{- $foreign = append $foreign (printf "image.digest: %s" .Values.image.digest) -}}
{{- end -}}
{{- toJson $foreign -}}
{{- end -}}

{{/* The first repository that is named and is not External Secrets Operator's. */}}
{{- define "keyferry.repository" -}}
{{- $found := include "keyferry.ownRepository" . -}}
{{- range list .Values.image.repository .Values.global.repository -}}
{{- if and . (not (include "keyferry.isForeignImage" .)) -}}{{- $found = . -}}{{- end -}}
{{- end -}}
{{- $found -}}
{{- end -}}

{{- define "keyferry.image" -}}
{{- $foreign := include "keyferry.foreignImages" . -}}
{{- $tag := contains "image.tag: " $foreign | ternary "" .Values.image.tag -}}
{{- $digest := contains "image.digest: " $foreign | ternary "" (.Values.image.digest | default "") -}}
{{- printf "%s:%s%s" (include "keyferry.repository" .) ($tag | default .Chart.AppVersion) ($digest | empty | ternary "" (printf "@%s" $digest)) -}}
{{- end -}}

{{/* How replicas are spread, as a list in YAML: over nodes, where there are several and nothing else is said. */}}
{{- define "keyferry.spread" -}}
{{- $spread := .Values.topologySpreadConstraints | default .Values.global.topologySpreadConstraints | default list -}}
{{- if not (or $spread (lt (int .Values.replicaCount) 2) (hasKey (.Values.podSpecExtra | default dict) "topologySpreadConstraints")) -}}
{{- $selector := dict "matchLabels" (include "keyferry.selectorLabels" . | fromYaml) -}}
{{- $spread = list (dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway" "labelSelector" $selector "matchLabelKeys" (list "pod-template-hash")) -}}
{{- end -}}
{{- toYaml $spread -}}
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

{{/* Whether a switch is on among extraArgs, where it may be given by its name alone: a list of all values and its name. Not empty means yes. */}}
{{- define "keyferry.isOn" -}}
{{- $args := (index . 0).extraArgs | default dict -}}
{{- if and (hasKey $args (index . 1)) (ne (toString (index $args (index . 1))) "false") -}}true{{- end -}}
{{- end -}}

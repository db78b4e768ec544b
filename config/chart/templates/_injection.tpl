{{/*
The version of the API in which the injecting policy is made; fails where the cluster does not serve it. What is said of
clusters is told apart by the kind: the group alone is everywhere.
*/}}
{{- define "keyferry.injectionApi" -}}
{{- $wanted := printf "admissionregistration.k8s.io/%s" .Values.node.injection.apiVersion -}}
{{- if not (.Capabilities.APIVersions.Has (printf "%s/MutatingAdmissionPolicy" $wanted)) -}}
{{- $other := eq .Values.node.injection.apiVersion "v1" | ternary "v1beta1" "v1" -}}
{{- if .Capabilities.APIVersions.Has (printf "admissionregistration.k8s.io/%s/MutatingAdmissionPolicy" $other) -}}
{{- fail (printf "node.injection: this cluster serves MutatingAdmissionPolicy as %s, not as %s: set node.injection.apiVersion=%s" $other .Values.node.injection.apiVersion $other) -}}
{{- end -}}
{{- fail (printf "node.injection needs MutatingAdmissionPolicy, which this cluster does not serve: Kubernetes 1.36 does, 1.34 and 1.35 do with the feature gate MutatingAdmissionPolicy and --runtime-config=admissionregistration.k8s.io/v1beta1=true (then set node.injection.apiVersion=v1beta1). Without a cluster, give helm template --api-versions=%s/MutatingAdmissionPolicy" $wanted) -}}
{{- end -}}
{{- $wanted -}}
{{- end -}}

{{/* Which pods: new ones, of namespaces that do not opt out. Those of the release and of kube-system are needed for others' to start. */}}
{{- define "keyferry.injectionPods" -}}
namespaceSelector:
  matchExpressions:
    - key: keyferry.io/inject
      operator: NotIn
      values: [disabled]
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values: {{ list "kube-system" (include "keyferry.namespace" .) | uniq | toJson }}
resourceRules:
  - apiGroups: [""]
    apiVersions: [v1]
    operations: [CREATE]
    resources: [pods]
{{- end -}}

{{/* Of these, those that ask for it. What the kubelet says of its own pods (mirrors) must stay as it is. */}}
{{- define "keyferry.injectionAsked" -}}
- name: asks
  expression: >-
    has(object.metadata.annotations) && 'keyferry.io/inject' in object.metadata.annotations
    && !('kubernetes.io/config.mirror' in object.metadata.annotations)
{{- end -}}

{{/* What is asked for, and what is in its way: the same words for who injects and for who refuses. A long text is not taken apart. */}}
{{- define "keyferry.injectionVariables" -}}
- name: asked
  expression: object.metadata.annotations['keyferry.io/inject']
- name: names
  expression: "size(variables.asked) > 1024 ? [] : variables.asked.split(',').map(n, n.trim())"
- name: paths
  expression: >-
    variables.names.map(n, object.metadata.annotations[?'keyferry.io/inject-path-' + n].orValue('/keyferry/' + n))
- name: notNames
  expression: variables.names.filter(n, !n.matches('^[a-z0-9]([-a-z0-9]{0,48}[a-z0-9])?$'))
- name: twice
  expression: variables.names.filter(n, variables.names.indexOf(n) != variables.names.lastIndexOf(n))
- name: isList
  expression: >-
    size(variables.names) > 0 && size(variables.names) <= 16 && size(variables.notNames) == 0 && size(variables.twice) == 0
- name: unasked
  expression: >-
    object.metadata.annotations.filter(key, key.startsWith('keyferry.io/inject-')
      && !variables.names.exists(n, key == 'keyferry.io/inject-path-' + n || key == 'keyferry.io/inject-items-' + n
        || key == 'keyferry.io/inject-owner-' + n))
- name: notPaths
  expression: >-
    variables.names.filter(n, !(size(variables.paths[variables.names.indexOf(n)]) <= 256
      && variables.paths[variables.names.indexOf(n)].matches('^(/[A-Za-z0-9._-]+)+$')
      && !variables.paths[variables.names.indexOf(n)].matches('/[.][.]?(/|$)')))
- name: within
  expression: >-
    variables.names.filter(n, variables.paths.exists_one(p,
      (p + '/').startsWith(variables.paths[variables.names.indexOf(n)] + '/')) == false)
- name: isAsked
  expression: >-
    variables.isList && size(variables.unasked) == 0 && size(variables.notPaths) == 0 && size(variables.within) == 0
- name: containers
  expression: "object.spec.containers + (has(object.spec.initContainers) ? object.spec.initContainers : [])"
- name: isBounded
  expression: >-
    size(variables.containers) <= 64
    && variables.containers.map(c, has(c.volumeMounts)
      ? size(c.volumeMounts.filter(m, !m.name.startsWith('keyferry-'))) : 0).sum() <= 1000
- name: ownVolumes
  expression: >-
    !variables.isAsked || !has(object.spec.volumes) ? [] : variables.names.filter(n, object.spec.volumes.exists(v,
      v.name == 'keyferry-' + n && !(has(v.csi) && v.csi.driver == 'csi.keyferry.io'
        && v.csi.?volumeAttributes[?'externalSecret'].orValue('') == n)))
- name: ownMounts
  expression: >-
    !variables.isAsked || !variables.isBounded ? [] : variables.names.filter(n, variables.containers.exists(c, has(c.volumeMounts)
      && c.volumeMounts.exists(m,
        (m.mountPath.replace('//', '/') + '/').startsWith(variables.paths[variables.names.indexOf(n)] + '/')
        && !(m.name == 'keyferry-' + n && m.mountPath == variables.paths[variables.names.indexOf(n)]))))
- name: isClear
  expression: variables.isAsked && variables.isBounded && size(variables.ownVolumes) == 0 && size(variables.ownMounts) == 0
{{- end -}}

{{/* Mounts of one container, as a patch of it. */}}
{{- define "keyferry.injectionMounts" -}}
{name: c.name, volumeMounts: variables.names.map(n, Object.spec.{{ . }}.volumeMounts{
  name: 'keyferry-' + n, mountPath: variables.paths[variables.names.indexOf(n)], readOnly: true})}
{{- end -}}

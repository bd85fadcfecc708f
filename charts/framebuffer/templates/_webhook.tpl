{{/*
The content of the webhook's configuration. It is used three times: as the configuration itself, as an annotation from which
the operator restores it after an edit, and in the policy that allows the operator no other content. Every field that the API
server would default is set, so that the three can be compared.

caBundle is left out on purpose: the operator (or cert-manager) writes it, and an upgrade that does not mention it keeps it.
Until it is there labelled pods are refused, and no other pod notices.

No namespace is exempt: the label selects exactly the pods that want the ring. Exempting the operator's own namespace would
let labelled pods start there without their ring, and the operator does not need it: its pods never have the label.
*/}}
{{- define "framebuffer.webhooks" -}}
{{- $n := include "framebuffer.names" . | fromYaml -}}
- name: {{ $n.webhook }}
  admissionReviewVersions: [v1]
  clientConfig:
    service:
      name: {{ include "framebuffer.operator" . }}
      namespace: {{ .Release.Namespace }}
      path: /mutate
      port: 443
  rules:
    - apiGroups: [""]
      apiVersions: [v1]
      resources: [pods]
      operations: [CREATE]
      scope: Namespaced
  namespaceSelector: {}
  objectSelector:
    matchExpressions:
      - key: {{ $n.label }}
        operator: Exists
  matchPolicy: Equivalent
  # No labelled pod starts without its ring.
  failurePolicy: Fail
  # Other webhooks may add containers after ours; on a pod that it has injected, ours changes nothing else.
  reinvocationPolicy: IfNeeded
  sideEffects: None
  timeoutSeconds: {{ .Values.webhook.timeoutSeconds }}
{{- end -}}

{{/* A value as a CEL expression. Lists and maps in CEL have values of one type unless these are wrapped in dyn(). */}}
{{- define "framebuffer.cel" -}}
{{- if kindIs "map" . -}}
{ {{- range $index, $key := keys . | sortAlpha }}{{ if $index }}, {{ end }}{{ toJson $key }}: dyn({{ include "framebuffer.cel" (get $ $key) }}){{ end -}} }
{{- else if kindIs "slice" . -}}
[{{ range $index, $item := . }}{{ if $index }}, {{ end }}dyn({{ include "framebuffer.cel" $item }}){{ end }}]
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}

{{/*
What the webhook's configuration says: written into it, next to it as an annotation by which the operator puts it back after an
edit, and into the policy that allows the operator no other content. Every field that the API server would fill in is here, so
that the three can be compared.

caBundle is left out on purpose: the operator (or cert-manager) writes it, and an upgrade that does not mention it leaves it
alone. Until it is there labelled pods are refused, and no other pod notices.

No namespace is exempt: the label says exactly who is meant. Leaving out the operator's own namespace would let labelled
pods start there without their ring, and is not needed to let the operator itself start: its pods never have the label.
*/}}
{{- define "framebuffer.webhooks" -}}
- name: inject.framebuffer.dev
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
      - key: framebuffer.dev/inject
        operator: Exists
  matchPolicy: Equivalent
  # No labelled pod starts without its ring.
  failurePolicy: Fail
  # Another webhook may add containers after us; ours changes nothing when it meets its own result.
  reinvocationPolicy: IfNeeded
  sideEffects: None
  timeoutSeconds: {{ .Values.webhook.timeoutSeconds }}
{{- end -}}

{{/* A value as an expression of CEL, whose lists and maps hold values of one type unless these are made dynamic. */}}
{{- define "framebuffer.cel" -}}
{{- if kindIs "map" . -}}
{ {{- range $index, $key := keys . | sortAlpha }}{{ if $index }}, {{ end }}{{ toJson $key }}: dyn({{ include "framebuffer.cel" (get $ $key) }}){{ end -}} }
{{- else if kindIs "slice" . -}}
[{{ range $index, $item := . }}{{ if $index }}, {{ end }}dyn({{ include "framebuffer.cel" $item }}){{ end }}]
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}

{{/* Who brings what the operator has rendered into pods: "policy" or "webhook". */}}
{{- define "framebuffer.injector" -}}
{{- $served := .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" -}}
{{- $injector := .Values.injection.mode -}}
{{- if and (eq $injector "policy") (not $served) -}}
{{- fail "injection.mode: policy needs a cluster that serves MutatingAdmissionPolicy of admissionregistration.k8s.io/v1 (Kubernetes 1.36); set webhook, or auto, which chooses by the cluster" -}}
{{- end -}}
{{- if ne $injector "auto" }}{{ $injector }}{{ else if $served }}policy{{ else }}webhook{{ end -}}
{{- end -}}

{{/* The MutatingAdmissionPolicy. Its bindings are the operator's: one for each name of a FrameBuffer. */}}
{{- define "framebuffer.policy" -}}
{{- include "framebuffer.operator" . }}-inject
{{- end -}}

{{/* Names that the policies share with the operator (operator/src/api, operator/src/render.rs). */}}
{{- define "framebuffer.names" -}}
label: framebuffer.dev/inject
injected: framebuffer.dev/injected
refused: framebuffer.dev/refused
sidecar: framebuffer-sidecar
volume: framebuffer
port: framebuffer
adminPort: fb-admin
{{- end -}}

{{/* Creations of labelled pods, for whatever looks at them. */}}
{{- define "framebuffer.labelledPods" -}}
objectSelector:
  matchExpressions:
    - key: framebuffer.dev/inject
      operator: Exists
resourceRules:
  - apiGroups: [""]
    apiVersions: [v1]
    resources: [pods]
    operations: [CREATE]
    scope: Namespaced
{{- end -}}

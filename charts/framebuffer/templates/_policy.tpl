{{/* The component that injects labelled pods: "policy" or "webhook". */}}
{{- define "framebuffer.injector" -}}
{{- $served := .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" -}}
{{- $injector := .Values.injection.mode -}}
{{- if and (eq $injector "policy") (not $served) -}}
{{- fail "injection.mode: policy needs a cluster that serves MutatingAdmissionPolicy of admissionregistration.k8s.io/v1 (Kubernetes 1.36); set webhook, or auto, which chooses by the cluster" -}}
{{- end -}}
{{- if ne $injector "auto" }}{{ $injector }}{{ else if $served }}policy{{ else }}webhook{{ end -}}
{{- end -}}

{{/* The MutatingAdmissionPolicy. The operator makes its bindings: one for each name of a FrameBuffer. */}}
{{- define "framebuffer.policy" -}}
{{- include "framebuffer.operator" . }}-inject
{{- end -}}

{{/* Names that the templates share with the operator; their source is contract/src/kubernetes.rs. A test compares them. */}}
{{- define "framebuffer.names" -}}
label: framebuffer.dev/inject
injected: framebuffer.dev/injected
restarted: framebuffer.dev/restarted-for
refused: framebuffer.dev/refused
webhook: inject.framebuffer.dev
sidecar: framebuffer-sidecar
volume: framebuffer
port: framebuffer
adminPort: fb-admin
url: FRAMEBUFFER_URL
dir: FRAMEBUFFER_DIR
{{- end -}}

{{/* Matches the creation of labelled pods. */}}
{{- define "framebuffer.labelledPods" -}}
objectSelector:
  matchExpressions:
    - key: {{ (include "framebuffer.names" . | fromYaml).label }}
      operator: Exists
resourceRules:
  - apiGroups: [""]
    apiVersions: [v1]
    resources: [pods]
    operations: [CREATE]
    scope: Namespaced
{{- end -}}

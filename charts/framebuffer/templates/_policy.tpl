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

{{/*
CEL: whether the init container `c` is the sidecar of an injection, of whatever version, as operator/src/inject/check.rs sees it.
Anybody can use its name, and write an annotation.
*/}}
{{- define "framebuffer.isOurs" -}}
c.name == 'framebuffer-sidecar' && c.?args.orValue([]) == ['serve'] && c.?env.orValue([]).exists(v, v.name == 'FRAMEBUFFER_KEY')
{{- end -}}

{{/* CEL: whether the sidecar `c` has what belongs to it: it stays, and has the ring's volume, which is in memory. */}}
{{- define "framebuffer.isComplete" -}}
c.?restartPolicy.orValue('') == 'Always' && c.?volumeMounts.orValue([]).exists(m, m.name == 'framebuffer') &&
object.spec.?volumes.orValue([]).exists(v, v.name == 'framebuffer' && v.?emptyDir.?medium.orValue('') == 'Memory')
{{- end -}}

{{/*
CEL: a path as the container sees it: absolute, without empty parts, `.` and `..`. A part stays unless it is outweighed by the
`..` after it.
*/}}
{{- define "framebuffer.cleanPath" -}}
'/' + [string({{ . }}).split('/').filter(s, !(s in ['', '.']))].map(parts, '..' in parts ?
  parts.transformList(i, s, s != '..' && parts.all(j, t, j <= i || parts.slice(i + 1, j + 1).filter(u, u == '..').size() * 2 <= j - i), s) :
  parts)[0].join('/')
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

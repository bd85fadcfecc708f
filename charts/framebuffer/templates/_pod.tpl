{{/* The operator's command line. */}}
{{- define "framebuffer.args" -}}
- run
- --sidecar-image={{ include "framebuffer.sidecarImage" . }}
- --sidecar-pull-policy={{ .Values.sidecar.image.pullPolicy }}
{{- range .Values.sidecar.imagePullSecrets }}
- --sidecar-pull-secrets={{ .name }}
{{- end }}
{{- if eq .Values.sidecar.user "platform" }}
- --sidecar-platform-user
{{- end }}
- --sidecar-probes={{ .Values.sidecar.probes }}
- --sidecar-architectures={{ join "," .Values.sidecar.architectures }}
- --sidecar-cpu-request={{ .Values.sidecar.cpu.request }}
{{- with .Values.sidecar.cpu.limit }}
- --sidecar-cpu-limit={{ . }}
{{- end }}
- --injection-mode={{ include "framebuffer.injector" . }}
{{- if eq (include "framebuffer.injector" .) "policy" }}
- --policy-name={{ include "framebuffer.policy" . }}
- --max-names={{ .Values.injection.maxNames }}
{{- if eq .Values.injection.bindings "static" }}
- --static-bindings
{{- end }}
{{- else }}
- --service-name={{ include "framebuffer.operator" . }}
- --webhook-name={{ include "framebuffer.operator" . }}
- --secret-name={{ include "framebuffer.secret" . }}
- --listen=[::]:{{ .Values.webhook.port }}
{{- if .Values.certManager.enabled }}
- --cert-manager
- --tls-dir=/tls
{{- end }}
{{- end }}
- --lease-name={{ include "framebuffer.operator" . }}
- --admin=[::]:{{ .Values.adminPort }}
- --log-level={{ .Values.log.level }}
- --log-format={{ .Values.log.format }}
{{- if not .Values.rbac.rollingRestart }}
- --no-rolling-restart
{{- else }}
- --max-restarts={{ .Values.rollingRestart.maxConcurrent }}
{{- end }}
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Placement of the operator's pods: on different nodes, and in different zones if there are any. */}}
{{- define "framebuffer.placement" -}}
{{- with .Values.nodeSelector -}}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{ end -}}
{{- with .Values.tolerations -}}
tolerations:
  {{- toYaml . | nindent 2 }}
{{ end -}}
affinity:
  {{- if .Values.affinity }}
  {{- toYaml .Values.affinity | nindent 2 }}
  {{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "framebuffer.selectorLabels" . | nindent 14 }}
          # During a rollout the old pods do not count.
          matchLabelKeys: [pod-template-hash]
  {{- end }}
topologySpreadConstraints:
  {{- if .Values.topologySpreadConstraints }}
  {{- toYaml .Values.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  - topologyKey: topology.kubernetes.io/zone
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "framebuffer.selectorLabels" . | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end -}}

{{/* Condition of an admission policy that applies to the operator only. */}}
{{- define "framebuffer.byTheOperator" -}}
- name: by-the-operator
  expression: >-
    request.userInfo.username == 'system:serviceaccount:{{ .Release.Namespace }}:{{ include "framebuffer.serviceAccount" . }}'
{{- end -}}

{{/* Base name of the chart's objects. */}}
{{- define "framebuffer.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of the operator's objects. */}}
{{- define "framebuffer.operator" -}}
{{- include "framebuffer.fullname" . }}-operator
{{- end -}}

{{/* Secret with the serving certificate. */}}
{{- define "framebuffer.secret" -}}
{{- include "framebuffer.operator" . }}-tls
{{- end -}}

{{- define "framebuffer.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "framebuffer.operator" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: name the account to use, since serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the operator's pods. They never change, since a Deployment's selector is immutable. */}}
{{- define "framebuffer.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* Labels of every object. Pod templates have only the selector's: a new chart version must not restart the pods. */}}
{{- define "framebuffer.labels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: framebuffer
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Reference of an image: dict "image" (its values), "other" (the values that fill what it leaves empty), "chart". */}}
{{- define "framebuffer.image" -}}
{{- $registry := default .other.registry .image.registry -}}
{{- with $registry }}{{ . }}/{{ end -}}
{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}
{{- else }}:{{ .image.tag | default .other.tag | default .chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "framebuffer.operatorImage" -}}
{{- include "framebuffer.image" (dict "image" .Values.image "other" .Values.image "chart" .Chart) -}}
{{- end -}}

{{- define "framebuffer.sidecarImage" -}}
{{- include "framebuffer.image" (dict "image" .Values.sidecar.image "other" .Values.image "chart" .Chart) -}}
{{- end -}}

{{/*
The images that a sidecar in status.injection may have, as JSON: the chart's, those in sidecar.previousImages, and those of
replicas that run while Helm upgrades the release. The rollout may take long or hang, and until it is over such a replica may lead:
it has to be able to render new FrameBuffers. Nothing is added once it is over and the chart is installed again.
*/}}
{{- define "framebuffer.sidecarImages" -}}
{{- $images := concat (list (include "framebuffer.sidecarImage" .)) .Values.sidecar.previousImages -}}
{{- $selector := include "framebuffer.selectorLabels" . | fromYaml -}}
{{- range (lookup "apps/v1" "ReplicaSet" .Release.Namespace "").items -}}
{{- $labels := .metadata.labels | default dict -}}
{{- $ours := gt (int .status.replicas) 0 -}}
{{- range $key, $value := $selector }}{{ if ne (get $labels $key) $value }}{{ $ours = false }}{{ end }}{{ end -}}
{{- if $ours -}}
{{- range .spec.template.spec.containers -}}
{{- range .args -}}
{{- if hasPrefix "--sidecar-image=" . -}}
{{- $images = append $images (trimPrefix "--sidecar-image=" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $images | uniq | toJson -}}
{{- end -}}

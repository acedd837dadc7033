{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{/* Names are the same in every release: two controllers of one cluster would fight over the stacks,
     and so the second cluster-wide release is refused by Helm. */}}
{{- define "stackspec.selector" -}}
app.kubernetes.io/name: stackspec-controller
{{- end }}

{{- define "stackspec.labels" -}}
{{ include "stackspec.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "stackspec.account" -}}
{{- if .Values.serviceAccount.create }}stackspec-controller{{ else }}{{ .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "stackspec.image" -}}
{{- $tag := .Values.image.tag | default (printf "v%s" .Chart.AppVersion) -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ $tag }}{{ end }}
{{- end }}

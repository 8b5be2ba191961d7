{{- /* Names and labels. Everything that depends on the release's name is defined here. */ -}}

{{- define "duebus.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* 52 characters leave room for the longest suffix, and for what a StatefulSet appends to pod names. */ -}}
{{- define "duebus.fullname" -}}
{{- $name := include "duebus.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "duebus.headless" -}}{{ include "duebus.fullname" . }}-headless{{- end -}}
{{- define "duebus.redis" -}}{{ include "duebus.fullname" . }}-redis{{- end -}}

{{- define "duebus.serviceAccount" -}}
{{- default (ternary (include "duebus.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- /* HOST:PORT of the bus within the cluster. */ -}}
{{- define "duebus.address" -}}
{{ include "duebus.fullname" . }}.{{ .Release.Namespace }}.svc:{{ .Values.service.port }}
{{- end -}}

{{- /* Given a list of the root and a component. Selectors of pods never change within a release. */ -}}
{{- define "duebus.selector" -}}
{{- $root := first . -}}
app.kubernetes.io/name: {{ include "duebus.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end -}}

{{- /* Labels of pods, without the chart's version, so that a new chart alone restarts nothing. */ -}}
{{- define "duebus.podLabels" -}}
{{ include "duebus.selector" . }}
app.kubernetes.io/part-of: duebus
{{- with (first .).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "duebus.labels" -}}
{{- $root := first . -}}
{{ include "duebus.selector" . }}
app.kubernetes.io/part-of: duebus
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Given a list of the root and the object's own annotations; empty if there are none. Indented for metadata. */ -}}
{{- define "duebus.annotations" -}}
{{- with merge (dict) (last .) (first .).Values.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end -}}

{{- /* Given a list of the root, a name suffix and a component. */ -}}
{{- define "duebus.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "duebus.fullname" $root }}{{ index . 1 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "duebus.labels" (list $root (index . 2)) | nindent 2 }}
{{- end -}}

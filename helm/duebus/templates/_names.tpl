{{- /* Names and labels. Everything that depends on the release's name is defined here. */ -}}

{{- define "duebus.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "duebus.namespace" -}}{{ default .Release.Namespace .Values.namespaceOverride }}{{- end -}}

{{- /* A StatefulSet appends a dash and a hash of ten characters to its name, for a label of at most 63: that leaves 52. */ -}}
{{- define "duebus.fullname" -}}
{{- $name := include "duebus.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- /* Given a list of the root, a suffix and the longest name that is allowed: the full name, shortened to that. */ -}}
{{- define "duebus.suffixed" -}}
{{- $suffix := index . 1 -}}
{{- $room := sub (last .) (len $suffix) | int -}}
{{- include "duebus.fullname" (first .) | trunc $room | trimSuffix "-" }}{{ $suffix -}}
{{- end -}}

{{- define "duebus.headless" -}}{{ include "duebus.suffixed" (list . "-headless" 63) }}{{- end -}}
{{- define "duebus.redis" -}}{{ include "duebus.suffixed" (list . "-redis" 52) }}{{- end -}}

{{- define "duebus.serviceAccount" -}}
{{- default (ternary (include "duebus.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- /* HOST:PORT of the bus within the cluster. */ -}}
{{- define "duebus.address" -}}
{{ include "duebus.fullname" . }}.{{ include "duebus.namespace" . }}.svc:{{ .Values.service.port }}
{{- end -}}

{{- /* Given a list of the root and a component. Selectors of pods never change within a release. */ -}}
{{- define "duebus.selector" -}}
{{- $root := first . -}}
app.kubernetes.io/name: {{ include "duebus.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end -}}

{{- /*
Given a list of the root, a component and more labels. Labels of pods lack the chart's version, so that a new chart alone
restarts nothing. Labels of the values replace the chart's, except those that it selects by.
*/ -}}
{{- define "duebus.podLabels" -}}
{{- $root := first . -}}
{{- $selector := include "duebus.selector" (list $root (index . 1)) | fromYaml -}}
{{- $own := dict "app.kubernetes.io/part-of" "duebus" -}}
{{- toYaml (merge $selector (last .) $root.Values.commonLabels $own) -}}
{{- end -}}

{{- /* Given a list of the root, a component and more labels. */ -}}
{{- define "duebus.labels" -}}
{{- $root := first . -}}
{{- $fixed := include "duebus.selector" (list $root (index . 1)) | fromYaml -}}
{{- $fixed = set $fixed "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $own := dict
  "app.kubernetes.io/part-of" "duebus"
  "app.kubernetes.io/version" $root.Chart.AppVersion
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_")
-}}
{{- toYaml (merge $fixed (last .) $root.Values.commonLabels $own) -}}
{{- end -}}

{{- /* Given a list of the root and the object's own annotations; empty if there are none. Indented for metadata. */ -}}
{{- define "duebus.annotations" -}}
{{- with merge (dict) (last .) (first .).Values.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end -}}

{{- /* Given a list of the root, a name, a component and more labels. */ -}}
{{- define "duebus.metadata" -}}
{{- $root := first . -}}
name: {{ index . 1 }}
namespace: {{ include "duebus.namespace" $root }}
labels:
  {{- include "duebus.labels" (list $root (index . 2) (last .)) | nindent 2 }}
{{- end -}}

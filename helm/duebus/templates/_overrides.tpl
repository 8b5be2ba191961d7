{{- /* Merges `overrides` into the objects of the chart. */ -}}

{{- /* The templates with objects; each defines duebus.objects.NAME. */ -}}
{{- define "duebus.templates" -}}
- configmap
- dashboard
- deployment
- grpcroute
- horizontalpodautoscaler
- ingress
- monitors
- networkpolicy
- poddisruptionbudget
- prometheusrule
- redis
- scaledobjects
- service
- serviceaccount
- statefulset
- dispatch
{{- end -}}

{{- /* Given a list of the root and the name of a template: its objects, each with its override. */ -}}
{{- define "duebus.objects" -}}
{{- $root := first . -}}
{{- range include (printf "duebus.objects.%s" (last .)) $root | splitList "\n---\n" }}
{{- $object := fromYaml (printf "%s\n" .) }}
{{- if $object }}
---
{{- $override := get $root.Values.overrides (include "duebus.overrideKey" (list $root $object)) }}
{{- if $override }}
{{ mergeOverwrite $object (tpl (toYaml $override) $root | fromYaml) | toYaml }}
{{- else }}
{{ trim . }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* KIND, and /SUFFIX where the name of the object has one after the full name. */ -}}
{{- define "duebus.overrideKey" -}}
{{- $root := first . -}}
{{- $kind := (last .).kind -}}
{{- $name := (last .).metadata.name -}}
{{- if eq $kind "PersistentVolumeClaim" }}{{ $name = $name | trimPrefix "data-" | trimSuffix "-0" }}{{ end -}}
{{- if eq $name (include "duebus.redis" $root) -}}
{{ $kind }}/redis
{{- else if or (eq $kind "ServiceAccount") (eq $name (include "duebus.fullname" $root)) -}}
{{ $kind }}
{{- else -}}
{{ $kind }}/{{ $name | trimPrefix (include "duebus.fullname" $root) | trimPrefix "-" }}
{{- end -}}
{{- end -}}

{{- define "duebus.checkOverrides" -}}
{{- if .Values.overrides -}}
{{- $known := list -}}
{{- range include "duebus.templates" . | fromYamlArray -}}
{{- range include (printf "duebus.objects.%s" .) $ | splitList "\n---\n" -}}
{{- with fromYaml . }}{{ $known = append $known (include "duebus.overrideKey" (list $ .)) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- range $key, $_ := .Values.overrides -}}
{{- if not (has $key $known) }}
overrides: there is no object {{ $key }}; the objects are {{ join ", " $known }}
{{- end }}
{{- end -}}
{{- end -}}
{{- end -}}

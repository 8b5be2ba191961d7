{{- /* Values derived from other values and used by several templates. */ -}}

{{- define "duebus.local" -}}{{- if has "local" .Values.engines }}yes{{ end -}}{{- end -}}
{{- define "duebus.durableLocal" -}}{{- if and (include "duebus.local" .) .Values.persistence.enabled }}yes{{ end -}}{{- end -}}
{{- define "duebus.onRedis" -}}{{- if has "redis" .Values.engines }}yes{{ end -}}{{- end -}}

{{- define "duebus.replicas" -}}
{{- $default := ternary 1 2 (eq (include "duebus.local" .) "yes") -}}
{{- ternary $default .Values.replicaCount (kindIs "invalid" .Values.replicaCount) | int -}}
{{- end -}}

{{- /* Given a list of the root and an image of the values. The digest selects the image; the tag is informational. */ -}}
{{- define "duebus.image" -}}
{{- $root := first . -}}
{{- $image := last . -}}
{{- $registry := default $image.registry $root.Values.global.imageRegistry -}}
{{- $tag := default $root.Chart.AppVersion $image.tag -}}
{{- with $registry }}{{ . }}/{{ end }}{{ $image.repository }}:{{ $tag }}{{ with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{- /* Indented for the spec of a pod. */ -}}
{{- define "duebus.pullSecrets" -}}
{{- with concat .Values.imagePullSecrets (default list .Values.global.imagePullSecrets) }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end -}}

{{- /* A duration such as 500ms, 1.5m or 30s in whole seconds, rounded up. */ -}}
{{- define "duebus.seconds" -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- $number := trimSuffix $unit . | trim | float64 -}}
{{- $size := get (dict "us" 0.000001 "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0) $unit -}}
{{- mulf $number $size | ceil | int64 -}}
{{- end -}}

{{- /* preStop, the drain, and ten seconds: five for the last answers and five as a margin. */ -}}
{{- define "duebus.neededGrace" -}}
{{- $drain := include "duebus.seconds" .Values.settings.drainTimeout | int -}}
{{- add .Values.preStopSleepSeconds $drain 10 -}}
{{- end -}}

{{- define "duebus.grace" -}}
{{- ternary (include "duebus.neededGrace" .) .Values.terminationGracePeriodSeconds (kindIs "invalid" .Values.terminationGracePeriodSeconds) | int -}}
{{- end -}}

{{- /* The port of the health service: probes can't speak TLS. */ -}}
{{- define "duebus.healthPort" -}}{{- ternary 50052 50051 .Values.tls.enabled -}}{{- end -}}

{{- define "duebus.appProtocol" -}}
{{- default (ternary "https" "kubernetes.io/h2c" .Values.tls.enabled) .Values.service.appProtocol -}}
{{- end -}}

{{- define "duebus.redisUrl" -}}
{{- if .Values.redis.bundled.enabled -}}
redis://{{ include "duebus.redis" . }}.{{ .Release.Namespace }}.svc:6379/0
{{- else -}}
{{- $url := tpl .Values.redis.url . -}}
{{- $url -}}
{{- if .Values.redis.tls.existingSecret -}}
{{- ternary "&" "?" (contains "?" $url) -}}
ssl_ca_certs=/etc/duebus/redis-tls/ca.crt
{{- if .Values.redis.tls.clientCertificate -}}
&ssl_certfile=/etc/duebus/redis-tls/tls.crt&ssl_keyfile=/etc/duebus/redis-tls/tls.key
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "duebus.acl" -}}
{{- if or .Values.auth.acl.rules .Values.auth.acl.existingConfigMap }}yes{{ end -}}
{{- end -}}
{{- define "duebus.jwt" -}}
{{- if or .Values.auth.jwt.jwksUrl .Values.auth.jwt.existingConfigMap }}yes{{ end -}}
{{- end -}}
{{- define "duebus.identified" -}}
{{- if or .Values.auth.tokens.existingSecret .Values.tls.clientCA.existingSecret (include "duebus.jwt" .) }}yes{{ end -}}
{{- end -}}

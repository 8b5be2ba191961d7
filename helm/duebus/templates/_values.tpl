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

{{- /* A quantity of Kubernetes, or a size of the server, in bytes. */ -}}
{{- define "duebus.bytes" -}}
{{- $unit := regexFind "[A-Za-z]*$" . | trimSuffix "B" -}}
{{- $number := regexFind "^[0-9.]+" . | float64 -}}
{{- $sizes := dict "" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 -}}
{{- mulf $number (get $sizes $unit) | floor | int64 -}}
{{- end -}}

{{- /* A quantity of CPU in thousandths of a core. */ -}}
{{- define "duebus.millicores" -}}
{{- $number := toString . | trimSuffix "m" | float64 -}}
{{- ternary $number (mulf $number 1000) (toString . | hasSuffix "m") | ceil | int64 -}}
{{- end -}}

{{- /* How many bytes of bodies fit on the volume of the local engine: see docs/journal.md. */ -}}
{{- define "duebus.fittingBytes" -}}
{{- $volume := include "duebus.bytes" (toString .Values.persistence.size) | int64 -}}
{{- max 0 (div (sub $volume 104857600) 3) -}}
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
redis://{{ include "duebus.redis" . }}.{{ include "duebus.namespace" . }}.svc:6379/0
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

{{- /* The port of a URL, or else its default. Given a list of the URL and the default. */ -}}
{{- define "duebus.urlPort" -}}
{{- $hosts := regexFind "//[^/?#]*" (first .) | splitList "@" | last -}}
{{- regexFind ":[0-9]+$" $hosts | trimPrefix ":" | default (last .) -}}
{{- end -}}

{{- /* The ports of Redis: those of the URL; 6379 where it does not say, and behind sentinels; and those of the values. */ -}}
{{- define "duebus.redisPorts" -}}
{{- $ports := .Values.networkPolicy.egress.redisPorts -}}
{{- $url := ternary "" (include "duebus.redisUrl" .) (not (not .Values.redis.existingSecret.urlKey)) -}}
{{- if or (not $url) (hasPrefix "redis+sentinel:" $url) }}{{ $ports = append $ports 6379 }}{{ end -}}
{{- if and $url (not (hasPrefix "unix:" $url)) -}}
{{- range regexFind "//[^/?#]*" $url | splitList "@" | last | splitList "," -}}
{{- $ports = append $ports (include "duebus.urlPort" (list (printf "//%s" (trimPrefix "//" .)) "6379") | int) -}}
{{- end -}}
{{- end -}}
{{- range $ports | uniq }}
- {port: {{ . }}, protocol: TCP}
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

{{- /* Combinations that can't work; each is refused with one line. values.schema.json checks single values. */ -}}

{{- define "duebus.checks" -}}
{{- $checks := list
  (include "duebus.checkEngines" .) (include "duebus.checkRedis" .) (include "duebus.checkSecurity" .)
  (include "duebus.checkScaling" .) (include "duebus.checkMonitoring" .) (include "duebus.checkRoutes" .)
  (include "duebus.checkOverrides" .)
-}}
{{- range $checks }}{{ with trim . }}{{ fail (printf "\nduebus: %s" (splitList "\n" . | first)) }}{{ end }}{{ end -}}
{{- end -}}

{{- define "duebus.checkEngines" -}}
{{- if include "duebus.local" . -}}
{{- if gt (include "duebus.replicas" . | int) 1 }}
replicaCount: the local engine runs in a single pod; for more replicas, use engines: [redis]
{{- end }}
{{- if .Values.autoscaling.enabled }}
autoscaling.enabled: the local engine runs in a single pod and can't be scaled; use engines: [redis]
{{- end }}
{{- if gt (int .Values.processes) 1 }}
processes: the local engine runs in a single process; for more, use engines: [redis]
{{- end }}
{{- end -}}
{{- if include "duebus.durableLocal" . -}}
{{- $fits := include "duebus.fittingBytes" . | int64 -}}
{{- $wanted := default (printf "%dB" $fits) .Values.settings.maxQueuedBytes -}}
{{- $bytes := include "duebus.bytes" $wanted | int64 -}}
{{- if or (le $bytes 0) (gt $bytes $fits) }}
persistence.size: {{ .Values.persistence.size }} has room for {{ $fits }} bytes of events, and settings.maxQueuedBytes is {{ ternary "unlimited" $wanted (le $bytes 0) }}; a volume needs 100Mi and three times maxQueuedBytes
{{- end }}
{{- end -}}
{{- end -}}

{{- define "duebus.checkRedis" -}}
{{- $redis := .Values.redis -}}
{{- $fromSecret := and $redis.existingSecret.name $redis.existingSecret.urlKey -}}
{{- if include "duebus.onRedis" . -}}
{{- if not (or $redis.url $fromSecret $redis.bundled.enabled) }}
redis.url: is required, here or in redis.existingSecret with a urlKey; redis.bundled.enabled runs a Redis for trials
{{- end }}
{{- if and $redis.bundled.enabled (or $redis.url $fromSecret) }}
redis.bundled.enabled: a URL of another Redis is also set; use only one of the two
{{- end }}
{{- if regexMatch "://[^/@]*:[^/@]+@|[?&](?i:[^=&]*password|[^=&]*%[^=&]*)=" (tpl $redis.url .) }}
redis.url: has a password, which would be readable in the ConfigMap; put the URL into a Secret, as redis.existingSecret with a urlKey
{{- end }}
{{- if and $redis.url $fromSecret }}
redis.url: is also set in redis.existingSecret; use only one of the two
{{- end }}
{{- if and $redis.bundled.enabled $redis.tls.existingSecret }}
redis.tls.existingSecret: the bundled Redis has no TLS
{{- end }}
{{- if and $redis.tls.existingSecret $redis.url (not (regexMatch "^redis(s|\\+sentinel|\\+cluster)://" (tpl $redis.url .))) }}
redis.tls.existingSecret: redis.url does not use TLS; use rediss://HOST:6379/0, for example
{{- end }}
{{- else if $redis.bundled.enabled }}
redis.bundled.enabled: engines does not include redis
{{- end }}
{{- if and $redis.existingSecret.urlKey (not $redis.existingSecret.name) }}
redis.existingSecret.name: is required with urlKey
{{- end }}
{{- if and $redis.tls.clientCertificate (not $redis.tls.existingSecret) }}
redis.tls.existingSecret: is required with clientCertificate
{{- end }}
{{- end -}}

{{- define "duebus.checkSecurity" -}}
{{- if and .Values.tls.enabled (not .Values.tls.existingSecret) }}
tls.existingSecret: is required for TLS: a Secret with tls.crt and tls.key
{{- end }}
{{- if and (not .Values.tls.enabled) (or .Values.tls.existingSecret .Values.tls.clientCA.existingSecret) }}
tls.enabled: certificates are set, but TLS is off
{{- end }}
{{- with .Values.auth -}}
{{- if and .jwt.jwksUrl .jwt.existingConfigMap }}
auth.jwt.jwksUrl: a ConfigMap with keys is also set; use only one of the two
{{- end }}
{{- if and (or .jwt.jwksUrl .jwt.existingConfigMap) (not .jwt.audience) }}
auth.jwt.audience: is required with keys; otherwise tokens for other services would pass
{{- end }}
{{- if and (or .jwt.issuer .jwt.audience) (not (or .jwt.jwksUrl .jwt.existingConfigMap)) }}
auth.jwt.jwksUrl: is required with issuer or audience: without keys, no JWT can be checked
{{- end }}
{{- if and .acl.rules .acl.existingConfigMap }}
auth.acl.rules: a ConfigMap with rules is also set; use only one of the two
{{- end }}
{{- end -}}
{{- if and (include "duebus.acl" .) (not (include "duebus.identified" .)) }}
auth.acl: requires tokens, JWTs or client certificates; otherwise no caller has an identity, and everything is denied
{{- end }}
{{- end -}}

{{- define "duebus.checkScaling" -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
autoscaling.minReplicas: is more than maxReplicas
{{- end }}
{{- with .Values.autoscaling -}}
{{- if and .enabled (not (or .targetCPU .targetStreams .targetCalls .targetCPUUtilizationPercentage .targetMemoryUtilizationPercentage .metrics)) }}
autoscaling: has no target; set targetCPU, targetStreams, targetCalls, targetMemoryUtilizationPercentage or metrics
{{- end }}
{{- $core := include "duebus.millicores" (default "0" .targetCPU) | int }}
{{- if and .enabled (ge $core 1000) }}
autoscaling.targetCPU: a process uses one core at most, so {{ .targetCPU }} would not be exceeded
{{- end }}
{{- with .targetCPUUtilizationPercentage }}
{{- $requested := dig "requests" "cpu" "" $.Values.resources }}
{{- $target := mul . (include "duebus.millicores" (default "0" $requested)) }}
{{- if and $.Values.autoscaling.enabled (not $requested) }}
autoscaling.targetCPUUtilizationPercentage: is a share of resources.requests.cpu, which is not set
{{- end }}
{{- if and $.Values.autoscaling.enabled (ge $target (mul $.Values.processes 100000)) }}
autoscaling.targetCPUUtilizationPercentage: processes use one core each at most, so {{ . }} % of resources.requests.cpu ({{ $requested }}) would not be exceeded; raise processes or lower the request
{{- end }}
{{- end }}
{{- end -}}
{{- with .Values.podDisruptionBudget -}}
{{- if and .enabled (eq (kindIs "invalid" .minAvailable) (kindIs "invalid" .maxUnavailable)) }}
podDisruptionBudget: set minAvailable or maxUnavailable, and the other one to null
{{- end }}
{{- end -}}
{{- if lt (include "duebus.grace" . | int) (include "duebus.neededGrace" . | int) }}
terminationGracePeriodSeconds: the drain needs {{ include "duebus.neededGrace" . }} s; lower settings.drainTimeout or preStopSleepSeconds
{{- end }}
{{- $tls := .Values.keda.tls -}}
{{- if and .Values.keda.scaledObjects .Values.tls.clientCA.existingSecret (not (and $tls.existingSecret $tls.clientCertificate)) }}
keda.tls: the server requires client certificates, so KEDA needs one: set existingSecret and clientCertificate
{{- end }}
{{- $byHeader := or .Values.auth.tokens.existingSecret (include "duebus.jwt" .) -}}
{{- if and .Values.keda.scaledObjects $byHeader (not .Values.tls.clientCA.existingSecret) }}
keda.scaledObjects: KEDA can't send tokens, only certificates, so the server must accept them: set tls.clientCA
{{- end }}
{{- if and $tls.clientCertificate (not $tls.existingSecret) }}
keda.tls.existingSecret: is required with clientCertificate
{{- end }}
{{- end -}}

{{- define "duebus.checkMonitoring" -}}
{{- $wanted := dict "serviceMonitor" .Values.metrics.serviceMonitor.enabled "podMonitor" .Values.metrics.podMonitor.enabled "prometheusRule" .Values.metrics.prometheusRule.enabled -}}
{{- range $name, $enabled := $wanted -}}
{{- if and $enabled (not $.Values.http.enabled) }}
metrics.{{ $name }}.enabled: requires the HTTP port: set http.enabled
{{- end }}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled }}
metrics.podMonitor.enabled: the ServiceMonitor scrapes the same pods; use only one of the two
{{- end }}
{{- $known := list -}}
{{- range (.Files.Get "files/alerts.yaml" | fromYaml).groups }}{{ range .rules }}{{ $known = append $known .alert }}{{ end }}{{ end -}}
{{- range .Values.metrics.prometheusRule.disabledAlerts -}}
{{- if not (has . $known) }}
metrics.prometheusRule.disabledAlerts: there is no alert {{ . }}; the alerts are {{ join ", " $known }}
{{- end }}
{{- end -}}
{{- end -}}

{{- define "duebus.checkRoutes" -}}
{{- if and .Values.grpcRoute.enabled (not .Values.grpcRoute.parentRefs) }}
grpcRoute.parentRefs: a Gateway is required
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
ingress.hosts: at least one host is required
{{- end }}
{{- if and (eq .Values.service.type "ClusterIP") (or .Values.service.nodePort .Values.service.loadBalancerClass .Values.service.loadBalancerSourceRanges .Values.service.externalTrafficPolicy) }}
service.type: nodePort, externalTrafficPolicy and loadBalancer* need NodePort or LoadBalancer
{{- end }}
{{- if and (has (int .Values.http.port) (list 50051 50052)) .Values.http.enabled }}
http.port: {{ .Values.http.port }} is taken by the gRPC or the health port
{{- end }}
{{- with .Values.web }}
{{- $taken := list 50051 50052 | concat (ternary (list (int $.Values.http.port)) list $.Values.http.enabled) }}
{{- if and .enabled (or (has (int .port) $taken) (eq (int .port) (int $.Values.service.port))) }}
web.port: {{ .port }} is taken by another port
{{- end }}
{{- if and .ingress.enabled (not .enabled) }}
web.ingress.enabled: requires web.enabled
{{- end }}
{{- if and .ingress.enabled (not .ingress.hosts) }}
web.ingress.hosts: at least one host is required
{{- end }}
{{- end }}
{{- end -}}

{{- /* The server's TOML file. It has the paths of mounted secrets, never the secrets themselves. */ -}}
{{- define "duebus.config" -}}
# Made by the chart from the values; DUEBUS_* of the environment goes before it.
engine = {{ .Values.engines | toRawJson }}
processes = {{ int .Values.processes }}
{{- range $name, $value := .Values.settings }}
{{- if not (kindIs "invalid" $value) }}
{{ snakecase $name }} = {{ kindIs "string" $value | ternary (toRawJson $value) ($value | int64) }}
{{- end }}
{{- end }}
{{- if include "duebus.durableLocal" . }}
data_dir = "/var/lib/duebus/journal"
{{- if kindIs "invalid" .Values.settings.maxQueuedBytes }}
max_queued_bytes = "{{ include "duebus.fittingBytes" . }}B"
{{- end }}
{{- end }}
{{- include "duebus.configRedis" . }}
{{- include "duebus.configSecurity" . }}
{{- include "duebus.configPorts" . }}
{{- end -}}

{{- define "duebus.configRedis" -}}
{{- if include "duebus.onRedis" . }}
{{- with .Values.redis }}
{{- if not .existingSecret.urlKey }}
redis_url = {{ include "duebus.redisUrl" $ | toRawJson }}
{{- end }}
{{- with .username }}
redis_username = {{ toRawJson . }}
{{- end }}
{{- if and .existingSecret.name .existingSecret.passwordKey }}
redis_password_file = "/etc/duebus/redis/password"
{{- end }}
min_replicas_ack = {{ int64 .minReplicasAck }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "duebus.configSecurity" -}}
{{- if .Values.tls.enabled }}
tls_cert = "/etc/duebus/tls/tls.crt"
tls_key = "/etc/duebus/tls/tls.key"
health_listen = {{ printf "%s:50052" .Values.listenHost | toRawJson }}
{{- if .Values.tls.clientCA.existingSecret }}
tls_client_ca = "/etc/duebus/client-ca/ca.crt"
{{- end }}
{{- end }}
{{- with .Values.auth }}
{{- if .tokens.existingSecret }}
tokens_file = "/etc/duebus/tokens/tokens"
{{- end }}
{{- if or .jwt.jwksUrl .jwt.existingConfigMap }}
jwks = {{ default "/etc/duebus/jwks/jwks.json" .jwt.jwksUrl | toRawJson }}
{{- end }}
{{- with .jwt.issuer }}
jwt_issuer = {{ toRawJson . }}
{{- end }}
{{- with .jwt.audience }}
jwt_audience = {{ toRawJson . }}
{{- end }}
{{- if .acl.rules }}
acl_file = "/etc/duebus/config/acl.toml"
{{- else if .acl.existingConfigMap }}
acl_file = "/etc/duebus/acl/acl.toml"
{{- end }}
{{- end }}
{{- end -}}

{{- define "duebus.configPorts" -}}
{{- if .Values.web.enabled }}
web_listen = {{ printf "%s:%d" .Values.listenHost (int .Values.web.port) | toRawJson }}
{{- end }}
{{- with .Values.metrics.topics }}
metrics_topics = {{ int64 . }}
{{- end }}
{{- with .Values.limits.maxStreamsPerConnection }}
max_streams_per_connection = {{ int64 . }}
{{- end }}
{{- with .Values.limits.maxMessageSize }}
max_message_size = {{ toRawJson . }}
{{- end }}
{{- end -}}

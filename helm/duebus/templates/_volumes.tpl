{{- /*
The mounts: a list of {name, path, secret or configMap, items}. Whole folders, no subPath, so that files are renewed in
the running pod and the server reads new certificates and tokens.
*/ -}}
{{- define "duebus.sources" -}}
{{- $sources := list (dict "name" "config" "configMap" (include "duebus.fullname" .)) -}}
{{- with .Values.tls.existingSecret -}}
{{- $sources = append $sources (dict "name" "tls" "secret" . "items" (dict "tls.crt" "tls.crt" "tls.key" "tls.key")) -}}
{{- end -}}
{{- with .Values.tls.clientCA -}}
{{- if .existingSecret }}{{ $sources = append $sources (dict "name" "client-ca" "secret" .existingSecret "items" (dict .key "ca.crt")) }}{{ end -}}
{{- end -}}
{{- with .Values.auth.tokens -}}
{{- if .existingSecret }}{{ $sources = append $sources (dict "name" "tokens" "secret" .existingSecret "items" (dict .key "tokens")) }}{{ end -}}
{{- end -}}
{{- with .Values.auth.jwt -}}
{{- if .existingConfigMap }}{{ $sources = append $sources (dict "name" "jwks" "configMap" .existingConfigMap "items" (dict .key "jwks.json")) }}{{ end -}}
{{- end -}}
{{- with .Values.auth.acl -}}
{{- if .existingConfigMap }}{{ $sources = append $sources (dict "name" "acl" "configMap" .existingConfigMap "items" (dict .key "acl.toml")) }}{{ end -}}
{{- end -}}
{{- if include "duebus.onRedis" . -}}
{{- with .Values.redis.existingSecret -}}
{{- if and .name .passwordKey }}{{ $sources = append $sources (dict "name" "redis" "secret" .name "items" (dict .passwordKey "password")) }}{{ end -}}
{{- end -}}
{{- with .Values.redis.tls -}}
{{- $items := ternary (dict "ca.crt" "ca.crt" "tls.crt" "tls.crt" "tls.key" "tls.key") (dict "ca.crt" "ca.crt") .clientCertificate -}}
{{- if .existingSecret }}{{ $sources = append $sources (dict "name" "redis-tls" "secret" .existingSecret "items" $items) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- toYaml $sources -}}
{{- end -}}

{{- /* Readable by owner and group only: the server refuses tokens that everyone may read. */ -}}
{{- define "duebus.volumes" -}}
{{- range include "duebus.sources" . | fromYamlArray }}
- name: {{ .name }}
  {{- if .secret }}
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
  {{- else }}
  configMap:
    name: {{ .configMap }}
  {{- end }}
    {{- with .items }}
    items:
      {{- range $key, $path := . }}
      - {key: {{ $key | quote }}, path: {{ $path }}}
      {{- end }}
    {{- end }}
{{- end }}
{{- if include "duebus.durableLocal" . }}
- name: data
  persistentVolumeClaim: {claimName: {{ include "duebus.claimName" (include "duebus.fullname" .) }}}
{{- end }}
{{- with .Values.extraVolumes }}
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end -}}

{{- define "duebus.mounts" -}}
{{- range include "duebus.sources" . | fromYamlArray }}
- {name: {{ .name }}, mountPath: /etc/duebus/{{ .name }}, readOnly: true}
{{- end }}
{{- if include "duebus.durableLocal" . }}
- {name: data, mountPath: /var/lib/duebus}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end -}}

{{- define "duebus.claimName" -}}data-{{ . }}-0{{- end -}}

{{- /*
Given a list of the root, the name of a StatefulSet, its component and the values of its volume. A claim of its own, because
Kubernetes refuses changes of a claim in a StatefulSet: a larger size is an upgrade. It outlives the release.
*/ -}}
{{- define "duebus.claim" -}}
{{- $root := first . -}}
{{- $persistence := last . -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- include "duebus.metadata" (list $root (include "duebus.claimName" (index . 1)) (index . 2) dict) | nindent 2 }}
  {{- include "duebus.annotations" (list $root (dict "helm.sh/resource-policy" "keep")) }}
spec:
  accessModes: [ReadWriteOnce]
  {{- with $persistence.storageClassName }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests: {storage: {{ $persistence.size }}}
{{- end -}}

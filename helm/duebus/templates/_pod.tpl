{{- /* The pod of a server, the same in a Deployment and a StatefulSet. */ -}}
{{- define "duebus.pod" -}}
metadata:
  labels:
    {{- $version := dict "app.kubernetes.io/version" .Chart.AppVersion }}
    {{- include "duebus.podLabels" (list . "server" (merge (dict) .Values.podLabels .Values.commonLabels $version)) | nindent 4 }}
  annotations:
    {{- $fixed := dict "checksum/config" (include "duebus.configMapData" . | sha256sum) }}
    {{- $own := dict "kubectl.kubernetes.io/default-container" "duebus" }}
    {{- toYaml (merge $fixed .Values.podAnnotations .Values.commonAnnotations $own) | nindent 4 }}
spec:
  serviceAccountName: {{ include "duebus.serviceAccount" . }}
  automountServiceAccountToken: false
  # Kubernetes would set DUEBUS_PORT and others for the Service, which look like settings of the server.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "duebus.grace" . }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- include "duebus.pullSecrets" . }}
  {{- with .Values.extraInitContainers }}
  initContainers:
    {{- tpl (toYaml .) $ | nindent 4 }}
  {{- end }}
  containers:
    - {{ include "duebus.container" . | nindent 6 | trim }}
    {{- with .Values.extraContainers }}
    {{- tpl (toYaml .) $ | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "duebus.volumes" . | trim | nindent 4 }}
  {{- include "duebus.scheduling" . }}
{{- end -}}

{{- define "duebus.container" -}}
name: duebus
image: {{ include "duebus.image" (list . .Values.image) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - serve
  - --config=/etc/duebus/config/duebus.toml
  # Flags, because the image sets these two in the environment, which overrides the file.
  - --listen={{ .Values.listenHost }}:50051
  {{- if .Values.http.enabled }}
  - --http-listen={{ .Values.listenHost }}:{{ .Values.http.port }}
  {{- end }}
  {{- with .Values.extraArgs }}
  {{- tpl (toYaml .) $ | nindent 2 }}
  {{- end }}
{{- include "duebus.env" . }}
ports:
  - {name: grpc, containerPort: 50051, protocol: TCP}
  {{- if .Values.tls.enabled }}
  - {name: health, containerPort: 50052, protocol: TCP}
  {{- end }}
  {{- if .Values.http.enabled }}
  - {name: http, containerPort: {{ .Values.http.port }}, protocol: TCP}
  {{- end }}
  {{- if .Values.web.enabled }}
  - {name: web, containerPort: {{ .Values.web.port }}, protocol: TCP}
  {{- end }}
{{- include "duebus.probes" . }}
{{- with include "duebus.lifecycle" . }}
lifecycle:
  {{- nindent 2 . }}
{{- end }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  {{- include "duebus.mounts" . | trim | nindent 2 }}
{{- end -}}

{{- /* With a preStop of the values, the chart adds none. */ -}}
{{- define "duebus.lifecycle" -}}
{{- $seconds := .Values.preStopSleepSeconds -}}
{{- $sleep := dict "exec" (dict "command" (list "sleep" (toString $seconds))) -}}
{{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version -}}
{{- $sleep = dict "sleep" (dict "seconds" $seconds) -}}
{{- end -}}
{{- with merge (dict) .Values.lifecycle (ternary (dict "preStop" $sleep) dict (and (gt (int $seconds) 0) (not .Values.lifecycle.preStop))) -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{- define "duebus.probes" -}}
{{- $health := dict "grpc" (dict "port" (include "duebus.healthPort" . | int)) -}}
{{- /* Not the health service, which is NOT_SERVING while Redis is unavailable: restarting the server would not help. */ -}}
{{- $tcp := dict "tcpSocket" (dict "port" (include "duebus.healthPort" . | int)) -}}
{{- $alive := ternary (dict "httpGet" (dict "path" "/healthz" "port" (int .Values.http.port))) $tcp .Values.http.enabled }}
startupProbe:
  {{- merge (dict) $alive .Values.startupProbe | toYaml | nindent 2 }}
readinessProbe:
  {{- merge (dict) $health .Values.readinessProbe | toYaml | nindent 2 }}
livenessProbe:
  {{- merge (dict) $alive .Values.livenessProbe | toYaml | nindent 2 }}
{{- end -}}

{{- define "duebus.env" -}}
{{- $env := list -}}
{{- with .Values.redis.existingSecret -}}
{{- if and .urlKey (include "duebus.onRedis" $) -}}
{{- $ref := dict "secretKeyRef" (dict "name" .name "key" .urlKey) -}}
{{- $env = append $env (dict "name" "DUEBUS_REDIS_URL" "valueFrom" $ref) -}}
{{- end -}}
{{- end -}}
{{- if not .Values.http.enabled -}}
{{- $env = append $env (dict "name" "DUEBUS_HTTP_LISTEN" "value" "") -}}
{{- end -}}
{{- with .Values.tracing.otlpEndpoint -}}
{{- $pod := dict "fieldRef" (dict "fieldPath" "metadata.name") -}}
{{- $env = concat $env (list
  (dict "name" "POD_NAME" "valueFrom" $pod)
  (dict "name" "OTEL_EXPORTER_OTLP_ENDPOINT" "value" .)
  (dict "name" "OTEL_SERVICE_NAME" "value" "duebus")
  (dict "name" "OTEL_RESOURCE_ATTRIBUTES" "value" (printf "k8s.namespace.name=%s,k8s.pod.name=$(POD_NAME)" (include "duebus.namespace" $)))
  (dict "name" "OTEL_TRACES_SAMPLER" "value" "parentbased_traceidratio")
  (dict "name" "OTEL_TRACES_SAMPLER_ARG" "value" (toString $.Values.tracing.sampleRatio))
) -}}
{{- end -}}
{{- with .Values.extraEnv }}{{ $env = concat $env (tpl (toYaml .) $ | fromYamlArray) }}{{ end -}}
{{- with $env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- tpl (toYaml .) $ | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Scheduling; indented for the spec of a pod. */ -}}
{{- define "duebus.scheduling" -}}
{{- $spread := .Values.topologySpreadConstraints -}}
{{- if and (not $spread) .Values.topologySpread.enabled (not (include "duebus.local" .)) -}}
{{- $spread = include "duebus.spread" . | fromYamlArray -}}
{{- end -}}
{{- $fields := dict "topologySpreadConstraints" $spread -}}
{{- range list "affinity" "nodeSelector" "tolerations" "priorityClassName" "runtimeClassName" "schedulerName" "dnsPolicy" "dnsConfig" "hostAliases" -}}
{{- $fields = set $fields . (get $.Values .) -}}
{{- end -}}
{{- range $name, $value := $fields }}
{{- if $value }}
  {{- dict $name $value | toYaml | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* matchLabelKeys: the pods of each rollout are spread separately. */ -}}
{{- define "duebus.spread" -}}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- topologyKey: {{ . }}
  maxSkew: 1
  whenUnsatisfiable: {{ $.Values.topologySpread.whenUnsatisfiable }}
  labelSelector:
    matchLabels:
      {{- include "duebus.selector" (list $ "server") | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end -}}

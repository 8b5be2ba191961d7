{{- /* The pod of a server, the same in a Deployment and a StatefulSet. */ -}}
{{- define "duebus.pod" -}}
metadata:
  labels:
    {{- include "duebus.podLabels" (list . "server") | nindent 4 }}
    app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "duebus.configMapData" . | sha256sum }}
    kubectl.kubernetes.io/default-container: duebus
    {{- with merge (dict) .Values.podAnnotations .Values.commonAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
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
  # A flag, because the image sets DUEBUS_LISTEN, which overrides the file.
  - --listen={{ .Values.listenHost }}:50051
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
{{- if .Values.preStopSleepSeconds }}
lifecycle:
  preStop:
    {{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}
    sleep: {seconds: {{ .Values.preStopSleepSeconds }}}
    {{- else }}
    exec: {command: [sleep, {{ .Values.preStopSleepSeconds | quote }}]}
    {{- end }}
{{- end }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  {{- include "duebus.mounts" . | trim | nindent 2 }}
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
{{- with .Values.tracing.otlpEndpoint -}}
{{- $pod := dict "fieldRef" (dict "fieldPath" "metadata.name") -}}
{{- $env = concat $env (list
  (dict "name" "POD_NAME" "valueFrom" $pod)
  (dict "name" "OTEL_EXPORTER_OTLP_ENDPOINT" "value" .)
  (dict "name" "OTEL_SERVICE_NAME" "value" "duebus")
  (dict "name" "OTEL_RESOURCE_ATTRIBUTES" "value" (printf "k8s.namespace.name=%s,k8s.pod.name=$(POD_NAME)" $.Release.Namespace))
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
{{- range list "affinity" "nodeSelector" "tolerations" "priorityClassName" "runtimeClassName" -}}
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

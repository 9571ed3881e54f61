{{- /* What auth, controller and proxy have in common. Each takes dict "root" . "component" "auth". */ -}}

{{- define "headrace.commonSettings" -}}
{{- $root := .root -}}
deployment: {{ include "headrace.deployment" $root }}
health_listen: "[::]:8081"
metrics_listen: "[::]:9100"
metrics_token_file: /etc/headrace/metrics/token
deployment_key_file: /etc/headrace/key/deployment.key
log_format: {{ $root.Values.logFormat }}
log_level: {{ $root.Values.logLevel }}
{{- if include "headrace.tls" $root }}
tls_certificate_file: /etc/headrace/tls/tls.crt
tls_key_file: /etc/headrace/tls/tls.key
tls_ca_file: /etc/headrace/tls/ca.crt
{{- else }}
trust_network: true
{{- end }}
{{- if $root.Values.trustedProxies }}
trusted_proxies: {{ toJson $root.Values.trustedProxies }}
{{- else if $root.Values.networkPolicy.enabled }}
trusted_proxies: [127.0.0.0/8, "::1/128", 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, "fc00::/7"]
{{- end }}
{{- end }}

{{- define "headrace.authSettings" -}}
{{ include "headrace.commonSettings" . }}
{{ include "headrace.redisSettings" .root | trim }}
listen: "[::]:50051"
internal_listen: "[::]:50052"
shutdown_delay_seconds: 5
route_address: {{ include "headrace.host" (dict "root" .root "component" "controller") }}:50052
bootstrap_token_file: /etc/headrace/admin/token.json
policy_file: /etc/headrace/policy/policy.yaml
{{- $authenticators := .root.Values.auth.authenticators }}
{{- if not .root.Values.rbac.tokenReview }}{{ $authenticators = omit $authenticators "kubernetes" }}{{ end }}
authenticators: {{ toJson $authenticators }}
allowed_destinations: {{ toJson .root.Values.allowedDestinations }}
{{- end }}

{{- define "headrace.controllerSettings" -}}
{{ include "headrace.commonSettings" . }}
{{ include "headrace.redisSettings" .root | trim }}
listen: "[::]:50051"
internal_listen: "[::]:50052"
shutdown_delay_seconds: 5
auth_address: {{ include "headrace.host" (dict "root" .root "component" "auth") }}:50051
policy_file: /etc/headrace/policy/policy.yaml
start_timeout_seconds: 180
{{- if include "headrace.tls" .root }}
agent_endpoint: {{ include "headrace.host" (dict "root" .root "component" "controller") }}:50051
agent_ca_file: /etc/headrace/tls/ca.crt
{{- else }}
agent_endpoint: {{ include "headrace.fullname" .root }}.{{ .root.Release.Namespace }}.svc:{{ .root.Values.proxy.service.port }}
agent_ca_file: /etc/headrace/public/ca.crt
{{- end }}
backends:
  kubernetes:
    namespace: {{ include "headrace.daskNamespace" .root }}
    {{- with .root.Values.daskNamespaces }}
    namespaces: {{ toJson . }}
    {{- end }}
    {{- if eq .root.Values.enrolment "secret" }}
    enrolment: secret
    {{- end }}
    pods:
      service_account: {{ include "headrace.fullname" .root }}-dask
      image: {{ include "headrace.image" (dict "root" .root "image" "dask") | quote }}
      {{- with .root.Values.images.pullPolicy }}
      image_pull_policy: {{ . }}
      {{- end }}
      {{- with .root.Values.images.pullSecrets }}
      image_pull_secrets: {{ toJson . }}
      {{- end }}
{{- end }}

{{- define "headrace.proxySettings" -}}
{{ include "headrace.commonSettings" . }}
listen: unix:/run/headrace/proxy.sock
xds_listen: unix:/run/headrace/xds.sock
state_directory: /run/headrace
auth_address: {{ include "headrace.host" (dict "root" .root "component" "auth") }}:50051
route_address: {{ include "headrace.host" (dict "root" .root "component" "controller") }}:50052
auth_target: {{ include "headrace.host" (dict "root" .root "component" "auth") }}:50051
authz_target: {{ include "headrace.host" (dict "root" .root "component" "auth") }}:50052
controller_target: {{ include "headrace.host" (dict "root" .root "component" "controller") }}:50051
public_listen: "[::]:8443"
public_certificate_file: /etc/headrace/public/tls.crt
public_key_file: /etc/headrace/public/tls.key
{{- if ne .root.Values.tls.public.mode "internal" }}
inside_certificate_file: /etc/headrace/inside/tls.crt
inside_key_file: /etc/headrace/inside/tls.key
{{- end }}
envoy_metrics_listen: "[::]:9101"
allowed_destinations: {{ toJson .root.Values.allowedDestinations }}
{{- with .root.Values.basePath }}
base_path: {{ . }}
{{- end }}
{{- end }}

{{- /* The settings file: the chart's settings under those of the values. */ -}}
{{- define "headrace.settings" -}}
{{- $own := include (printf "headrace.%sSettings" .component) . | fromYaml -}}
{{- if hasKey $own "Error" }}{{ fail (printf "settings of %s: %s" .component $own.Error) }}{{ end -}}
{{- toYaml (mustMergeOverwrite $own (deepCopy (index .root.Values .component).settings)) -}}
{{- end }}

{{- define "headrace.settingsConfigMap" -}}
apiVersion: v1
kind: ConfigMap
metadata: {{- include "headrace.metadata" . | nindent 2 }}
data:
  settings.yaml: |
    {{- include "headrace.settings" . | nindent 4 }}
{{- end }}

{{- define "headrace.probes" -}}
startupProbe:
  grpc: {port: 8081}
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: 300
readinessProbe:
  grpc: {port: 8081}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
livenessProbe:
  grpc: {port: 8081, service: live}
  periodSeconds: 10
  timeoutSeconds: 10
  failureThreshold: 6
{{- end }}

{{- define "headrace.podMetadata" -}}
{{- $values := index .root.Values .component -}}
labels: {{- include "headrace.labels" . | nindent 2 }}
  {{- with $values.pod.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  headrace.dev/settings: {{ include "headrace.settings" . | sha256sum }}
  {{- if .root.Values.mesh.enabled }}
  {{- include "headrace.mesh.podAnnotations" . | nindent 2 }}
  {{- end }}
  {{- with $values.pod.annotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* Environment of every service: where its settings file is, and how it names itself. */ -}}
{{- define "headrace.env" -}}
{{- $prefix := printf "HEADRACE_%s" (upper .component) -}}
- {name: HEADRACE_CONFIG, value: /etc/headrace/settings/settings.yaml}
- name: {{ $prefix }}_REPLICA
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- if eq .component "proxy" }}
- name: {{ $prefix }}_NODE
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- end }}
{{- with (index .root.Values .component).pod.env }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end }}

{{- /* Where the store is; its password is in a file, so that neither the environment nor the settings have it. */ -}}
{{- define "headrace.redisSettings" -}}
{{- $redis := .Values.redis -}}
{{- if and .Values.valkey.enabled $redis.url }}
{{- fail "redis.url names a store, and valkey.enabled has the chart run another one: set valkey.enabled to false to use the one in redis.url, or leave redis.url empty" }}
{{- end }}
{{- $url := required "valkey.enabled is false: say in redis.url where the store is" (include "headrace.redisUrl" .) }}
{{- if contains "@" (splitList "/" $url | rest | rest | first) }}
{{- fail "redis.url has a user or a password: write the user into redis.username, and the password into a Secret that redis.passwordSecret.name names" }}
{{- end }}
{{- $scheme := regexFind "^[a-z]+://" $url }}
{{- $user := "" }}
{{- if and $redis.username (not .Values.valkey.enabled) }}{{ $user = printf "%s@" (urlquery $redis.username) }}{{ end }}
{{- $ca := "" }}
{{- if include "headrace.redisCaSecret" . }}
{{- $ca = printf "%sssl_ca_certs=/etc/headrace/redis/ca.crt" (contains "?" $url | ternary "&" "?") }}
{{- end }}
redis_url: {{ printf "%s%s%s%s" $scheme $user (trimPrefix $scheme $url) $ca | quote }}
{{- if include "headrace.redisPasswordSecret" . }}
redis_password_file: /etc/headrace/redis/password
{{- end }}
{{- end }}

{{- define "headrace.redisUrl" -}}
{{- if .Values.valkey.enabled }}{{ printf "redis://%s:6379/0" (include "headrace.host" (dict "root" . "component" "valkey")) }}{{ else }}{{ .Values.redis.url }}{{ end -}}
{{- end }}
{{- define "headrace.redisPasswordSecret" -}}
{{- if .Values.valkey.enabled }}{{ include "headrace.fullname" . }}-redis{{ else }}{{ .Values.redis.passwordSecret.name }}{{ end -}}
{{- end }}
{{- define "headrace.redisCaSecret" -}}
{{- if not .Values.valkey.enabled }}{{ .Values.redis.caSecret.name }}{{ end -}}
{{- end }}

{{- /* Password and certificate authority of the store, as files of one volume. */ -}}
{{- define "headrace.redisVolume" -}}
{{- $password := include "headrace.redisPasswordSecret" . -}}
{{- $ca := include "headrace.redisCaSecret" . -}}
{{- if or $password $ca }}
- name: redis
  projected:
    defaultMode: 0440
    sources:
      {{- if $password }}
      - secret: {name: {{ $password }}, items: [{key: {{ .Values.valkey.enabled | ternary "password" .Values.redis.passwordSecret.key }}, path: password}]}
      {{- end }}
      {{- if $ca }}
      - secret: {name: {{ $ca }}, items: [{key: {{ .Values.redis.caSecret.key }}, path: ca.crt}]}
      {{- end }}
{{- end }}
{{- end }}

{{- define "headrace.volumeMounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: settings, mountPath: /etc/headrace/settings, readOnly: true}
- {name: key, mountPath: /etc/headrace/key, readOnly: true}
- {name: metrics, mountPath: /etc/headrace/metrics, readOnly: true}
{{- if include "headrace.tls" .root }}
- {name: tls, mountPath: /etc/headrace/tls, readOnly: true}
{{- end }}
{{- if and (ne .component "proxy") (include "headrace.redisVolume" .root) }}
- {name: redis, mountPath: /etc/headrace/redis, readOnly: true}
{{- end }}
{{- with (index .root.Values .component).pod.volumeMounts }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end }}

{{- define "headrace.volumes" -}}
- name: tmp
  emptyDir: {}
- name: settings
  configMap: {name: {{ include "headrace.fullname" .root }}-{{ .component }}}
- name: key
  secret: {secretName: {{ include "headrace.deploymentKeySecret" .root }}, defaultMode: 0440}
- name: metrics
  secret: {secretName: {{ include "headrace.metricsTokenSecret" .root }}, defaultMode: 0440}
{{- if include "headrace.tls" .root }}
- name: tls
  secret: {secretName: {{ include "headrace.tlsSecret" . }}, defaultMode: 0440}
{{- end }}
{{- if ne .component "proxy" }}
{{- include "headrace.redisVolume" .root }}
{{- end }}
{{- with (index .root.Values .component).pod.volumes }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end }}

{{- define "headrace.policyVolume" -}}
- name: policy
  configMap: {name: {{ include "headrace.fullname" . }}-policy}
{{- end }}

{{- define "headrace.grpcService" -}}
apiVersion: v1
kind: Service
metadata: {{- include "headrace.metadata" . | nindent 2 }}
spec:
  selector: {{- include "headrace.selectorLabels" . | nindent 4 }}
  ports:
    {{- $protocol := empty (include "headrace.tls" .root) | ternary "grpc" "tls" }}
    - {name: grpc, port: 50051, targetPort: grpc, appProtocol: {{ $protocol }}}
    - {name: grpc-internal, port: 50052, targetPort: grpc-internal, appProtocol: {{ $protocol }}}
    - {name: metrics, port: 9100, targetPort: metrics, appProtocol: http}
{{- end }}

{{- define "headrace.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{- include "headrace.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- include "headrace.selectorLabels" . | nindent 6 }}
{{- end }}

{{- define "headrace.autoscaler" -}}
{{- with (index .root.Values .component).autoscaling -}}
{{- if .enabled -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{- include "headrace.metadata" $ | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "headrace.fullname" $.root }}-{{ $.component }}
  minReplicas: {{ .minReplicas }}
  maxReplicas: {{ .maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ .targetCPUUtilizationPercentage }}}
  behavior:
    scaleDown:
      stabilizationWindowSeconds: {{ .scaleDownStabilizationSeconds }}
      # The connections of one pod move at a time.
      policies: [{type: Pods, value: 1, periodSeconds: 60}]
{{- end }}
{{- end }}
{{- end }}

{{- define "headrace.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata: {{- include "headrace.metadata" . | nindent 2 }}
automountServiceAccountToken: false
{{- end }}

{{- /*
Number of pods, empty where it is the autoscaler's. Until that has changed it for the first time it is only Helm's, and
Kubernetes would go to one pod if Helm no longer had it: then the number that there is stays.
*/ -}}
{{- define "headrace.replicas" -}}
{{- $values := index .root.Values .component -}}
{{- if not (dig "autoscaling" "enabled" false $values) -}}
{{ $values.replicas }}
{{- else -}}
{{- $name := printf "%s-%s" (include "headrace.fullname" .root) .component -}}
{{- with lookup "apps/v1" "Deployment" .root.Release.Namespace $name -}}
{{- $scaled := false -}}
{{- range .metadata.managedFields }}{{ if eq (.subresource | default "") "scale" }}{{ $scaled = true }}{{ end }}{{ end -}}
{{- if not $scaled }}{{ .spec.replicas }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Beginning of the spec of a Deployment: number of pods, and how they are replaced. */ -}}
{{- define "headrace.rollout" -}}
{{- $replicas := include "headrace.replicas" . -}}
{{- with $replicas }}
replicas: {{ . }}
{{- end }}
revisionHistoryLimit: 5
strategy:
  type: RollingUpdate
  rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
selector:
  matchLabels: {{- include "headrace.selectorLabels" . | nindent 4 }}
{{- end }}

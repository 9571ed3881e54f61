{{- /* What the credentials job makes, for `python -m headrace_backend_kubernetes.installation credentials`. */ -}}
{{- define "headrace.credentials.wanted" -}}
{{- $full := include "headrace.fullname" . -}}
release: {{ $full }}
namespace: {{ .Release.Namespace }}
labels:
  app.kubernetes.io/name: headrace
  app.kubernetes.io/instance: {{ .Release.Name }}
  app.kubernetes.io/part-of: headrace
  app.kubernetes.io/managed-by: headrace
secrets: {{ include "headrace.credentials.secrets" . }}
certificate_days: {{ .Values.tls.certificateDays }}
{{- $certificates := dict -}}
{{- if and (include "headrace.tls" .) (eq .Values.tls.services.mode "internal") }}
{{- range list "auth" "controller" "proxy" }}
{{- $name := printf "%s-%s" $full . }}
{{- $names := include "headrace.serviceNames" (dict "root" $ "service" $name) | fromJsonArray }}
{{- $_ := set $certificates . (dict "names" $names) }}
{{- end }}
{{- end }}
{{- if eq .Values.tls.public.mode "internal" }}
{{- $_ := set $certificates "public" (dict "names" (include "headrace.publicNames" . | fromJsonArray)) }}
{{- else }}
{{- $names := include "headrace.serviceNames" (dict "root" . "service" $full) | fromJsonArray }}
{{- $_ := set $certificates "inside" (dict "names" $names) }}
{{- end }}
certificates: {{- toYaml $certificates | nindent 2 }}
client:
  config_map: {{ .Values.client.configMap }}
  address: {{ .Values.client.address | default (include "headrace.publicAddress" .) }}
  ca_secret: {{ empty .Values.client.address | ternary (include "headrace.insideTlsSecret" .) (include "headrace.tlsSecret" (dict "root" . "component" "public")) }}
  settings: {{ include "headrace.clientSettings" . }}
{{- end }}

{{- /* A policy drops packets: trying the direct connection would cost each new cluster a time-out. */ -}}
{{- define "headrace.clientSettings" -}}
{{- $own := dict -}}
{{- if and .Values.networkPolicy.enabled (not (dig "dask" "clients" list .Values.networkPolicy)) }}{{ $own = dict "connect" "proxied" }}{{ end -}}
{{- merge (deepCopy .Values.client.settings) $own | toJson -}}
{{- end }}

{{- define "headrace.credentials.secrets" -}}
{{- $kinds := list -}}
{{- if not .Values.existingSecrets.deploymentKey }}{{ $kinds = append $kinds "deployment-key" }}{{ end -}}
{{- if not .Values.existingSecrets.adminToken }}{{ $kinds = append $kinds "admin-token" }}{{ end -}}
{{- if not .Values.existingSecrets.metricsToken }}{{ $kinds = append $kinds "metrics-token" }}{{ end -}}
{{- if .Values.valkey.enabled }}{{ $kinds = append $kinds "redis" }}{{ end -}}
{{- toJson $kinds -}}
{{- end }}

{{- /* The job's pod. dict "root" . "account" "headrace-credentials" */ -}}
{{- define "headrace.credentials.pod" -}}
metadata:
  labels: {{- include "headrace.labels" (dict "root" .root "component" "hook") | nindent 4 }}
spec:
  {{- include "headrace.pod" (dict "root" .root) | nindent 2 }}
  restartPolicy: Never
  serviceAccountName: {{ .account }}
  automountServiceAccountToken: true
  containers:
    - name: credentials
      {{- include "headrace.container" (dict "root" .root "image" "headrace") | nindent 6 }}
      command: [python, -m, headrace_backend_kubernetes.installation, credentials]
      env:
        - name: HEADRACE_INSTALLATION
          value: |
            {{- include "headrace.credentials.wanted" .root | nindent 12 }}
      resources:
        requests: {cpu: 50m, memory: 128Mi}
        limits: {memory: 512Mi}
{{- end }}

{{- /* Its service account with its rights. dict "root" . "account" "headrace-credentials" "annotations" (dict) */ -}}
{{- define "headrace.credentials.rights" -}}
{{- $full := include "headrace.fullname" .root -}}
{{- $metadata := dict "name" .account "namespace" .root.Release.Namespace "labels" (include "headrace.labels" (dict "root" .root "component" "hook") | fromYaml) "annotations" .annotations -}}
apiVersion: v1
kind: ServiceAccount
metadata: {{- toYaml $metadata | nindent 2 }}
automountServiceAccountToken: false
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{- toYaml $metadata | nindent 2 }}
rules:
  # Kubernetes cannot limit by name what may be created.
  - apiGroups: [""]
    resources: [secrets, configmaps]
    verbs: [create]
  - apiGroups: [""]
    resources: [secrets]
    resourceNames:
      - {{ $full }}-authority
      {{- range list "auth" "controller" "proxy" "public" "inside" }}
      - {{ $full }}-{{ . }}-tls
      {{- end }}
    verbs: [get, patch]
  {{- if eq .root.Values.tls.public.mode "secret" }}
  - apiGroups: [""]
    resources: [secrets]
    resourceNames: [{{ .root.Values.tls.public.secret }}]
    verbs: [get]
  {{- end }}
  - apiGroups: [""]
    resources: [configmaps]
    resourceNames: [{{ .root.Values.client.configMap }}]
    verbs: [patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{- toYaml $metadata | nindent 2 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ .account }}}
subjects:
  - {kind: ServiceAccount, name: {{ .account }}, namespace: {{ .root.Release.Namespace }}}
{{- end }}

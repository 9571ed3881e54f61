{{- define "headrace.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* Name of the deployment: unique in the cluster, since several releases may launch pods in one namespace. */ -}}
{{- define "headrace.deployment" -}}
{{- $name := include "headrace.fullname" . -}}
{{- if .Values.deployment }}{{ .Values.deployment }}
{{- else if eq .Release.Namespace $name }}{{ $name }}
{{- else }}{{ printf "%s-%s" .Release.Namespace $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* dict "root" . "component" "auth" */ -}}
{{- define "headrace.selectorLabels" -}}
app.kubernetes.io/name: headrace
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "headrace.labels" -}}
{{ include "headrace.selectorLabels" . }}
app.kubernetes.io/part-of: headrace
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "headrace.metadata" -}}
name: {{ include "headrace.fullname" .root }}-{{ .component }}
namespace: {{ .root.Release.Namespace }}
labels: {{- include "headrace.labels" . | nindent 2 }}
{{- end }}

{{- /* dict "root" . "image" "headrace" */ -}}
{{- define "headrace.image" -}}
{{- $image := index .root.Values.images .image -}}
{{- if $image.digest }}{{ $image.name }}@{{ $image.digest }}
{{- else }}{{ $image.name }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{- /* Image, pull policy and security context of a container. dict "root" . "image" "headrace" */ -}}
{{- define "headrace.container" -}}
image: {{ include "headrace.image" . | quote }}
{{- with .root.Values.images.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
securityContext: {{- toYaml .root.Values.securityContext | nindent 2 }}
{{- end }}

{{- /* Fields that all pods have. dict "root" . "component" "auth" "pod" .Values.auth.pod */ -}}
{{- define "headrace.pod" -}}
securityContext: {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
enableServiceLinks: false
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .pod }}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
topologySpreadConstraints:
{{- with .topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
{{- else }}
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "headrace.selectorLabels" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "headrace.host" -}}
{{ include "headrace.fullname" .root }}-{{ .component }}.{{ .root.Release.Namespace }}.svc
{{- end }}

{{- /* All names of a Service, as a JSON list. dict "root" . "service" "headrace-auth" */ -}}
{{- define "headrace.serviceNames" -}}
{{- $inNamespace := printf "%s.%s" .service .root.Release.Namespace -}}
{{- list .service $inNamespace (printf "%s.svc" $inNamespace) (printf "%s.svc.%s" $inNamespace .root.Values.clusterDomain) | toJson -}}
{{- end }}

{{- define "headrace.publicNames" -}}
{{- $own := include "headrace.serviceNames" (dict "root" . "service" (include "headrace.fullname" .)) | fromJsonArray -}}
{{- concat $own (list "localhost") .Values.publicHostnames | uniq | toJson -}}
{{- end }}

{{- define "headrace.publicAddress" -}}
{{- $port := int .Values.proxy.service.port -}}
https://{{ include "headrace.fullname" . }}.{{ .Release.Namespace }}.svc{{ if ne $port 443 }}:{{ $port }}{{ end }}
{{- end }}

{{- /* Whether services speak TLS with one another: not where a mesh does it. */ -}}
{{- define "headrace.tls" -}}
{{- if not .Values.mesh.enabled }}true{{ end }}
{{- end }}

{{- define "headrace.tlsSecret" -}}
{{- if eq .component "public" -}}
{{- if eq .root.Values.tls.public.mode "secret" }}{{ required "tls.public.mode is secret: name the Secret with the certificate in tls.public.secret" .root.Values.tls.public.secret }}
{{- else }}{{ include "headrace.fullname" .root }}-public-tls{{ end }}
{{- else if eq .root.Values.tls.services.mode "secret" -}}
{{- required (printf "tls.services.mode is secret: name the Secret with the certificate of %s in tls.services.secrets.%s" .component .component) (index .root.Values.tls.services.secrets .component) }}
{{- else }}{{ include "headrace.fullname" .root }}-{{ .component }}-tls
{{- end }}
{{- end }}

{{- /*
Secret with the certificate of the public port for the names of its Service. A public authority certifies none of these,
and what others make may come late: unless the chart makes the public certificate, it makes one for the Service.
*/ -}}
{{- define "headrace.insideTlsSecret" -}}
{{ include "headrace.fullname" . }}-{{ eq .Values.tls.public.mode "internal" | ternary "public" "inside" }}-tls
{{- end }}

{{- /* Names of the Secrets that the credentials job makes, unless they exist. */ -}}
{{- define "headrace.deploymentKeySecret" -}}
{{ .Values.existingSecrets.deploymentKey | default (printf "%s-deployment-key" (include "headrace.fullname" .)) }}
{{- end }}
{{- define "headrace.adminTokenSecret" -}}
{{ .Values.existingSecrets.adminToken | default (printf "%s-admin-token" (include "headrace.fullname" .)) }}
{{- end }}
{{- define "headrace.metricsTokenSecret" -}}
{{ .Values.existingSecrets.metricsToken | default (printf "%s-metrics-token" (include "headrace.fullname" .)) }}
{{- end }}

{{- /* The policy file. Helm sorts the keys of values, and the first profile of the file is the default: a text stays as it is. */ -}}
{{- define "headrace.policy" -}}
{{- if .Values.policyText }}{{ .Values.policyText }}{{ else }}{{ toYaml .Values.policy }}{{ end -}}
{{- end }}

{{- /* All namespaces in which Dask pods may run, as a JSON list. */ -}}
{{- define "headrace.daskNamespace" -}}
{{ .Values.daskNamespace | default .Release.Namespace }}
{{- end }}
{{- define "headrace.daskNamespaces" -}}
{{- $found := prepend .Values.daskNamespaces (include "headrace.daskNamespace" .) -}}
{{- $policy := include "headrace.policy" . | fromYaml -}}
{{- if hasKey $policy "Error" }}{{ fail (printf "policyText: %s" $policy.Error) }}{{ end -}}
{{- range ($policy.profiles | default dict) -}}
{{- with (. | default dict).settings }}{{ with .namespace }}{{ $found = append $found . }}{{ end }}{{ end -}}
{{- end -}}
{{- $found | uniq | toJson -}}
{{- end }}

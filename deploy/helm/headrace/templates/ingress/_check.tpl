{{/* What the TLS server names of clusters end with. */}}
{{- define "headrace.sniSuffix" -}}
{{- $suffix := dig "sni_suffix" "clusters.headrace.internal" .Values.controller.settings }}
{{- if ne $suffix (dig "sni_suffix" "clusters.headrace.internal" .Values.proxy.settings) }}
{{- fail "controller.settings.sni_suffix and proxy.settings.sni_suffix differ: give both the same" }}
{{- end }}
{{- $suffix }}
{{- end }}

{{/* Checks how users reach the public port; each message says what to set. */}}
{{- define "headrace.ingress.check" -}}
{{- $_ := include "headrace.sniSuffix" . }}
{{- if .Values.ingress.enabled }}
{{- if not .Values.basePath }}
{{- fail "ingress.enabled needs basePath, such as /headrace: an Ingress passes HTTP/1.1, and clients speak gRPC-Web only to addresses with a path" }}
{{- end }}
{{- if not .Values.ingress.host }}
{{- fail "ingress.enabled needs ingress.host, the name that users type" }}
{{- end }}
{{- if not .Values.ingress.daskTraffic }}
{{- fail "ingress.enabled needs ingress.daskTraffic: an Ingress cannot carry Dask's own traffic, whose TLS must pass unopened (SNI passthrough). Write in-cluster if all users are in this cluster, service if they reach the Service (such as proxy.service.type: LoadBalancer), or tls-route with gatewayApi.enabled" }}
{{- end }}
{{- if and (eq .Values.ingress.daskTraffic "tls-route") (not .Values.gatewayApi.enabled) }}
{{- fail "ingress.daskTraffic: tls-route needs gatewayApi.enabled and gatewayApi.parentRefs with a Gateway that has a TLS listener in mode Passthrough" }}
{{- end }}
{{- end }}
{{- if .Values.gatewayApi.enabled }}
{{- if not .Values.gatewayApi.parentRefs }}
{{- fail "gatewayApi.enabled needs gatewayApi.parentRefs: the Gateway with a TLS listener in mode Passthrough; Dask's traffic to schedulers needs SNI passthrough" }}
{{- end }}
{{- if and .Values.gatewayApi.http.enabled (not .Values.gatewayApi.http.parentRefs) }}
{{- fail "gatewayApi.http.enabled needs gatewayApi.http.parentRefs: the Gateway with an HTTPS listener for calls and dashboards" }}
{{- end }}
{{- if and .Values.gatewayApi.http.enabled .Values.client.address (ne .Values.tls.public.mode "internal") (not .Values.gatewayApi.http.caConfigMap) }}
{{- fail (printf "gatewayApi.http.enabled needs gatewayApi.http.caConfigMap here: with client.address, the ConfigMap %s has the authority of the public certificate, and the Gateway needs that of the Service's name, which is in the Secret %s" .Values.client.configMap (include "headrace.insideTlsSecret" .)) }}
{{- end }}
{{- if not (or .Values.gatewayApi.hostnames .Values.publicHostnames) }}
{{- fail "gatewayApi.enabled needs publicHostnames or gatewayApi.hostnames: the names that users type, which the Gateway routes to headrace" }}
{{- end }}
{{- end }}
{{- if and .Values.gatewayApi.http.enabled (not .Values.gatewayApi.enabled) }}
{{- fail "gatewayApi.http.enabled needs gatewayApi.enabled: calls and dashboards alone are of no use without Dask's traffic, which takes the TLSRoute" }}
{{- end }}
{{- end }}

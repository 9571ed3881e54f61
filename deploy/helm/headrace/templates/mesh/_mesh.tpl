{{/*
Pod annotations in a mesh: what it must leave alone. Envoy's public port and its connections to schedulers carry TLS of
their own from end to end. Takes root and component.
*/}}
{{- define "headrace.mesh.podAnnotations" -}}
{{- if and .root.Values.mesh.enabled (eq .root.Values.mesh.policies "istio") (eq .component "proxy") -}}
traffic.sidecar.istio.io/excludeInboundPorts: "8443"
traffic.sidecar.istio.io/excludeOutboundPorts: "8786,8787"
{{- else if and .root.Values.mesh.enabled (eq .root.Values.mesh.policies "istio") (eq .component "controller") -}}
traffic.sidecar.istio.io/excludeOutboundPorts: "8787"
{{- end }}
{{- end }}

{{/* Identity of a component in the mesh. Takes root and component. */}}
{{- define "headrace.mesh.identity" -}}
{{ .root.Values.mesh.trustDomain }}/ns/{{ .root.Release.Namespace }}/sa/{{ include "headrace.fullname" .root }}-{{ .component }}
{{- end }}

{{/* Rule: components that may call ports. Takes root, from and ports. */}}
{{- define "headrace.mesh.rule" -}}
- from:
    - source:
        principals:
          {{- range .from }}
          - {{ include "headrace.mesh.identity" (dict "root" $.root "component" .) | quote }}
          {{- end }}
  to:
    - operation:
        ports: {{ .ports | toJson }}
{{- end }}

{{/* Peer: the pods of one component of this release. Takes root and component. */}}
{{- define "headrace.network.service" -}}
- podSelector:
    matchLabels:
      {{- include "headrace.selectorLabels" . | nindent 6 }}
  {{- if .anyNamespace }}
  namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .root.Release.Namespace }}
  {{- end }}
{{- end }}

{{/* Peer: the Dask pods of this deployment, in all of its namespaces. */}}
{{- define "headrace.network.dask" -}}
- podSelector:
    matchLabels:
      headrace.dev/deployment: {{ include "headrace.deployment" . }}
  namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: In
        values: {{ include "headrace.daskNamespaces" . }}
{{- end }}

{{/*
TCP ports of a rule. Takes root and ports. In Istio's ambient mode a pod receives everything on port 15008, whatever
port the sender meant; who may reach which port is then up to the AuthorizationPolicies.
*/}}
{{- define "headrace.network.ports" -}}
{{- range .ports }}
- {protocol: TCP, port: {{ . }}}
{{- end }}
{{- if .root.Values.mesh.enabled }}
- {protocol: TCP, port: 15008}
{{- end }}
{{- end }}

{{/*
Networks that no Dask pod may reach, whatever `privateNetworks` says, within IPv4: link-local, where clouds keep the
metadata service, and the metadata services that Azure and Alibaba have elsewhere.
*/}}
{{- define "headrace.network.metadata" -}}
["169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32"]
{{- end }}

{{/* Private networks: everything in the cluster and around it. */}}
{{- define "headrace.network.private" -}}
["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8"]
{{- end }}

{{/* The same within IPv6, with the private and metadata networks of IPv4 as NAT64 (64:ff9b::/96) writes them. */}}
{{- define "headrace.network.private6" -}}
["fc00::/7", "fe80::/10", "64:ff9b::a00:0/104", "64:ff9b::ac10:0/108", "64:ff9b::c0a8:0/112", "64:ff9b::6440:0/106", "64:ff9b::7f00:0/104", "64:ff9b::a9fe:0/112", "64:ff9b::a83f:8110/128", "64:ff9b:1::/48"]
{{- end }}

{{/* Checks privateNetworks: each is a private network without the address of a cloud's metadata service. */}}
{{- define "headrace.network.check" -}}
{{- $private := list
  "10[.][0-9.]+/([89]|[12][0-9]|3[0-2])"
  "172[.](1[6-9]|2[0-9]|3[01])[.][0-9.]+/(1[2-9]|2[0-9]|3[0-2])"
  "192[.]168[.][0-9.]+/(1[6-9]|2[0-9]|3[0-2])"
  "100[.](6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])[.][0-9.]+/(1[6-9]|2[0-9]|3[0-2])"
  "[fF][cdCD][0-9a-fA-F:]+/(3[2-9]|[4-9][0-9]|1[01][0-9]|12[0-8])" }}
{{- range .Values.networkPolicy.dask.privateNetworks }}
{{- if not (regexMatch (printf "^(%s)$" (join "|" $private)) .) }}
{{- fail (printf "networkPolicy.dask.privateNetworks: %q is not a private network such as 10.20.0.0/16 or fd12:3456:789a::/48; public addresses are reached with networkPolicy.dask.internet, all else with networkPolicy.dask.extraEgress" .) }}
{{- end }}
{{- if regexMatch "^(100[.]100[.]|[fF][dD]00:0?[eE][cC]2:|[fF][dD]20:(00)?[cC][eE]:)" . }}
{{- fail (printf "networkPolicy.dask.privateNetworks: %s has the metadata service of a cloud in it, which gives whoever reads it the rights of the node; name the networks of your servers only" .) }}
{{- end }}
{{- end }}
{{- end }}

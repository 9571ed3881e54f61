{{- /*
Bytes of data that Valkey may hold: 60 % of its pod's limit, so that a full store refuses writes and is not killed. The rest
is for what `maxmemory` does not count: buffers of the append-only file, pages that change while a fork rewrites it,
fragmentation, Valkey itself. Empty without a limit.
*/}}
{{- define "headrace.valkey.maxmemory" -}}
{{- with dig "limits" "memory" "" .Values.valkey.resources }}
{{- $units := dict "" 1 "k" 1000 "Ki" 1024 "M" 1000000 "Mi" 1048576 "G" 1000000000 "Gi" 1073741824 "T" 1000000000000 "Ti" 1099511627776 }}
{{- $limit := kindIs "float64" . | ternary (printf "%.0f" (float64 .)) (toString .) }}
{{- if not (regexMatch "^[1-9][0-9]{0,14}([kMGT]|[KMGT]i)?$" $limit) }}
{{- fail (printf "valkey.resources.limits.memory: %s is not a whole number of bytes with or without a unit such as Mi, Gi, M or G: write 1536Mi for 1.5Gi" $limit) }}
{{- end }}
{{- $unit := regexFind "[a-zA-Z]*$" $limit }}
{{- div (mul (trimSuffix $unit $limit | int64) (get $units $unit) 6) 10 }}
{{- end }}
{{- end }}

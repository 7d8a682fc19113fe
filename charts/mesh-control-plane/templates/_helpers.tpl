{{- define "mesh.values" -}}
{{- $values := deepCopy .Values.AsMap }}
{{- $_ := unset $values "global" }}
{{- $_ := set $values.identity.issuer "tls" (dict "crtPEM" "" "keyPEM" "") }}
{{- toYaml $values }}
{{- end -}}

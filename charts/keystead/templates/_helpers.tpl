{{- define "keystead.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough that "-gateway" and the names made of it fit into 63 characters. */}}
{{- define "keystead.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "keystead.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "keystead.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Of (list $ "operator"): what selects the pods of a component. Fixed: the name is what the tenants' policies let in. */}}
{{- define "keystead.selector" -}}
app.kubernetes.io/name: keystead
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Of (list $ "operator"). */}}
{{- define "keystead.labels" -}}
{{ include "keystead.selector" . }}
app.kubernetes.io/part-of: keystead
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Of (list $ $.Values.operator.image). */}}
{{- define "keystead.image" -}}
{{- $root := index . 0 -}}{{- $image := index . 1 -}}
{{- $name := printf "%s/%s" $root.Values.images.registry $image.repository -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default $root.Chart.AppVersion $root.Values.images.tag) -}}
{{- end -}}
{{- end -}}

{{- define "keystead.workerImage" -}}
{{- default (include "keystead.image" (list . .Values.gateway.image)) .Values.worker.image -}}
{{- end -}}

{{/* 7.0=docker.io/library/redis:7.0,8.0=… in a fixed order. */}}
{{- define "keystead.redisImages" -}}
{{- $table := list -}}
{{- range $version := keys .Values.redis.images | sortAlpha -}}
{{- $image := get $.Values.redis.images $version -}}
{{- if $.Values.redis.registry -}}{{- $image = printf "%s/%s" $.Values.redis.registry $image -}}{{- end -}}
{{- $table = append $table (printf "%s=%s" $version $image) -}}
{{- end -}}
{{- join "," $table -}}
{{- end -}}

{{/* What the schema cannot compare. */}}
{{- define "keystead.check" -}}
{{- $scaling := .Values.gateway.autoscaling -}}
{{- if and $scaling.enabled (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- fail (printf "gateway.autoscaling.minReplicas (%d) is above maxReplicas (%d): raise maxReplicas or lower minReplicas" (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- end -}}
{{- if and (eq $scaling.profile "Custom") (not $scaling.behavior) -}}
{{- fail "gateway.autoscaling.profile is Custom without gateway.autoscaling.behavior: give the behavior, or use the profile Api" -}}
{{- end -}}
{{- if and $scaling.behavior (ne $scaling.profile "Custom") -}}
{{- fail "gateway.autoscaling.behavior is given, but the profile is not Custom: set gateway.autoscaling.profile to Custom, or leave behavior out" -}}
{{- end -}}
{{- if and .Values.operator.externalMetrics.enabled .Values.operator.externalMetrics.servedByAdapter -}}
{{- fail "operator.externalMetrics.enabled and servedByAdapter are both set: one of them serves keystead_queue_depth, set the other to false" -}}
{{- end -}}
{{- if not (hasKey .Values.redis.images .Values.redis.defaultVersion) -}}
{{- fail (printf "redis.defaultVersion %q is not in redis.images: add its image there, or choose one of %s" .Values.redis.defaultVersion (keys .Values.redis.images | sortAlpha | join ", ")) -}}
{{- end -}}
{{- if and .Values.gateway.ingress.tlsSecretName (not .Values.gateway.ingress.host) -}}
{{- fail "gateway.ingress.tlsSecretName is given without gateway.ingress.host: name the host that the certificate is for" -}}
{{- end -}}
{{- end -}}

{{- define "keystead.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "keystead.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The API server's addresses are known to no selector: its ports are. Name servers may be pods, on the node or outside. */}}
{{- define "keystead.clusterEgress" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end -}}

{{/* Every tenant's Redis, and the Sentinels beside it: their namespaces carry the label. */}}
{{- define "keystead.redisEgress" -}}
- to:
    - namespaceSelector:
        matchExpressions:
          - {key: keystead.io/tenant, operator: Exists}
      podSelector:
        matchLabels:
          app.kubernetes.io/name: keystead
        matchExpressions:
          - {key: app.kubernetes.io/component, operator: In, values: [redis, redis-readers]}
  ports:
    - {port: 6379, protocol: TCP}
    - {port: 26379, protocol: TCP}
{{- end -}}

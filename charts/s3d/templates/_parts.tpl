{{/* The prefix of every object's name; cluster-wide objects of two releases must not meet. */}}
{{- define "s3d.name" -}}
{{- $name := ternary .Release.Name (printf "%s-s3d" .Release.Name) (contains "s3d" .Release.Name) }}
{{- $name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "s3d.labels" -}}
app.kubernetes.io/name: s3d
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: s3d
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Labels that select the pods of a component: (list . "webhook"). */}}
{{- define "s3d.selector" -}}
app.kubernetes.io/name: s3d
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* What every pod of ours is: unprivileged, and gone where its node wants it gone: (list . .Values.webhook). */}}
{{- define "s3d.pod" -}}
{{- $root := index . 0 -}}
{{- $own := index . 1 -}}
automountServiceAccountToken: true
enableServiceLinks: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
nodeSelector:
  {{- toYaml (merge (dict) $root.Values.nodeSelector (dict "kubernetes.io/os" "linux")) | nindent 2 }}
{{- with $own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Metadata of the pods of a component: (list . "webhook" .Values.webhook). */}}
{{- define "s3d.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $own := index . 2 -}}
labels:
  {{- with $own.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- include "s3d.labels" $root | nindent 2 }}
  app.kubernetes.io/component: {{ index . 1 }}
{{- with $own.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "s3d.container" -}}
image: {{ .Values.operator.image | quote }}
imagePullPolicy: {{ .Values.operator.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- end }}

{{/* No namespace that is never looked at. */}}
{{- define "s3d.notExcluded" -}}
{{- $excluded := concat (list "kube-system" "kube-public" "kube-node-lease" .Release.Namespace) .Values.webhook.excludedNamespaces -}}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values: {{ $excluded | uniq | toJson }}
{{- end }}

{{/* Whom the webhook and the policy look at: (list . "pod") for those who ask themselves, (list . "namespace"). */}}
{{- define "s3d.asked" -}}
{{- $root := index . 0 -}}
{{- $asker := index . 1 -}}
namespaceSelector:
  {{- if eq $asker "namespace" }}
  matchLabels:
    s3d.dev/injection: enabled
  {{- end }}
  {{- include "s3d.notExcluded" $root | nindent 2 }}
objectSelector:
  {{- if eq $asker "pod" }}
  matchLabels:
    s3d.dev/inject: "true"
  {{- else }}
  matchExpressions:
    - {key: s3d.dev/inject, operator: NotIn, values: ["true", "false"]}
  {{- end }}
{{- end }}

{{/* A mirror of a static pod is there already. */}}
{{- define "s3d.conditions" -}}
- name: not-a-static-pod
  expression: "!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)"
{{- end }}

{{/* Whether a pod has its sidecar, in CEL. */}}
{{- define "s3d.injected" -}}
has(object.spec.initContainers) && object.spec.initContainers.exists(c, c.name == 's3d' && has(c.restartPolicy) && c.restartPolicy == 'Always')
{{- end }}

{{/* The Secret of the webhook's certificate. */}}
{{- define "s3d.secret" -}}
{{- .Values.certificate.existingSecret | default (printf "%s-webhook-tls" (include "s3d.name" .)) }}
{{- end }}

{{/* Not empty where the operator makes the certificate and publishes its CA. */}}
{{- define "s3d.issues" -}}
{{- if not (or .Values.certificate.certManager.enabled .Values.certificate.existingSecret) }}yes{{ end }}
{{- end }}

{{/* What values mean together; every rendering asks. */}}
{{- define "s3d.check" -}}
{{- with .Values.certificate }}
{{- if and .certManager.enabled (or .existingSecret .caBundle) }}
{{- fail "certificate: certManager.enabled and existingSecret exclude each other; the certificate comes from one of them" }}
{{- end }}
{{- if and .existingSecret (not .caBundle) }}
{{- fail "certificate.existingSecret needs certificate.caBundle, the PEM of the CA: the API server would trust no replica" }}
{{- end }}
{{- if and .caBundle (not .existingSecret) }}
{{- fail "certificate.caBundle needs certificate.existingSecret, the Secret with tls.crt and tls.key that it has signed" }}
{{- end }}
{{- if and .caBundle (not (contains "-----BEGIN CERTIFICATE-----" .caBundle)) }}
{{- fail "certificate.caBundle has to be PEM (-----BEGIN CERTIFICATE-----), not encoded once more; --set-file reads it from a file" }}
{{- end }}
{{- if le (int .lifetimeHours) (int .renewBeforeHours) }}
{{- fail "certificate.lifetimeHours has to be more than certificate.renewBeforeHours: a new certificate would be due at once" }}
{{- end }}
{{- if and .certManager.issuerRef (not .certManager.enabled) }}
{{- fail "certificate.certManager.issuerRef needs certificate.certManager.enabled" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Not empty where an object for Prometheus is wanted and can be: (list . .Values.monitoring.podMonitor "PodMonitor"). */}}
{{- define "s3d.monitors" -}}
{{- $root := index . 0 -}}
{{- $kind := index . 2 -}}
{{- $missing := $root.Values.monitoring.whenMissing -}}
{{- if (index . 1).enabled -}}
{{- $versions := $root.Capabilities.APIVersions -}}
{{- if or (eq $missing "Render") ($versions.Has "monitoring.coreos.com/v1") ($versions.Has (print "monitoring.coreos.com/v1/" $kind)) -}}
yes
{{- else if eq $missing "Fail" -}}
{{- fail (printf "monitoring: the cluster knows no %s: install the Prometheus operator's definitions, or set monitoring.whenMissing to Skip or Render" $kind) -}}
{{- end -}}
{{- end -}}
{{- end }}

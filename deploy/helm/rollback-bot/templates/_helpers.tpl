{{/* The name of everything in the release. */}}
{{- define "rollback.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end -}}
{{- end }}

{{- define "rollback.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rollback.labels" -}}
{{ include "rollback.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "rollback.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "rollback.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "rollback.name" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/* A zone as part of a name. */}}
{{- define "rollback.zoneName" -}}
{{- . | lower | replace "_" "-" | replace "." "-" }}
{{- end }}

{{- define "rollback.siteConfigMap" -}}
{{- .Values.site.configMap | default (printf "%s-site" (include "rollback.name" .)) }}
{{- end }}

{{/* Changes with everything that is read at the start only. */}}
{{- define "rollback.siteChecksum" -}}
{{- print .Values.site.inventory .Values.site.policy | sha256sum }}
{{- end }}

{{/* What makes no sense is said before anything is installed. */}}
{{- define "rollback.check" -}}
{{- if not .Values.store.secret }}{{ fail "store.secret is missing: name the Secret that holds the address of the PostgreSQL" }}{{ end }}
{{- if not .Values.slack.opsChannel }}{{ fail "slack.opsChannel is missing: the id of the operations channel, C..." }}{{ end }}
{{- $plans := list }}
{{- if .Values.plans.configMap }}{{ $plans = append $plans "configMap" }}{{ end }}
{{- if .Values.plans.claim }}{{ $plans = append $plans "claim" }}{{ end }}
{{- if .Values.plans.git.repository }}{{ $plans = append $plans "git" }}{{ end }}
{{- if ne (len $plans) 1 }}{{ fail (printf "plans: give exactly one of configMap, claim and git.repository, not %d" (len $plans)) }}{{ end }}
{{- if and .Values.plans.git.repository (not .Values.plans.git.image) }}{{ fail "plans.git.image is missing: an image of git-sync v4" }}{{ end }}
{{- if not (or .Values.site.configMap (and .Values.site.inventory .Values.site.policy)) }}{{ fail "site: give configMap, or both inventory and policy" }}{{ end }}
{{- $names := list }}
{{- range .Values.zones }}{{ $names = append $names (include "rollback.zoneName" .name) }}{{ end }}
{{- if ne (len ($names | uniq)) (len $names) }}{{ fail "zones: each needs a name of its own" }}{{ end }}
{{- end }}

{{/* The environment that bots and workers share. */}}
{{- define "rollback.env" -}}
- name: ROLLBACK_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.store.secret }}
      key: {{ .Values.store.key }}
# With it a container that was restarted knows the one before it for dead, and goes on without waiting for its lease.
- name: ROLLBACK_INSTANCE
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: ROLLBACK_GRACE
  value: {{ printf "%ds" (int .Values.graceSeconds) | quote }}
- name: ROLLBACK_LEASE
  value: {{ .Values.lease | quote }}
- name: ROLLBACK_RENEW
  value: {{ .Values.renew | quote }}
- name: ROLLBACK_LOG_LEVEL
  value: {{ .Values.logLevel | quote }}
- name: ROLLBACK_HEALTH_PORT
  value: "8081"
{{- if .Values.plans.git.repository }}
- name: ROLLBACK_PLANS
  value: {{ printf "/plans/current/%s" .Values.plans.git.folder | quote }}
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Probes, the stop and what a container may do. */}}
{{- define "rollback.container" -}}
image: {{ include "rollback.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
# Migrations run before a process is ready, and the others wait for them; it lives meanwhile.
startupProbe:
  httpGet: {path: /live, port: health}
  periodSeconds: 1
  failureThreshold: 60
# Asks for nothing but the event loop: an outage of the store must not kill a worker whose step runs on.
livenessProbe:
  httpGet: {path: /live, port: health}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /ready, port: health}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
lifecycle:
  preStop:
    exec:
      command: [sleep, {{ .Values.preStopSeconds | quote }}]
{{- end }}

{{- define "rollback.mounts" -}}
- {name: site, mountPath: /etc/rollback, readOnly: true}
- {name: plans, mountPath: /plans, readOnly: true}
- {name: data, mountPath: /var/lib/rollback-bot}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "rollback.volumes" -}}
- name: site
  configMap:
    name: {{ include "rollback.siteConfigMap" . }}
- name: plans
{{- if .Values.plans.configMap }}
  configMap:
    name: {{ .Values.plans.configMap }}
{{- else if .Values.plans.claim }}
  persistentVolumeClaim:
    claimName: {{ .Values.plans.claim }}
    readOnly: true
{{- else }}
  emptyDir: {}
{{- end }}
- name: data
  emptyDir: {}
- name: tmp
  emptyDir: {}
{{- with .Values.plans.git }}
{{- if .repository }}
- name: git-tmp
  emptyDir: {}
{{- if .sshSecret }}
- name: git-key
  secret:
    secretName: {{ .sshSecret }}
    defaultMode: 0400
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The sidecar starts before the process does: its startup probe passes with the first checkout. */}}
{{- define "rollback.checkout" -}}
{{- with .Values.plans.git }}
{{- if .repository -}}
- name: plans
  image: {{ .image | quote }}
  restartPolicy: Always
  args:
    - --repo={{ .repository }}
    - --ref={{ .ref }}
    - --root=/plans
    - --link=current
    - --period={{ .period }}
    - --http-bind=:8082
    {{- if .sshSecret }}
    - --ssh-key-file=/etc/git-secret/ssh
    - --ssh-known-hosts-file=/etc/git-secret/known_hosts
    {{- end }}
  securityContext:
    # git-sync's own user, which its image knows; ssh asks who it is.
    runAsUser: 65533
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop: [ALL]
  startupProbe:
    httpGet: {path: /, port: 8082}
    periodSeconds: 2
    failureThreshold: 60
  resources:
    requests: {cpu: 10m, memory: 32Mi}
    limits: {memory: 256Mi}
  volumeMounts:
    - {name: plans, mountPath: /plans}
    - {name: git-tmp, mountPath: /tmp}
    {{- if .sshSecret }}
    - {name: git-key, mountPath: /etc/git-secret, readOnly: true}
    {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What every pod has: how it ends, where it runs. Takes root, component labels and the component's values. */}}
{{- define "rollback.pod" -}}
{{- $root := .root -}}
terminationGracePeriodSeconds: {{ add (int $root.Values.graceSeconds) (int $root.Values.preStopSeconds) 20 }}
securityContext:
  {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $.labels | nindent 8 }}
  {{- end }}
{{- end }}

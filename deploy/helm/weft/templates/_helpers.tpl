{{- /* Of (dict "root" $ "name" NAME). */ -}}
{{- define "weft.labels" -}}
{{ include "weft.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: weft
{{- end }}

{{- define "weft.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- /* Where both DaemonSets' pods run, and before whom. */ -}}
{{- define "weft.placement" -}}
priorityClassName: {{ .Values.priorityClassName }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
tolerations:
  {{- toYaml .Values.tolerations | nindent 2 }}
{{- end }}

{{- define "weft.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* HOST PORT of the API server: what the values say, or where the Service default/kubernetes leads now. */ -}}
{{- define "weft.apiServer" -}}
{{- $host := .Values.k8sServiceHost -}}
{{- $port := .Values.k8sServicePort -}}
{{- if not $host -}}
  {{- range (lookup "discovery.k8s.io/v1" "EndpointSlice" "default" "").items -}}
    {{- if and (not $host) (eq "kubernetes" (get .metadata.labels "kubernetes.io/service-name")) .endpoints -}}
      {{- $host = (first (first .endpoints).addresses) -}}
      {{- $port = $port | default (first .ports).port -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- required "k8sServiceHost is needed: the address of the API server, which agents reach before there are any Services (--set k8sServiceHost=ADDRESS --set k8sServicePort=PORT)" $host }} {{ $port | default 6443 }}
{{- end }}

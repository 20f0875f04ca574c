{{- define "weft.labels" -}}
app.kubernetes.io/name: weft
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "weft.selector" -}}
app.kubernetes.io/name: weft
app.kubernetes.io/instance: {{ .Release.Name }}
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

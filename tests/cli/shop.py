"""Manifests that several tests of the command line use."""

from __future__ import annotations

POLICY = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: server}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: friend}}]
    toPorts: [{ports: [{port: "8080", protocol: TCP}]}]
  - icmps: [{fields: [{type: 8, family: IPv4}]}]
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: server}
  ports:
  - {name: http, port: 80, targetPort: 8080, protocol: TCP}
"""
EDGES = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: friend}
spec:
  endpointSelector: {matchLabels: {app: friend}}
  egress:
  - toEntities: [host]
  - toCIDRSet: [{cidr: 203.0.113.0/24, except: [203.0.113.64/26]}]
    toPorts: [{ports: [{port: "443"}]}]
  - toEndpoints: [{}]
  egressDeny:
  - toEndpoints: [{matchLabels: {app: evil}}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: evil}
spec:
  endpointSelector: {matchLabels: {app: evil}}
  ingressDeny:
  - fromEntities: [world]
  - fromEndpoints: [{matchLabels: {app: stranger}}]
  ingress:
  - fromEntities: [all]
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, command: [sleep, "1000"]}
"""

"""The cluster's DNS: an ordinary pod (``system.py``) that serves a zone file (``zone.py``) which the agent writes.

Records are those of the Kubernetes DNS-Based Service Discovery specification, version 1.1.0
(github.com/kubernetes/dns, docs/specification.md); the rest goes to upstream servers. It needs no agent to answer.
"""

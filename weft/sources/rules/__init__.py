"""What Kubernetes' API server checks beyond types, per kind: each module's ``check(obj, Check)`` collects errors."""

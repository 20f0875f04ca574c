"""Kubernetes as the source: what an API server says, as edits of the world.

```
  API server ──list, watch──► Reflector (one per resource) ──► Table (objects → values of the world)
      ▲                                                             │ keys whose value is another one
      │ status, Events (the leader alone)                           ▼
  StatusWriter ◄── conditions, what is refused ─────────── KubernetesSource ──► on_edits, one call per batch
```

An API server out of reach leaves what it said last in force, and nothing counts as deleted but what it says is.
"""

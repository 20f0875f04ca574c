"""What the runtime can say of a pod that it cannot run."""

from __future__ import annotations


class PodError(RuntimeError):
    """A pod cannot be prepared, started or found; the text names the pod, the cause and the remedy."""

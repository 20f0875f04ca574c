"""``apps/v1`` manifests: Deployment."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from weft.model.kinds.core import PodTemplateSpec
from weft.model.kinds.marks import ignored, refused
from weft.model.kinds.meta import LabelSelectorShape, ObjectMeta, Strict


class RollingUpdate(Strict, frozen=True):
    """Numbers, or percentages such as ``25%`` of ``replicas`` (surge rounds up, unavailable rounds down)."""

    max_surge: int | str = "25%"
    max_unavailable: int | str = "25%"


class DeploymentStrategy(Strict, frozen=True):
    type: Literal["RollingUpdate", "Recreate"] = "RollingUpdate"
    rolling_update: RollingUpdate = RollingUpdate()


class DeploymentSpec(Strict, frozen=True):
    """``selector`` must match the template's labels (checked) and may not change."""

    selector: LabelSelectorShape
    template: PodTemplateSpec
    replicas: Annotated[int, Meta(ge=0)] = 1
    strategy: DeploymentStrategy = DeploymentStrategy()
    min_ready_seconds: Annotated[Any, ignored("a pod counts as soon as it is ready")] = None
    revision_history_limit: Annotated[Any, ignored("weft keeps no old revisions")] = None
    progress_deadline_seconds: Annotated[Any, ignored("weft keeps trying")] = None
    paused: Annotated[Any, refused("apply the change when it is meant to happen")] = None


class Deployment(Strict, frozen=True):
    api_version: str
    kind: str
    metadata: ObjectMeta
    spec: DeploymentSpec
    status: Any = None

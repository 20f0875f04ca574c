"""Names of policies: what Kubernetes asks of them."""

from __future__ import annotations

import re

from weft.model.kinds.meta import ObjectMeta
from weft.policy.spot import Spot

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def policy_name(metadata: ObjectMeta, spot: Spot) -> str:
    """metadata.name, which must be there and be a DNS name (RFC 1123). Raises ManifestError."""
    if not metadata.name:
        raise spot.at("metadata").error("metadata.name is missing", "give the policy a name")
    if len(metadata.name) > 253 or not _SUBDOMAIN.fullmatch(metadata.name):
        raise spot.at("metadata", "name").error(
            f'"{metadata.name}" is not an object name', "expected lower-case letters, digits, - and ."
        )
    return metadata.name

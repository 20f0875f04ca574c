"""core/v1 Events: what ``kubectl describe`` shows of an object that weft refuses. Pure."""

from __future__ import annotations

import hashlib
from datetime import datetime

from weft.sources.kubernetes.complaints import Complaint
from weft.sources.objects import Json
from weft.sources.status import timestamp

COMPONENT = "weft"
_LONGEST = 1000
"""Characters of a message; the API has a limit of 1 KiB."""
_NOWHERE = "default"
"""Where Events on objects without a namespace go."""


def folder(complaint: Complaint) -> str:
    return f"/api/v1/namespaces/{complaint.object.key.namespace or _NOWHERE}/events"


def name(complaint: Complaint) -> str:
    """The same for the same complaint, whoever writes it."""
    about = "\0".join((complaint.object.uid, complaint.reason, complaint.message))
    return f"{complaint.object.key.name[:200]}.{hashlib.sha256(about.encode()).hexdigest()[:16]}"


def event(complaint: Complaint, node: str, now: datetime) -> Json:
    """The first of its kind."""
    key, moment = complaint.object.key, timestamp(now)
    place = {"namespace": key.namespace} if key.namespace else {}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name(complaint), "namespace": key.namespace or _NOWHERE},
        "involvedObject": {
            "apiVersion": complaint.object.api_version,
            "kind": key.kind,
            "name": key.name,
            "uid": complaint.object.uid,
            **place,
        },
        "reason": complaint.reason,
        "message": complaint.message[:_LONGEST],
        "type": "Warning" if complaint.warning else "Normal",
        "count": 1,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "source": {"component": COMPONENT, "host": node},
        "reportingComponent": COMPONENT,
        "reportingInstance": node,
    }


def again(now: datetime) -> Json:
    """A merge patch of one that is there; the answer has its count, so that nobody needs the right to read Events."""
    return {"lastTimestamp": timestamp(now)}

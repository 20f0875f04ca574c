"""Marks on manifest fields that Kubernetes has and weft does not honour; ``weft.sources.check`` acts on them.

``Annotated[Any, ignored("why")]``: accepted, with a warning. ``Annotated[Any, refused("what to do instead")]``: an
error unless the value asks for nothing (absent, null, false, 0, "", []). Nothing is passed over in silence.
"""

from __future__ import annotations

import msgspec

IGNORED, REFUSED = "ignored", "refused"


def ignored(why: str) -> msgspec.Meta:
    return msgspec.Meta(extra={IGNORED: why})


def refused(why: str) -> msgspec.Meta:
    return msgspec.Meta(extra={REFUSED: why})

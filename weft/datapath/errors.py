"""What the datapath says when the kernel says no: object, cause, remedy."""

from __future__ import annotations

import errno
import os


class DatapathError(Exception):
    """``what`` could not be done to an object, because of ``cause``; ``remedy`` says what to do about it."""

    def __init__(self, what: str, cause: str | int, remedy: str = "") -> None:
        self.errno = cause if isinstance(cause, int) else 0
        if isinstance(cause, int):
            cause = f"{errno.errorcode.get(cause, cause)} ({os.strerror(cause)})"
            if not remedy and self.errno in (errno.EPERM, errno.EACCES):
                remedy = "needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN"
        self.what, self.cause, self.remedy = what, cause, remedy
        super().__init__(f"{what}: {cause}" + (f"; {remedy}" if remedy else ""))


class CapacityError(DatapathError):
    """A plan does not fit a map. Raised before anything was written."""


class FeatureError(DatapathError):
    """The kernel or the machine lacks what weft needs."""

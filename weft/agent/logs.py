"""What the agent says: lines for people, or a JSON object each for what collects logs."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

FORMATS = ("text", "json")


class JsonLines(logging.Formatter):
    """``time`` (RFC 3339), ``level``, ``logger``, ``message``, and ``error`` with the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up(form: str, debug: bool) -> None:
    """To standard error. ``form``: one of FORMATS."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if form == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("weft").setLevel(logging.DEBUG if debug else logging.INFO)
    for library in ("httpx2", "uvicorn"):  # a line for each request; what a server does when it begins
        logging.getLogger(library).setLevel(logging.WARNING)

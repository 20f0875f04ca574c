"""What several commands share: the client, output, names of things on the command line, texts of manifests."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weft.api.client import Client
from weft.cli.arguments import UsageError


def client(timeout: float = 60) -> Client:
    return Client(os.environ.get("WEFT_NODE") or None, timeout)


def emit_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def split_name(text: str, namespace: str) -> tuple[str, str]:
    """``ns/name``, ``pod/name`` or ``name`` (the latter two in ``namespace``)."""
    left, slash, right = text.partition("/")
    if not right and slash:
        raise UsageError(f"{text}: expected NAME or NAMESPACE/NAME")
    if left in ("pod", "pods", "po"):
        return namespace, right or left
    return (left, right) if slash else (namespace, text)


def kinds_and_names(words: Sequence[str]) -> dict[str, list[str]]:
    """As kubectl reads them: ``KIND NAME...`` or ``KIND/NAME...``."""
    found: dict[str, list[str]] = {}
    if "/" not in words[0]:
        if any("/" in word for word in words):
            raise UsageError("expected KIND NAME... or KIND/NAME..., not both")
        return {words[0]: list(words[1:])}
    for word in words:
        kind, slash, name = word.partition("/")
        if not (kind and slash and name):
            raise UsageError(f"{word}: expected KIND/NAME, as in the words before it")
        found.setdefault(kind, []).append(name)
    return found


def read_sources(filenames: Sequence[str], recursive: bool) -> list[dict[str, str]]:
    """Texts of manifests with the names that people will see in errors: ``[{"file": ..., "text": ...}]``."""
    sources = []
    for filename in filenames:
        if filename == "-":
            sources.append({"file": "<stdin>", "text": _text(filename, sys.stdin.buffer.read())})
            continue
        path = Path(filename)
        for file in _files(path, recursive) if path.is_dir() else [path]:
            try:
                sources.append({"file": str(file), "text": _text(str(file), file.read_bytes())})
            except OSError as error:
                raise UsageError(f"{file}: {error.strerror}") from None
    return sources


def _files(folder: Path, recursive: bool) -> list[Path]:
    found = sorted(folder.rglob("*") if recursive else folder.glob("*"))
    files = [file for file in found if file.suffix in (".yaml", ".yml", ".json") and file.is_file()]
    if not files:
        raise UsageError(
            f"{folder}: no .yaml, .yml or .json file in this folder{'' if recursive else '; -R looks deeper'}"
        )
    return files


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not UTF-8: {error.reason} at byte {error.start}") from None

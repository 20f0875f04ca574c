"""Golden cases: tests/golden/manifests/<case>/input.yaml → what is stored, or every message of what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.sources.builders import open_store
from weft.model.origin import ManifestError
from weft.sources.decode import decode_all
from weft.sources.yaml import parse

CASES = sorted((Path(__file__).parent.parent / "golden/manifests").iterdir())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_manifest_is_accepted_or_refused_as_written_down(
    case: Path, golden: Callable[[Path, str], None], tmp_path: Path
) -> None:
    golden(case / "expected.txt", outcome((case / "input.yaml").read_text(), tmp_path))


def outcome(text: str, folder: Path) -> str:
    try:
        resources, notices = decode_all(parse(text, "input.yaml"))
    except ManifestError as error:
        return str(error)
    store = open_store(folder)
    lines = [f"warning: {notice}" for notice in notices]
    for applied in store.apply(resources):
        resource = applied.stored.resource
        lines.append(f"{resource.key} {applied.action.value}, from {resource.origin.at()}")
        lines.append(f"  {msgspec.json.encode(resource.raw, order='sorted').decode()}")
    store.close()
    return "\n".join(lines)

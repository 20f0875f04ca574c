"""What a Ginkgo suite said about each of its specs, from its JSON report (``--ginkgo.json-report``)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PASSED, FAILED, LEFT_OUT = "passed", "failed", "left out"


@dataclass(frozen=True)
class Result:
    """``reason``: why a spec failed or was left out; of several lines."""

    name: str
    outcome: str
    reason: str = ""
    seconds: float = 0.0


def results(report: Path, focus: str, skips: Mapping[str, str]) -> list[Result]:
    """One for each spec that ``focus`` names. ``skips``: pattern of a spec's name: why it is left out.

    What failed outside of any spec (a suite that could not be set up) is a result, too.
    """
    suites = json.loads(report.read_text())
    specs = [spec for suite in suites for spec in suite["SpecReports"] or ()]
    found = (_result(spec, focus, skips) for spec in specs)
    return sorted((one for one in found if one), key=lambda one: one.name)


def _result(spec: Mapping[str, Any], focus: str, skips: Mapping[str, str]) -> Result | None:
    name = _name(spec)
    state, said = spec["State"], spec.get("Failure", {}).get("Message", "")
    if spec["LeafNodeType"] != "It":
        return None if state in ("passed", "skipped") else Result(name, FAILED, said or state)
    if not re.search(focus, name):
        return None
    seconds = spec["RunTime"] / 1e9
    if state == "passed":
        return Result(name, PASSED, seconds=seconds)
    if state in ("skipped", "pending"):
        return Result(name, LEFT_OUT, said or skipped_by(name, skips) or state)
    return Result(name, FAILED, said or state, seconds)


def _name(spec: Mapping[str, Any]) -> str:
    """As ``--ginkgo.focus`` sees it; labels are part of the texts already."""
    return (
        " ".join(filter(None, [*(spec["ContainerHierarchyTexts"] or ()), spec["LeafNodeText"]])) or spec["LeafNodeType"]
    )


def skipped_by(name: str, skips: Mapping[str, str]) -> str:
    """Why a spec is left out; empty: it is not."""
    return next((reason for pattern, reason in skips.items() if re.search(pattern, name)), "")

"""Other projects' suites: what is read from their reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cluster.upstream import kubernetes
from cluster.upstream.ginkgo import FAILED, LEFT_OUT, PASSED, Result, results


def spec(texts: list[str], leaf: str, state: str, said: str = "", kind: str = "It") -> dict[str, Any]:
    failure = {"Failure": {"Message": said}} if said else {}
    return {
        "ContainerHierarchyTexts": texts or None,
        "LeafNodeType": kind,
        "LeafNodeText": leaf,
        "State": state,
        "RunTime": 2_000_000_000,
        **failure,
    }


def read(folder: Path, *specs: dict[str, Any]) -> list[Result]:
    report = folder / "report.json"
    report.write_text(json.dumps([{"SpecReports": specs}]))
    return results(report, r"\[net\]", {"NodePort": "not here"})


def test_each_spec_of_the_focus_has_an_outcome_and_what_is_left_out_a_reason(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        spec(["[net] Services"], "pass", "passed"),
        spec(["[net] Services"], "fail", "failed", "expected 1\ngot 2"),
        spec(["[net] Services"], "hang", "timedout"),
        spec(["[net] Services"], "by NodePort", "skipped"),
        spec(["[net] Services"], "wants zones", "skipped", "needs 3 zones"),
        spec(["[apps] Jobs"], "other", "skipped"),
    )
    assert {(one.name, one.outcome, one.reason) for one in found} == {
        ("[net] Services pass", PASSED, ""),
        ("[net] Services fail", FAILED, "expected 1\ngot 2"),
        ("[net] Services hang", FAILED, "timedout"),
        ("[net] Services by NodePort", LEFT_OUT, "not here"),
        ("[net] Services wants zones", LEFT_OUT, "needs 3 zones"),
    }
    assert {one.seconds for one in found if one.outcome == PASSED} == {2.0}


def test_a_suite_that_could_not_be_set_up_has_failed(tmp_path: Path) -> None:
    before = spec([], "", "failed", "no nodes", kind="SynchronizedBeforeSuite")
    after = spec([], "", "passed", kind="ReportAfterSuite")
    assert read(tmp_path, before, after) == [Result("SynchronizedBeforeSuite", FAILED, "no nodes")]


def test_the_newest_of_an_image_is_the_newest() -> None:
    names = ["x/agnhost:2.6", "x/agnhost:2.63.0", "x/agnhost:2.55"]
    assert sorted(names, key=kubernetes.version)[-1] == "x/agnhost:2.63.0"

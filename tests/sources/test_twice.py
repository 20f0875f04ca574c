"""One object given twice."""

from __future__ import annotations

import pytest

from weft.model.origin import ManifestError
from weft.sources.decode import decode_all
from weft.sources.yaml import parse

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{ports: [{{port: {port}}}]}}
"""


def test_of_two_files_the_later_one_counts_and_says_so() -> None:
    given = [*parse(SERVICE.format(port=80), "a.yaml"), *parse(SERVICE.format(port=81), "b.yaml")]
    resources, notices = decode_all(given)
    assert [resource.raw["spec"]["ports"][0]["port"] for resource in resources] == [81]
    assert [str(each) for each in notices] == ["b.yaml:4: metadata.name: takes the place of the one in a.yaml:2"]


def test_within_a_file_it_is_a_mistake() -> None:
    given = parse(SERVICE.format(port=80) + "---" + SERVICE.format(port=81), "a.yaml")
    with pytest.raises(ManifestError, match="is there twice"):
        decode_all(given)

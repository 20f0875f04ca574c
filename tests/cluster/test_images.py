"""The cache of images: what is used stays."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from cluster import images

NAME = "weft.test/cached:1"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(images, "STATE", tmp_path / "clusters")
    return tmp_path / "clusters"


def made(content: str) -> Path:
    return images.build_image(NAME, {"/content": content.encode()})


def last_used(tar: Path, hours_ago: float) -> None:
    used = time.time() - hours_ago * 3600
    os.utime(tar, (used, used))


def test_old_images_go_but_not_those_that_somebody_wants(state: Path) -> None:
    old, clusters, asked, lately = map(made, "abcd")
    other = images.build_image("weft.test/cached-too:1", {"/content": b"a"})
    for tar, hours in ((old, 9), (clusters, 8), (asked, 7), (lately, 0.5), (other, 99)):
        last_used(tar, hours)
    (state / "up").mkdir(parents=True)
    (state / "up" / "cluster.json").write_text(json.dumps({"nodes": [1], "images": [str(clusters)]}))
    assert made("c") == asked
    newest = made("e")
    assert not old.exists()
    assert all(tar.exists() for tar in (clusters, asked, lately, newest, other))
    last_used(asked, 2)
    last = made("f")
    assert not asked.exists()
    assert all(tar.exists() for tar in (clusters, lately, newest, last, other))
    (state / "up" / "cluster.json").unlink()
    made("g")
    assert not clusters.exists()


def test_an_image_that_is_there_is_used(state: Path) -> None:
    tar = made("a")
    last_used(tar, 9)
    number = tar.stat().st_ino
    assert made("a") == tar
    assert tar.stat().st_ino == number and time.time() - tar.stat().st_mtime < 3600

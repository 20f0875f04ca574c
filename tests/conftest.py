"""What every test may use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.lab.waiting import SLOWNESS

# A guest's CPU is emulated: that it makes inputs slowly says nothing of the strategy.
settings.register_profile("slow machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if SLOWNESS > 1:
    settings.load_profile("slow machine")

pytest_plugins = ["tests.lab.fixtures", "tests.lab.kubernetes"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the expected files of the golden cases")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """``golden(file, text)``: the file holds exactly this text; with --update-golden it does afterwards."""

    def check(file: Path, text: str) -> None:
        text = text.rstrip("\n") + "\n"
        if request.config.getoption("--update-golden"):
            file.write_text(text)
        assert file.exists(), f"{file} is missing: run pytest --update-golden and read what it writes"
        assert text == file.read_text(), f"{file} differs: run pytest --update-golden and read the difference"

    return check

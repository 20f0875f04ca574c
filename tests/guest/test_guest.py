"""The oldest kernel: Debian 12's own, which has no tcx."""

from __future__ import annotations

import pytest

from tests import guest
from tests.guest.suite import COMPACT, run_tests


def test_a_guest_hands_back_output_and_exit_code() -> None:
    code, output = guest.run("6.1", "uname -r; tc -V >/dev/null && echo tools; touch /work 2>&1; exit 7", 90)
    assert code == 7
    assert output.startswith("6.1.") and "tools" in output
    assert "Read-only file system" in output


def test_a_guest_that_takes_too_long_is_ended() -> None:
    with pytest.raises(guest.GuestError, match="did not end within 1 s"):
        guest.run("6.1", "sleep 100", 1)


def test_policy_services_and_flows_on_the_oldest_kernel() -> None:
    code, output = run_tests("6.1", COMPACT, 900)
    assert code == 0, output

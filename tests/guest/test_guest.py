"""The oldest kernel: Debian 12's own, which has no tcx."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import guest
from tests.guest.suite import COMPACT, run_tests
from tests.lab import until
from tests.lab.tools import ROOT
from tests.lab.waiting import SLOWNESS, NotInTime
from tools.fetch_kernel import kernel_directory


def test_a_guest_hands_back_output_and_exit_code() -> None:
    code, output = guest.run("6.1", "uname -r; tc -V >/dev/null && echo tools; touch /work 2>&1; exit 7", 90)
    assert code == 7
    assert output.startswith("6.1.") and "tools" in output
    assert "Read-only file system" in output


def test_a_guest_that_takes_too_long_is_ended() -> None:
    with pytest.raises(guest.GuestError, match="did not end within 1 s"):
        guest.run("6.1", "sleep 100", 1)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_guest_ends_with_who_started_it(how: signal.Signals, tmp_path: Path) -> None:
    """No emulator is left, and no folder if there was time to remove it."""
    kernel_directory("6.1")  # fetched once, which may take its time
    program = "from tests import guest; guest.run('6.1', 'sleep 1000', 1000)"
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) as run:
        try:
            emulator = until(lambda: _emulator(run.pid), "the emulator runs", 60)
            run.send_signal(how)
            assert run.wait(60 * SLOWNESS)
        finally:
            run.kill()
    try:
        until(lambda: not Path("/proc", emulator).exists(), "the emulator is gone", 60)
    except NotInTime:
        os.kill(int(emulator), signal.SIGKILL)
        raise
    assert list(tmp_path.iterdir()) == [] or how is signal.SIGKILL


def _emulator(parent: int) -> str:
    """The number of the emulator's process; empty: there is none yet."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return next((one for one in children if Path("/proc", one, "comm").read_text().startswith("qemu")), "")


def test_policy_services_and_flows_on_the_oldest_kernel() -> None:
    code, output = run_tests("6.1", COMPACT, 900)
    assert code == 0, output

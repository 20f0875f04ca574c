"""Boot a guest kernel, run one command in it, hand back its exit code and output."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from tools.fetch_kernel import META_PACKAGES, ROOT, cpio, kernel_directory

VERSIONS = tuple(META_PACKAGES)
BOOT_SCRIPT = Path(__file__).with_name("boot.sh")


class GuestError(RuntimeError):
    """The guest did not come to the end of its command: with what it and its kernel said last."""


def run(version: str, command: str, timeout: float, memory: str = "2G", log: Path | None = None) -> tuple[int, str]:
    """Run a shell command in a freshly booted guest; the exit code of the command, and its stdout and stderr together.

    ``timeout`` in seconds covers boot (4–6 s) and command. The output goes to ``log`` as it comes. Raises
    GuestError when the guest does not boot, crashes or takes too long, FetchError when there is no such kernel.
    """
    directory = kernel_directory(version)
    token = uuid.uuid4().hex
    with _interrupted_by_sigterm(), tempfile.TemporaryDirectory(prefix="weft-guest-") as scratch:
        initrd, console = Path(scratch) / "initrd.cpio", Path(scratch) / "console"
        base = (directory / "initrd.cpio").read_bytes()
        script = f"cd {ROOT}\n{command}\n"
        initrd.write_bytes(base + cpio({"command": (0o755, script.encode())}))
        arguments = _qemu(directory, initrd, console, token, memory)
        null, pipe = subprocess.DEVNULL, subprocess.PIPE
        with subprocess.Popen(arguments, stdin=null, stdout=pipe, stderr=subprocess.STDOUT) as qemu:
            try:
                output, in_time = _read(qemu, time.monotonic() + timeout, log or Path(os.devnull))
            finally:
                qemu.kill()
        late = "" if in_time else f" within {timeout:.0f} s"
        return _outcome(output, token, console, f"{version}: {command!r}", late)


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM is as Ctrl-C here, so that it leaves nothing behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _qemu(directory: Path, initrd: Path, console: Path, token: str, memory: str) -> list[str]:
    kernel_line = (
        "console=ttyS0 loglevel=4 panic=-1 rdinit=/init random.trust_cpu=on mitigations=off "
        # On a busy host the emulated clock has too few turns for the kernel's check of it, which would stop there.
        "tsc=reliable no_timer_check "
        f"WEFT_TOKEN={token} WEFT_BOOT={BOOT_SCRIPT} WEFT_KERNEL={directory}"
    )
    return [
        "setpriv", "--pdeathsig", "KILL",  # it does not outlive us, whatever ends us
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", memory,
        "-display", "none", "-monitor", "none", "-no-reboot", "-nodefaults",
        "-serial", f"file:{console}", "-serial", "stdio",
        "-kernel", str(directory / "vmlinuz"), "-initrd", str(initrd), "-append", kernel_line,
        "-virtfs", "local,path=/,mount_tag=host,security_model=none,multidevs=remap,readonly=on",
        "-device", "virtio-rng-pci",
    ]  # fmt: skip


def _read(qemu: subprocess.Popen[bytes], deadline: float, log: Path) -> tuple[str, bool]:
    """All that the guest writes until it ends (True) or the deadline passes (False)."""
    assert qemu.stdout is not None
    collected = bytearray()
    with log.open("wb", buffering=0) as copy:
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([qemu.stdout], [], [], left)[0]:
                break
            block = os.read(qemu.stdout.fileno(), 65536)
            if not block:
                return collected.decode(errors="replace"), True
            collected += block
            copy.write(block)
    return collected.decode(errors="replace"), False


def _outcome(output: str, token: str, console: Path, what: str, late: str) -> tuple[int, str]:
    report = re.search(rf"\n{token} exit (\d+)\n", output)
    if report:
        return int(report[1]), output[: report.start()]
    said = console.read_text(errors="replace") if console.exists() else ""
    raise GuestError(f"guest {what} did not end{late}; its output:\n{output[-4000:]}\nits kernel:\n{said[-4000:]}")

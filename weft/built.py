"""Where the compiled parts are: inside an installed package, or in the build folder of a clone."""

from __future__ import annotations

from pathlib import Path


def built(name: str) -> Path:
    """``bpf/weft.bpf.o`` or ``weft-shim``, as the build folder has them."""
    package = Path(__file__).parent
    installed = package / "_built" / Path(name).name
    return installed if installed.exists() else package.parent / "build" / name

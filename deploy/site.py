"""What of weft's image is Python's: ``python3 -m deploy.site dependencies|weft FOLDER``.

`make image` and image/Dockerfile both have it from here. Nothing is imported but the standard library.
"""

from __future__ import annotations

import compileall
import py_compile
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILT = ("bpf/weft.bpf.o", "weft-shim", "weft-cni")
UNUSED = ("grpc", "bin")
"""What dependencies bring and nothing of weft's uses (grpc: xds-protos asks for it, but only its stubs import it)."""


class ImageError(RuntimeError):
    """The image cannot be made; says why, and what to do."""


def requirements() -> list[str]:
    """weft's dependencies, as pip wants them."""
    return list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])


def dependencies(folder: Path) -> None:
    """Install weft's dependencies (Envoy among them) into a new folder. Errors: ImageError."""
    run(
        sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile",
        "--target", str(folder), "-c", str(ROOT / "constraints.txt"), *requirements(),
    )  # fmt: skip
    for unused in UNUSED:
        shutil.rmtree(folder / unused, ignore_errors=True)
    _compile(folder)


def package() -> dict[str, Path]:
    """weft's files by their place in the package, as `make wheel` packs them. Errors: ImageError."""
    files = {str(file.relative_to(ROOT / "weft")): file for file in sorted((ROOT / "weft").rglob("*.py"))}
    files |= {f"_built/{Path(part).name}": ROOT / "build" / part for part in BUILT}
    for file in files.values():
        if not file.exists():
            raise ImageError(f"{file} is not there yet: run `make build`")
    return files


def weft(folder: Path) -> None:
    """Copy the package into a folder of that name. Errors: ImageError."""
    for place, file in package().items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, folder / place)
    _compile(folder)


def run(*argv: str) -> None:
    """Run a program to its end. Errors: ImageError, with what it said."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageError(f"{' '.join(argv[:3])} …: {(done.stderr or done.stdout).strip()[-2000:]}")


def _compile(folder: Path) -> None:
    """Byte code that holds whatever a file's time is: the image's root is read-only, and its files have none."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(folder, quiet=2, invalidation_mode=mode, stripdir=str(folder))


if __name__ == "__main__":
    try:
        {"dependencies": dependencies, "weft": weft}[sys.argv[1]](Path(sys.argv[2]))
    except ImageError as error:
        sys.exit(f"deploy.site: {error}")

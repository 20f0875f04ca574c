"""``python -m deploy.image [FILE]``: writes weft's image as an OCI tar (default: build/weft-image.tar)."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from cluster.build import BuildError
from deploy.image import build, name
from deploy.site import ROOT, ImageError


def main(words: list[str]) -> int:
    """Exit code."""
    target = Path(words[0]) if words else ROOT / "build" / "weft-image.tar"
    started = time.monotonic()
    try:
        image = build()
    except (ImageError, BuildError, OSError) as error:
        print(f"deploy.image: {error}", file=sys.stderr)
        return 1
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(image, target)
    size, seconds = target.stat().st_size / 1e6, time.monotonic() - started
    print(f"{target}: {name()}, {size:.0f} MB, in {seconds:.0f} s")
    print(f"  ctr -n k8s.io images import {target}    on every node; or docker load, or push it to your registry")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

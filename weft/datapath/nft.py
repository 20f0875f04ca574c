"""nftables, in the network namespace of the caller."""

from __future__ import annotations

import subprocess

from weft.datapath.errors import DatapathError, FeatureError

TABLE = "weft"
"""The table (inet) of the node's masquerade."""


def run(script: str) -> None:
    """Carry out a script in one transaction. Errors: DatapathError, FeatureError."""
    try:
        done = subprocess.run(["nft", "-f", "-"], input=script, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise FeatureError("nftables", "the program nft was not found", "install nftables") from error
    if done.returncode:
        raise DatapathError(
            f"write nftables table inet {TABLE}", done.stderr.strip(), "the kernel needs nftables with NAT"
        )

"""Test suites of other projects, unmodified, against weft on a cluster: ``python -m cluster.upstream kubernetes|gateway``.

A module for each project, with ``main(argv) -> int``: builds the suite from its Go module, brings a cluster with weft up,
runs what is selected, prints what passed, failed and was left out (with the reason), and cleans up. 0 only if nothing failed.
"""

"""Other projects' test suites, unmodified, against weft on a cluster: ``python -m cluster.upstream SUITE``.

A module for each, with ``main(argv) -> int``: it builds the suite from its Go module, brings a cluster with weft up,
runs what is selected, prints what passed, failed and was left out with the reason, and cleans up. 0: all passed.
"""

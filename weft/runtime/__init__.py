"""Runs Pods in the embedded mode: network namespace, cgroup and supervisor per pod; addresses, probes, DNS.

Pods outlive the agent. What the agent must know of them after its own death is in the run directory (``pods.py``), and
whether a supervisor lives is told by the kernel (a lock that it holds), never by a number in a file.
"""

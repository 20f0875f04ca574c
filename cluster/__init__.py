"""A real Kubernetes on one machine: nodes are namespaces, every program is the real one. See ``Cluster``."""

from cluster.cluster import Cluster
from cluster.node import Node

__all__ = ["Cluster", "Node"]

"""A node out of network namespaces, with the real agent in it, for every test that needs traffic.

    with Lab() as lab:
        lab.apply(YAML)
        server = lab.serve("server", "tcp:8080", labels={"app": "server"})
        client = lab.run("client", [*PAUSE], labels={"app": "client"})
        assert client.probe("tcp", server.v4, 8080).outcome == "open"

Tests take the fixture ``lab`` (one node for a whole session; every test gets it emptied) or ``own_lab`` (a node of its
own, for tests that kill or fill it). Names carry the process's number and a random part, so runs side by side do not
meet.
"""

from tests.lab.lab import Lab
from tests.lab.pods import PAUSE, Pod
from tests.lab.probes import Held, Outcome, Prober, Question
from tests.lab.waiting import NotInTime, until

__all__ = ["PAUSE", "Held", "Lab", "NotInTime", "Outcome", "Pod", "Prober", "Question", "until"]

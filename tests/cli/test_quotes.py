"""explain quotes manifests as they are in force."""

from __future__ import annotations

from tests.cli.shop import POLICY
from tests.lab import Lab


def test_a_long_rule_is_cut_short_and_an_edit_is_followed(lab: Lab) -> None:
    def policy(port: int) -> str:
        head = "# mine\n\n" + POLICY.split("  ingress:")[0].replace("name: server", "name: long") + "  ingress:\n"
        return head + f"  - toPorts:\n    - ports:\n      - port: '{port}'\n        protocol: TCP\n      - port: '81'\n"

    lab.run("server", labels={"app": "server"})
    for number in (80, 82):
        lab.apply(policy(number), "long.yaml")
        said = lab.explain("world", f"server:{number}")["text"]
        quoted = [line.strip() for line in said.splitlines() if " | " in line]
        assert quoted == ["9 | - toPorts:", "10 |   - ports:", f"11 |     - port: '{number}'", "12 | ..."], said

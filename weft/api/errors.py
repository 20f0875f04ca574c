"""What the agent says no with. Apart from the client, whose imports are not the agent's business."""

from __future__ import annotations


class AgentError(Exception):
    """What the agent refused, or why it could not be asked. ``lines`` is what a person should read."""

    def __init__(self, lines: list[str], status: int = 0) -> None:
        self.lines, self.status = lines, status
        super().__init__("\n".join(lines))

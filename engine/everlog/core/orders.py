"""Orders: the topics of the control messages by which others steer a workflow. What they do is the replay's matter."""

from __future__ import annotations

from typing import Final

CANCEL: Final = "cancel"
TERMINATE: Final = "terminate"
PAUSE: Final = "pause"
RESUME: Final = "resume"
ATTRIBUTES: Final = "attributes"
"""Carries a change of attributes as JSON. Its sender waits until it was obeyed, or the workflow has ended."""

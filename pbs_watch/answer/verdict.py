"""The three answers to a lookup, as in Postfix: found, not found, cannot say.

"Not found" never disguises an error (facts/postfix.md, "Results"): whoever cannot know says
``UNKNOWN``, and the mail is tried again instead of being refused.
"""

from __future__ import annotations

import enum


class Verdict(enum.Enum):
    """What is known about one key."""

    FOUND = "found"
    ABSENT = "absent"
    UNKNOWN = "unknown"

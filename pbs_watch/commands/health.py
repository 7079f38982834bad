"""``health``: whether the daemon is well, for supervisors and scripts."""

from __future__ import annotations

import argparse

from pbs_watch.answer.client import NobodyAnswersError
from pbs_watch.commands.settings import settings
from pbs_watch.commands.state import safe_text
from pbs_watch.commands.status import complain, told
from pbs_watch.health import ailments

_WELL, _ILL = 0, 1


def run(arguments: argparse.Namespace) -> int:
    """Print ``well``, or what is wrong, a line each."""
    try:
        state = told(settings(arguments).map)
    except NobodyAnswersError as error:
        complain(error)
        return _ILL
    found = ailments(state)
    for text in found:
        print(safe_text(text))
    if not found:
        print("well")
    return _ILL if found else _WELL

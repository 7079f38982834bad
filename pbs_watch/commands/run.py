"""``run``: the daemon in the foreground."""

from __future__ import annotations

import argparse
import logging
import os
from dataclasses import replace

from pbs_watch.commands.settings import formats_of, settings
from pbs_watch.daemon import Daemon
from pbs_watch.handover import handed_over
from pbs_watch.service import Loaded
from pbs_watch.speaking import speaking
from pbs_watch.supervisor import supervisor_of


def run(arguments: argparse.Namespace) -> int:
    """Follow and answer until SIGTERM or SIGINT."""

    def load() -> Loaded:
        config = settings(arguments)
        if arguments.verbose and config.audit == "off":
            config = replace(config, audit="text")
        return Loaded.of(config, formats_of(config))

    with speaking(logging.INFO if arguments.verbose else logging.WARNING) as handler:
        Daemon(
            load,
            supervisor=supervisor_of(os.environ),
            handed=handed_over(os.environ),
            flush=handler.write_waiting,
            begin_log=handler.begin,
        ).run()
    return 0

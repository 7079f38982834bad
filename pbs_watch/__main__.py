"""``python -m pbs_watch`` is ``pbs-watch``."""

import sys

from pbs_watch.cli import main

sys.exit(main())

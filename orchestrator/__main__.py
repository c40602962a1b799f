"""``python -m orchestrator`` is ``fairfront``."""

import sys

from orchestrator.cli import main

sys.exit(main())

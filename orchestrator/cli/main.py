"""The way in: it parses, calls, and turns what went wrong into one line.

Ray and torch are imported by the commands that need them, so that ``--help`` is quick.
"""

import os
import sys
from collections.abc import Sequence

from orchestrator.base.errors import InputError
from orchestrator.cli.parser import parse

DONE, FAILED, WRONG_INPUT = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``fairfront``; return the exit code: 0 done, 2 wrong input, 1 anything else."""
    _drop_empty_variables()
    try:
        arguments = parse(argv)
        from orchestrator.cli.commands import COMMANDS

        return COMMANDS[arguments.command_name](arguments)
    except InputError as error:
        print(f"fairfront: {error}", file=sys.stderr)
        return WRONG_INPUT
    except KeyboardInterrupt:
        print("fairfront: interrupted", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _drop_empty_variables() -> None:
    """Take an empty variable of ours or Ray's for one that is not set, as people mean it."""
    for name in [name for name, value in os.environ.items() if not value]:
        if name.startswith(("RAY_", "FAIRFRONT_")):
            del os.environ[name]

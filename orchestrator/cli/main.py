"""The way in: it parses, calls, and turns what went wrong into one line.

Ray and torch are imported by the commands that need them, so that ``--help`` is quick.
"""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from orchestrator.base.errors import InputError, StorageError
from orchestrator.base.files import REFUSALS, reason_of
from orchestrator.base.interrupts import INTERRUPTED
from orchestrator.cli.parser import parse
from orchestrator.deploy.processes import start_server

DONE, FAILED, WRONG_INPUT = 0, 1, 2
OVER_IMAGES = ("predict", "evaluate", "drift")
"""Commands whose processes import what they need while this one does."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``fairfront``; return the exit code.

    It is 0 when all is done, 2 for wrong input, 130 after Ctrl-C, and 1 for anything else.
    """
    _drop_empty_variables()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name, or a letter, that the locale cannot write
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = parse(argv)
        if arguments.command_name in OVER_IMAGES and not os.environ.get("RAY_ADDRESS"):
            start_server()
        from orchestrator.cli.commands import COMMANDS

        return COMMANDS[arguments.command_name](arguments)
    except InputError as error:
        print(f"fairfront: {error}", file=sys.stderr)
        return WRONG_INPUT
    except KeyboardInterrupt:
        print("fairfront: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except StorageError as error:
        print(f"fairfront: {error}", file=sys.stderr)
        return FAILED
    except OSError as error:
        if error.errno not in REFUSALS or error.filename is None:
            raise
        mend = "free space there, or choose another folder that can be written to"
        print(f"fairfront: {error.filename}: {reason_of(error)}; {mend}", file=sys.stderr)
        return WRONG_INPUT


def _drop_empty_variables() -> None:
    """Take an empty variable of ours or Ray's for one that is not set, as people mean it."""
    for name in [name for name, value in os.environ.items() if not value]:
        if name.startswith(("RAY_", "FAIRFRONT_")):
            del os.environ[name]

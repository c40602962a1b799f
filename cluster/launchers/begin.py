"""Begin a command, or go on with it where its run is there: ``python -m cluster.launchers.begin``.

What launches a cluster once more after a failure gives the same words again.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from itertools import pairwise

from orchestrator.base.files import parse_uri

VARIABLE = "FAIRFRONT_COMMAND"
"""Has the command line where none is given: what KubeRay is given passes through two shells."""


def words_to_run(words: Sequence[str]) -> list[str]:
    """Return a command line of fairfront, with ``--resume`` where its run is there already."""
    words = list(words)
    out = _value_of("--out", words)
    goes_on = words[:1] in (["train"], ["sweep"]) and "--resume" not in words
    if goes_on and out is not None and (parse_uri(out) / "config.yaml").exists():
        words.append("--resume")
    return words


def _value_of(option: str, words: Sequence[str]) -> str | None:
    """Return an option's value, the last one given."""
    values = [after for word, after in pairwise(words) if word == option]
    values += [word.partition("=")[2] for word in words if word.startswith(f"{option}=")]
    return values[-1] if values else None


if __name__ == "__main__":
    command = words_to_run(sys.argv[1:] or shlex.split(os.environ.get(VARIABLE, "")))
    print("$ fairfront " + shlex.join(command), flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "orchestrator", *command])

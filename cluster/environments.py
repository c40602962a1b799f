"""What a job runs in: the packages, the Python and the variables, as Ray's ``runtime_env``."""

import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.base.errors import InputError

KINDS = ("none", "pip", "uv")
"""Where packages come from, but for ``image:NAME``: nowhere (what the nodes have), or a lock."""
LOCK = "fairfront-lock.txt"
"""Where uv finds the lock, beside the source tree that it is sent with."""
SETUP_SECONDS = 1800
"""How long packages may take to install; Ray's own 600 are short for torch."""
PYTHON = "FAIRFRONT_PYTHON"
"""Names the interpreter on the head."""

_SECRET = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|KEY|WEBHOOK|FAIRFRONT_TRACK", re.IGNORECASE
)
_IMAGE = re.compile(r"[\w.\-/:@]+", re.ASCII)  # Ray puts it on a shell's command line as it is


class Environment(NamedTuple):
    """What ``--env`` says."""

    kind: str = "none"
    """One of `KINDS`, or ``image``."""
    image: str = ""

    @classmethod
    def parse(cls, word: str) -> "Environment":
        """Read ``none``, ``pip``, ``uv`` or ``image:NAME``; `InputError` for anything else."""
        kind, _, image = word.partition(":")
        if word in KINDS or (kind == "image" and _IMAGE.fullmatch(image)):
            return cls(kind, image)
        mend = "write image:NAME, as image:registry/fairfront:1" if kind == "image" else ""
        raise InputError(f"--env {word}: {mend or 'give pip, uv, none or image:NAME'}")

    def __str__(self) -> str:
        return f"{self.kind}:{self.image}" if self.image else self.kind

    @property
    def takes_tree(self) -> bool:
        """Whether the source tree is sent; Ray gives a container no working directory."""
        return self.kind != "image"

    @property
    def is_locked(self) -> bool:
        """Whether the packages of this machine are installed there."""
        return self.kind in ("pip", "uv")

    @property
    def knows_python(self) -> bool:
        """Whether the job runs by a Python like this one, and not by one that we cannot see."""
        return self.is_locked or (self.kind == "none" and PYTHON not in os.environ)

    def fields(self, lock: Sequence[str]) -> dict[str, Any]:
        """Return what Ray's ``runtime_env`` says of it, given the lock's lines."""
        if self.kind == "pip":
            # Ray lays them over what a node has, and refuses another Ray than that.
            packages = [line for line in lock if not line.startswith("ray==")]
            return {"pip": {"packages": packages}, "config": _PATIENT} if packages else {}
        if self.kind == "uv":
            python = f"{sys.version_info.major}.{sys.version_info.minor}"
            run = f"uv run --isolated --no-project --python {python} --with-requirements {LOCK}"
            return {"py_executable": f"{run} python", "config": _PATIENT}
        return {"image_uri": self.image} if self.image else {}

    def entry_point(self, arguments: Sequence[str]) -> str:
        """Return the shell command of a job.

        ``python`` means the one that Ray has put on the PATH; where it has not, the one on the PATH
        that the head was started with, which on one's own machine is often not the project's. So
        the submitting environment's interpreter is used where the head has it too;
        FAIRFRONT_PYTHON names another.

        Raises
        ------
        InputError
            FAIRFRONT_PYTHON names one, and the environment has its own.
        """
        python = "python"
        if chosen := os.environ.get(PYTHON):
            if self.kind != "none":
                raise InputError(
                    f"{PYTHON}={chosen}: --env {self} has its own Python; unset it, or submit with "
                    "--env none"
                )
            python = shlex.quote(chosen)
        elif self.kind == "none" and sys.prefix != sys.base_prefix:
            # An environment's path does not recur by accident.
            python = f'"$(command -v {shlex.quote(sys.executable)} || echo python)"'
        return f"exec {python} -m orchestrator {shlex.join(arguments)}"


_PATIENT = {"setup_timeout_seconds": SETUP_SECONDS}


def parse_variables(words: Iterable[str]) -> dict[str, str]:
    """Read ``NAME=VALUE``, and ``NAME`` alone, which has its value from this environment.

    Raises
    ------
    InputError
        A name that is none, or one alone that is not set here.
    """
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            shown = name if equals else word
            raise InputError(f"--env-var {shown}: give NAME=VALUE, or NAME alone if it is set here")
        if not equals:
            if name not in os.environ:
                raise InputError(f"--env-var {name}: not set here; set it, or give {name}=VALUE")
            value = os.environ[name]
        found[name] = value
    return found


def parse_pairs(words: Iterable[str]) -> dict[str, str]:
    """Read the ``KEY=VALUE`` of ``--metadata``; `InputError` for what is none."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise InputError(f"--metadata {word}: give KEY=VALUE")
        found[key] = value
    return found


def without_secrets(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that may be shown and kept: no token, key, password or URL with one."""
    return {
        name: value
        for name, value in variables.items()
        if not _SECRET.search(name) and without_passwords(value) == value
    }


def without_passwords(command: str) -> str:
    """Return a command line with the passwords of its URLs hidden."""
    hidden = re.sub(r"(://[^/\s:@']*):[^/\s']*@", r"\1:***@", command)
    return re.sub(r"([?&]password=)[^&\s']*", r"\1***", hidden)

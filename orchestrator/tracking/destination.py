"""Where runs are told of, and by whom: the one place for a tracker."""

import hashlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, NamedTuple
from urllib.parse import unquote

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, one_line, read_json, write_json
from orchestrator.run.claims import part_held
from orchestrator.run.directory import Run
from orchestrator.tracking import mlflow_tracker, wandb_tracker
from orchestrator.tracking.entries import Entry, entries

FILE = "tracking.json"
"""In a run: by which name trackers know it, wherever it is moved to."""
LONGEST_REASON = 300
"""Characters of what a tracker says; a server's answer may be a page."""

Send = Callable[[Anywhere, str, str, Sequence[Entry]], str]
"""Makes a tracker know what the entries tell, and no more than that however often it is done.

It is given the run's folder, its name for trackers, the place of a destination and the entries,
that of the run as a whole first. It returns a line that says how to look at them.
"""


class Tracker(NamedTuple):
    """A kind of tracker."""

    send: Send
    package: str
    """That must be there, from the extra of the tracker's name."""
    place: str
    """What its places are, in the words of a usage line."""


TRACKERS: dict[str, Tracker] = {
    "mlflow": Tracker(mlflow_tracker.send, "mlflow", "URI|FOLDER"),
    "wandb": Tracker(wandb_tracker.send, "wandb", "PROJECT"),
}


class TrackingError(Exception):
    """A tracker does not take what it is told; the message is one line, without secrets."""


@dataclass(frozen=True)
class Destination:
    """A tracker and a place of it, which may hold a password."""

    kind: str
    place: str = field(repr=False)

    @classmethod
    def of(cls, text: str, option: str) -> "Destination":
        """Read ``mlflow:URI`` and its like, of an option of the command line.

        Raises
        ------
        InputError
            There is no such tracker, or its package is missing.
        """
        kind, _, place = text.partition(":")
        if kind not in TRACKERS or not place:
            usage = " or ".join(f"{name}:{of.place}" for name, of in TRACKERS.items())
            # It may be a URL alone, whose password is nobody's to read.
            raise InputError(f"{option} {kind if kind in TRACKERS else '…'}: give {usage}")
        if find_spec(TRACKERS[kind].package) is None:
            raise InputError(
                f"{option} {kind}: a package is missing; pip install 'fairfront[{kind}]'"
            )
        return cls(kind, place)

    def __str__(self) -> str:
        """Name it without its secrets: who asks, and the query."""
        scheme, separator, rest = self.place.partition("://")
        if not separator:
            return f"{self.kind}:{self.place}"
        return f"{self.kind}:{scheme}://{_open_part(rest).rpartition('@')[2]}"

    def without_secrets(self, text: str) -> str:
        """Return a text, an error's for example, with what this keeps secret taken out."""
        _, separator, rest = self.place.partition("://")
        if not separator:
            return text
        asks, query = _open_part(rest).rpartition("@")[0], rest[len(_open_part(rest)) + 1 :]
        secrets = {asks, asks.partition(":")[2], query}
        text = text.replace(self.place, str(self).partition(":")[2])
        for secret in sorted({*secrets, *map(unquote, secrets)} - {""}, key=len, reverse=True):
            text = text.replace(secret, "…")
        return text


def _open_part(rest: str) -> str:
    """Return a URI without its scheme, query and fragment."""
    return rest.partition("?")[0].partition("#")[0]


def track(run: Run, destination: Destination, *, at_work: bool | None = None) -> str:
    """Tell a tracker of a run, as its files are now; what it knows already is not told again.

    Parameters
    ----------
    run
        The run; it is given a name for trackers, in `FILE`, if it has none.
    destination
        Whom to tell.
    at_work
        As of `entries`.

    Returns
    -------
    str
        How to look at it, in a line.

    Raises
    ------
    InputError
        The run's files are damaged, or cannot be written.
    TrackingError
        The tracker did not take it.
    """
    with part_held(run.path, "tracking", wait=True):
        name = _name(run)
    # Two would each make what they miss there. Of other places nobody waits for one that hangs.
    place = hashlib.sha256(str(destination).encode()).hexdigest()[:8]
    with part_held(run.path, f"tracking-{place}", wait=True):
        told = entries(run, at_work=at_work)
        try:
            send = TRACKERS[destination.kind].send
            how = send(run.path, name, destination.place, told)
        except InputError:
            raise
        except Exception as error:  # whatever the tracker's package, or its server, comes up with
            reason = destination.without_secrets(_reason(error))
            raise TrackingError(f"{destination}: {reason}") from error
    return destination.without_secrets(how)


def _name(run: Run) -> str:
    """Return the run's name for trackers, which lasts."""
    file = run.path / FILE
    if not file.exists():
        write_json(file, {"id": uuid.uuid4().hex})
    known: Any = read_json(file)
    if not isinstance(known, dict) or not isinstance(known.get("id"), str):
        raise InputError(f"{file}: not as fairfront writes it; remove it")
    return str(known["id"])


def _reason(error: BaseException) -> str:
    """Say in a line why a tracker failed: the system's own words, where a request came to those."""
    words, inner = one_line(error) or type(error).__name__, error
    while (deeper := inner.__cause__ or inner.__context__) is not None:
        inner = deeper
        if isinstance(inner, TimeoutError) or (isinstance(inner, OSError) and inner.strerror):
            words = one_line(inner) or type(inner).__name__
    return words if len(words) <= LONGEST_REASON else words[: LONGEST_REASON - 1] + "…"

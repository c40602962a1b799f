"""A lease on a folder of an object store, which has no locks: its holder renews it.

A lease is a file with a number, ``<folder>/000007.json``, that is only ever created, so that of two
who want the same number one gets it; the highest number holds. Its holder renews it until it gives
it up. One that was not renewed in time has expired: its holder has died, or is cut off, and the
next number may be taken. No number comes twice, so that a holder who wakes up late finds a higher
one, and stops. The clocks of those who share a folder must agree to a few seconds.
"""

import _thread
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

from upath import UPath

from orchestrator.base.errors import InputError, StorageError
from orchestrator.base.files import children, read_text, reason_of, write_text

SECONDS = 120.0
"""For which a lease holds unless it is renewed: so long after its holder has died nobody works."""
BEAT = 30.0
"""Seconds between renewals: three may fail."""


class LeaseLostError(StorageError):
    """Another session has taken the folder over while this one could not renew its lease."""


@dataclass(frozen=True)
class Holder:
    """What the file of a lease says."""

    session: str
    """No other session's, ever."""
    who: str
    """The machine and the process."""
    since: float
    """When it was taken, in seconds since 1970."""
    until: float
    """When it expires; 0 once it was given up."""

    def __str__(self) -> str:
        return f"{self.who}, since {_clock(self.since)}"


class Lease:
    """A folder that this process alone works in, while in the context.

    Parameters
    ----------
    folder
        Where the lease is kept, on an object store.
    what
        What is held, as it is named to the user.
    now
        A clock, in seconds since 1970.
    lost
        Called, in another thread, when another session has taken the folder over; without it the
        main thread is interrupted as by Ctrl-C.
    """

    def __init__(
        self,
        folder: UPath,
        what: str,
        *,
        now: Callable[[], float] = time.time,
        lost: Callable[[], None] = _thread.interrupt_main,
    ) -> None:
        self._folder, self._what, self._now, self._tell_lost = folder, what, now, lost
        self._number, self._over = 0, threading.Event()
        self._mine = Holder(uuid.uuid4().hex, f"{socket.gethostname()} process {os.getpid()}", 0, 0)
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self.taken_over: str | None = None
        """Why this session must not go on, in a line."""

    def __enter__(self) -> Self:
        self.take()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self._over.set()
        if kind is not None and issubclass(kind, StorageError):
            return  # it is out of reach, and would be asked for minutes: the lease expires
        self._thread.join()
        self.check()
        if self._path(self._number).exists():  # else the run was removed as a whole
            self._write(until=0)

    def check(self) -> None:
        """Raise `LeaseLostError` where another session has taken the folder over."""
        if self.taken_over:
            raise LeaseLostError(self._what, self.taken_over)

    def take(self) -> None:
        """Take the lease.

        Raises
        ------
        InputError
            Another session holds it, or the store would give it to two.
        """
        last = self._last()
        before = self._read(last)
        if before is not None:
            self._refuse_live(before)
        self._number = last + 1
        now = self._now()
        self._mine = Holder(self._mine.session, self._mine.who, now, now + SECONDS)
        if not self._create():
            holder = self._read(self._number)
            if holder is None or holder.session != self._mine.session:  # else an answer was lost
                if holder is not None:
                    self._refuse_live(holder)
                self.take()  # it was given up already
                return
        elif self._create():
            self._path(self._number).unlink(missing_ok=True)
            raise InputError(
                f"{self._what}: its store does not keep two from making the same file (If-None-"
                "Match), so two commands could write over each other; choose another --out"
            )
        # One that was cut off may have renewed its lease meanwhile; it looks for ours after that.
        if before is not None and (renewed := self._read(last)) not in (None, before):
            self._path(self._number).unlink(missing_ok=True)
            assert renewed is not None
            self._refuse_live(renewed)
        for number in self._numbers():
            if number < self._number:
                self._path(number).unlink(missing_ok=True)

    def renew(self) -> None:
        """Have the lease hold for longer, unless another session has taken the next one."""
        if self._is_ours():
            self._write(until=self._now() + SECONDS)
            self._is_ours()  # one who took the next just now has not seen this, or goes back

    def _is_ours(self) -> bool:
        last = self._last()
        if last <= self._number:
            return True
        holder = self._read(last)
        self.taken_over = (
            f"another fairfront has taken this run over ({holder}), since this one could not renew "
            "its lease; what finished is kept, and the other goes on with it"
        )
        return False

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            try:
                self.renew()
            except Exception:  # the store is out of reach, and says so to whoever writes next
                continue
            if self.taken_over:
                self._tell_lost()
                return

    def _refuse_live(self, holder: Holder) -> None:
        """Raise `InputError` where a lease holds."""
        if holder.until <= self._now():
            return
        until = _clock(holder.until)
        raise InputError(
            f"{self._what}: another fairfront is at work on this run ({holder}, its lease until "
            f"{until} and renewed while it lives); wait for it, or stop it; if it has died, its "
            f"lease expires at {until}, and the same command works then"
        )

    def _numbers(self) -> list[int]:
        names = (path.name.partition(".")[0] for path in children(self._folder))
        return sorted(int(name) for name in names if name.isdecimal())

    def _last(self) -> int:
        return max(self._numbers(), default=0)

    def _path(self, number: int) -> UPath:
        return self._folder / f"{number:06d}.json"

    def _read(self, number: int) -> Holder | None:
        path = self._path(number)
        try:
            return Holder(**json.loads(read_text(path)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            raise InputError(
                f"{path}: no lease of this version of fairfront; remove it if nobody is at work"
            ) from None

    def _create(self) -> bool:
        """Make the file of our lease; False where it is there."""
        path, content = self._path(self._number), _content(self._mine)
        try:
            self._folder.fs.pipe_file(path.path, content.encode(), mode="create")
        except FileExistsError:
            return False
        except NotImplementedError as error:
            raise InputError(f"{self._what}: {reason_of(error)}; choose another --out") from None
        return True

    def _write(self, until: float) -> None:
        self._mine = Holder(self._mine.session, self._mine.who, self._mine.since, until)
        write_text(self._path(self._number), _content(self._mine))


def _content(holder: Holder) -> str:
    values: dict[str, Any] = asdict(holder)
    return json.dumps(values) + "\n"


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

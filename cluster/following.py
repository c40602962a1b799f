"""A job's log, followed to its end over connections that drop."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, TextIO

from cluster.client import last_line
from orchestrator.base.errors import InputError
from orchestrator.base.interrupts import INTERRUPTED

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PATIENCE_SECONDS = 300.0
"""How long a cluster that does not answer is asked again."""
SILENCE_SECONDS = 300.0
"""After so long without a word a connection is made anew: the old one may have been forgotten by
what lies between."""
PENDING_SECONDS = 20.0
"""After so long without a first word it is said what a job waits for."""
RETRY_SECONDS = 2.0
END_SECONDS = 0.2
"""How often the end is looked for: it follows the last line of the log by a moment."""


def follow_job(client: "JobSubmissionClient", job: str, address: str | None, out: TextIO) -> int:
    """Print a job's log until it ends; return its exit code.

    Returns
    -------
    int
        The job's own (128 and the signal that ended it); 1 when it has none, or when the cluster
        is out of reach for `PATIENCE_SECONDS`; 130 after Ctrl-C, which leaves the job running.

    Raises
    ------
    InputError
        The cluster does not know the job any more.
    """
    log = _Log(client, job, out)
    try:
        details = log.follow()
    except KeyboardInterrupt:
        print(f"\nno longer waiting; the job goes on. {how_to_go_on(job, address)}", file=out)
        return INTERRUPTED
    except ConnectionError as error:
        lost = f"lost the connection ({last_line(error)}); the job may go on."
        print(f"\n{lost} {how_to_go_on(job, address)}", file=out)
        return 1
    code: int | None = details.driver_exit_code
    if code is None:  # it never ran, or it was stopped
        print(f"job {job} {details.status}: {details.message}", file=out)
        return 0 if details.status == "SUCCEEDED" else 1
    print(f"job {job} {details.status} with exit code {code}", file=out)
    if code == 127:  # a shell's "not found"
        print("the head has no such python; name its interpreter in FAIRFRONT_PYTHON", file=out)
    return code if code >= 0 else 128 - code


def how_to_go_on(job: str, address: str | None) -> str:
    """Say how to see a job's log, and how to stop it."""
    option = f" --address {address}" if address else ""
    return f"Log: fairfront logs {job} --follow{option}   Stop: fairfront stop {job}{option}"


class _Log:
    """A log of which so many characters are printed."""

    def __init__(self, client: "JobSubmissionClient", job: str, out: TextIO) -> None:
        self._client, self._job, self._out = client, job, out
        self._printed = 0
        self._explained = False
        self._heard = time.monotonic()

    def follow(self) -> Any:
        """Print the log to its end; return the job's details.

        Raises
        ------
        ConnectionError
            The cluster has not answered for `PATIENCE_SECONDS`.
        """
        while True:
            dropped = self._tail_once()
            try:
                details = self._client.get_job_info(self._job)
                self._heard = time.monotonic()
                if details.status.is_terminal():
                    self._print_rest()
                    return details
                if details.status == "PENDING" and not self._explained:
                    print(f"job {self._job} has not begun: {details.message}", file=self._out)
                    self._out.flush()
                    self._explained = True
                if dropped:  # or the connection is one that something between does not let through
                    self._print_from(0, self._client.get_job_logs(self._job))
            except (OSError, RuntimeError) as error:
                if "status code 404" in str(error):
                    raise InputError(
                        f"{self._job}: the cluster does not know this job any more; it was started "
                        "anew, or deleted it"
                    ) from None
                if time.monotonic() - self._heard > PATIENCE_SECONDS:
                    raise ConnectionError(last_line(error)) from None
            time.sleep(RETRY_SECONDS if dropped else END_SECONDS)

    def _print_rest(self) -> None:
        """Print what a tail did not give that something between has ended."""
        try:
            self._print_from(0, self._client.get_job_logs(self._job))
        except RuntimeError as error:  # as of a node that is gone
            print(f"\nthe rest of the log cannot be had ({last_line(error)})", file=self._out)

    def _tail_once(self) -> bool:
        """Print what a new connection gives; return whether it failed, and did not just end."""
        from aiohttp import ClientError

        try:
            asyncio.run(self._tail())
        except TimeoutError:
            return False
        except (ClientError, OSError, RuntimeError):
            return True
        return False

    async def _tail(self) -> None:
        """Print what a new connection gives after what is printed; it begins at the beginning."""
        lines: AsyncIterator[str] = self._client.tail_job_logs(self._job)
        place = 0
        is_begun = self._printed or self._explained
        async with asyncio.timeout(SILENCE_SECONDS if is_begun else PENDING_SECONDS) as silence:
            async for text in lines:
                silence.reschedule(asyncio.get_running_loop().time() + SILENCE_SECONDS)
                place = self._print_from(place, text)

    def _print_from(self, place: int, text: str) -> int:
        """Print what is new of a text that lies so far in the log; return where it ends."""
        new = text[max(self._printed - place, 0) :]
        self._out.write(new)
        self._out.flush()
        self._printed += len(new)
        return place + len(text)

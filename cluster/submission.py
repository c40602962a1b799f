"""What was submitted: told to the job, which leaves it in its run, and read from there again."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, parse_uri, read_json, write_json
from orchestrator.base.strict import Strict

FILE = "submitted.json"
"""Of a run: its last submission, and those before it."""
VARIABLE = "FAIRFRONT_SUBMITTED"
"""Tells a job its submission, but for the diff, which could be too long for a variable."""
DIFF = "fairfront-uncommitted.diff"
"""Where the diff is, beside the source tree that it is sent with."""


class Resources(Strict):
    """What the command itself holds of a node, beside what its work takes."""

    num_cpus: float = Field(default=0.0, ge=0)
    num_gpus: float = Field(default=0.0, ge=0)
    memory: int = Field(default=0, ge=0)
    """Bytes."""


class Submission(Strict):
    """A submission, without secrets."""

    format: int = 1
    job: str | None = None
    at: str
    """When, in UTC."""
    command: list[str]
    environment: str
    """As ``--env`` says it."""
    variables: dict[str, str] = Field(default={})
    secrets: list[str] = Field(default=[])
    """Variables whose values were told to the job alone."""
    resources: Resources = Resources()
    metadata: dict[str, str] = Field(default={})
    config: dict[str, Any] | None = None
    """Every setting, where all of them were known on the submitting machine."""
    fairfront: str
    commit: str | None = None
    diff: str | None = None
    """What was not committed, as ``git diff --binary``; null: too large, or no repository."""
    runtime_env: dict[str, Any] = Field(default={})

    def told(self) -> str:
        """Return the text of `VARIABLE`."""
        return self.model_dump_json(exclude={"diff", "job"})


def now() -> str:
    """Return the time as a submission has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def keep_submission(run: Anywhere) -> None:
    """Write into a run's folder what it was submitted as; of a run that was not, nothing."""
    text = os.environ.get(VARIABLE)
    if not text:
        return
    diff, config = Path(DIFF), json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    told = json.loads(text) | {"job": config.get("metadata", {}).get("job_submission_id")}
    if diff.is_file():
        told["diff"] = diff.read_bytes().decode(errors="surrogateescape")
    file, before = run / FILE, []
    if file.exists():
        last = read_json(file)
        before = [*last.pop("before", []), last]
    write_json(file, told | ({"before": before} if before else {}))


def last_submission(where: str) -> Submission:
    """Read what a run was last submitted as.

    Raises
    ------
    InputError
        It was not submitted, or the file is not as a job writes it.
    """
    file = parse_uri(where) / FILE
    if not file.exists():
        raise InputError(
            f"--again {where}: no {FILE} there; give the run of a job that fairfront submit began"
        )
    values = read_json(file)
    try:
        return Submission.model_validate({k: v for k, v in dict(values).items() if k != "before"})
    except (ValidationError, TypeError, ValueError) as error:
        raise InputError(
            f"{file}: not as a job writes it ({str(error).splitlines()[0]}); submit anew"
        ) from None


def repeated_secrets(submission: Submission, given: Mapping[str, str]) -> dict[str, str]:
    """Return a submission's secrets from what is given and from this environment.

    Raises
    ------
    InputError
        One is in neither.
    """
    found = {}
    for name in submission.secrets:
        value = given.get(name) or os.environ.get(name)
        if value is None:
            raise InputError(
                f"--again: the submission had {name}, which is not kept; set it here, or give "
                f"--env-var {name}=…"
            )
        found[name] = value
    return found

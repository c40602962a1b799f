"""What people say of a run: tags and a note, in ``RUN/notes.json``."""

from pydantic import Field

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, read_text, write_text
from orchestrator.base.strict import Strict
from orchestrator.run.directory import Run


class Notes(Strict):
    """What a run is remembered by."""

    tags: list[str] = Field(default_factory=list)
    """Words, in order."""
    text: str = ""


def read_notes(run: Run) -> Notes:
    """Read what is said of a run; nothing where nobody said anything.

    Raises
    ------
    InputError
        The file was edited, and is no such file any more.
    """
    try:
        return Notes.model_validate_json(read_text(_file(run)))
    except FileNotFoundError:
        return Notes()
    except ValueError:
        raise InputError(f"{_file(run)}: not as fairfront writes it; remove it") from None


def write_notes(run: Run, notes: Notes) -> None:
    """Write what is said of a run."""
    write_text(_file(run), notes.model_dump_json(indent=2) + "\n")


def _file(run: Run) -> Anywhere:
    return run.path / "notes.json"

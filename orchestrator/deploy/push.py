"""An exported folder on a model hub."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from orchestrator.base.errors import InputError
from orchestrator.base.files import one_line, read_json
from orchestrator.deploy.card import CARD
from orchestrator.deploy.shipped import FORMATS

HUB = "hf://"


@dataclass(frozen=True)
class Parcel:
    """What is to be sent, and where to."""

    folder: Path
    repository: str
    """USER/NAME."""
    files: Sequence[Path]
    trial_id: str

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.stat().st_size for file in self.files)


def pack(folder: str, target: str) -> Parcel:
    """Look at what is to be sent.

    Parameters
    ----------
    folder
        What `fairfront export` wrote.
    target
        ``hf://USER/NAME``.

    Raises
    ------
    InputError
        No such folder, something in it that export did not write, or no such target.
    """
    if not target.startswith(HUB) or target.removeprefix(HUB).count("/") != 1:
        raise InputError(f"--to {target}: give hf://USER/NAME")
    if find_spec("huggingface_hub") is None:
        raise InputError("push: needs a package; pip install 'fairfront[hub]'")
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    repository, where = target.removeprefix(HUB), Path(folder)
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise InputError(f"--to {target}: {one_line(error)}") from None
    if not (where / "model.json").is_file() or not (where / CARD).is_file():
        raise InputError(
            f"{folder}: not a folder of fairfront export; it lacks model.json or {CARD}"
        )
    about = read_json(where / "model.json")
    known = {"model.json", CARD, *FORMATS.values(), *(f"example_{name}.py" for name in FORMATS)}
    files = sorted(path for path in where.rglob("*") if not path.is_dir())
    for file in files:
        if str(file.relative_to(where)) not in known:
            raise InputError(f"{file}: export did not write this; move it away, or send by hand")
    return Parcel(where, repository, files, about["trial"])


def send(parcel: Parcel, *, private: bool) -> str:
    """Send it, as one commit; return where it can be seen.

    The token is the hub's own, of HF_TOKEN or ``hf auth login``.

    Raises
    ------
    InputError
        The hub cannot be reached or refuses it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # its HTTP library's
        HTTPError,
        LocalTokenNotFoundError,
    )

    try:
        hub = HfApi()
        hub.create_repo(parcel.repository, private=private, exist_ok=True, repo_type="model")
        sent = hub.upload_folder(
            repo_id=parcel.repository,
            folder_path=parcel.folder,
            repo_type="model",
            commit_message=f"fairfront: trial {parcel.trial_id}",
        )
    except (HTTPError, LocalTokenNotFoundError, OSError) as error:
        raise InputError(f"--to {HUB}{parcel.repository}: {one_line(error)}") from None
    return str(sent.commit_url)

"""Backbones that hundreds of trials share: one file each in a run.

::

    RUN/backbones/<digest>.safetensors     what begins with ``backbone.`` in a network's state dict
"""

import hashlib
from functools import lru_cache

from safetensors.torch import load_file, save
from torch import Tensor, nn

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, make_folder, writing
from orchestrator.base.here import copied_here

PREFIX, FOLDER = "backbone.", "backbones"


def put_aside(network: nn.Module, run_path: Anywhere) -> tuple[dict[str, Tensor], str]:
    """Write the backbone of a network, which nothing changes, into a run, unless it is there.

    Returns
    -------
    The rest of the network's state dict, and where in the run the backbone is, named by its
    weights.
    """
    content, name = _saved(network)
    file = f"{FOLDER}/{name}.safetensors"
    if not (run_path / file).exists():
        make_folder(run_path / FOLDER)
        with writing(run_path / file) as sink:
            sink.write(content)
    state = network.state_dict()
    return {name: value for name, value in state.items() if not name.startswith(PREFIX)}, file


@lru_cache(maxsize=1)
def _saved(network: nn.Module) -> tuple[bytes, str]:
    """Return a backbone as its file has it, and its name: once for all the trials of a process."""
    state = network.state_dict()
    content = save({name: value for name, value in state.items() if name.startswith(PREFIX)})
    return content, hashlib.sha256(content).hexdigest()[:16]


def read_backbone(model: Anywhere, file: str) -> dict[str, Tensor]:
    """Read the backbone of a trial's model from the run that both lie in.

    Raises
    ------
    InputError
        It is in none of the folders above the model.
    """
    places = [folder / file for folder in model.parents]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise InputError(
            f"{model}: its backbone, {file}, is in none of the folders above; keep it in its run"
        )
    with copied_here(found) as here:
        return load_file(str(here))

from pathlib import Path

import pandas as pd
import pytest
from layouts import write_zip

import models
from orchestrator import archives
from orchestrator.config import resolve
from orchestrator.errors import InputError
from orchestrator.predict import predict
from orchestrator.trial import save_model


@pytest.mark.usefixtures("ray_cluster")
def test_images_out_of_reach_are_one_line(tmp_path: Path) -> None:
    config = resolve()
    save_model(tmp_path, models.build(config.model, 80), config, 80)
    archive = write_zip(tmp_path / "faces.zip", {"a.jpg": b"no image"})
    path = archives.uri("a.jpg", archive)
    faces = pd.DataFrame({"filename": ["a.jpg"], "path": [path]})
    predicted = predict(tmp_path / "model.safetensors", faces)
    assert predicted["reason"].tolist() == ["not an image, or of a format that is not read"]
    archive.unlink()
    with pytest.raises(InputError) as caught:
        predict(tmp_path / "model.safetensors", faces)
    assert str(caught.value) == (f"{path}: no such file; mend that and run the same command again")

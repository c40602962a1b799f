"""Whether two checkouts make the same bytes, and whether the newer one reads what the older made.

    python benchmarks/same_bytes.py OLDER [--celeba FOLDER]

Each runs in its own `.venv`. With synthetic faces, and perhaps with real ones, both prepare, sweep
with one trial at a time and predict. Equal must be every file of the data, each trial's weights and
predictions, `trials.csv` but for times and for columns that only one has, and the labels. Then the
newer one reports on the older's run, and goes on with it.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

HERE = Path(__file__).parents[1]
TIMES = ["seconds", "images_per_second"]
SETTINGS = (
    "--epochs",
    "3",
    "--concurrent",
    "1",
    "--set",
    "train.precision=fp32",
    "sweep.grace=1",
    "sweep.confirm=0",
)


def run(checkout: Path, *words: object) -> None:
    command = [checkout / ".venv/bin/python", "-m", "orchestrator", *words]
    done = subprocess.run(
        list(map(str, command)), cwd=checkout, check=False, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}")


def main_job(checkout: Path, folder: Path, source: str, images: str, *options: str) -> None:
    data, out = folder / "data", folder / "run"
    run(checkout, "prepare", source, "--out", data, "--image-size", "32", *options)
    run(checkout, "sweep", "--data", data, "--out", out, "--trials", "6", *SETTINGS)
    faces = data / "faces" if images == "drawn" else images
    run(checkout, "predict", "--run", out, "--images", faces, "--out", folder / "labels.csv")


def tree(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def same_table(old: Path, new: Path) -> list[str]:
    """Compare the columns that both have; return those that one has."""
    ours, theirs = pd.read_csv(new), pd.read_csv(old)
    if "val_worst_gender" not in theirs:  # what 0.1 called it
        names = {f"{split}_worst_group": f"{split}_worst_gender" for split in ("val", "test")}
        theirs = theirs.rename(columns=names)
    both = [name for name in ours.columns if name in theirs.columns and name not in TIMES]
    pd.testing.assert_frame_equal(ours[both], theirs[both])
    return sorted(set(ours.columns) ^ set(theirs.columns))


def compare(name: str, old: Path, new: Path) -> None:
    stores = tree(old / "data"), tree(new / "data")
    assert stores[0] == stores[1], f"{name}: the data differ"
    trials = sorted(path.name for path in (old / "run/trials").iterdir())
    files = 0
    for trial in trials:
        for file in ("params.json", "model.safetensors", "predictions.parquet"):
            theirs, ours = (folder / "run/trials" / trial / file for folder in (old, new))
            assert theirs.exists() == ours.exists(), f"{name}: {trial}/{file}"
            if ours.exists():
                assert theirs.read_bytes() == ours.read_bytes(), f"{name}: {trial}/{file} differs"
                files += 1
    alone = same_table(old / "run/trials.csv", new / "run/trials.csv")
    assert (old / "labels.csv").read_bytes() == (new / "labels.csv").read_bytes()
    print(
        f"{name}: equal are {len(stores[0])} files of the data, {files} files of {len(trials)} "
        f"trials, trials.csv and labels.csv; columns that one has: {', '.join(alone) or 'none'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("older", type=Path)
    parser.add_argument("--celeba", type=Path)
    arguments = parser.parse_args()
    sources = {"synthetic": ("synthetic:600", "drawn", "--split-by", "identity")}
    if arguments.celeba:
        celeba, images = str(arguments.celeba.resolve()), "img_align_celeba"
        options = ("--split-by", "identity", "--limit", "3000")
        sources["celeba"] = (celeba, f"{celeba}/{images}", *options)
    with TemporaryDirectory() as temporary:
        for name, (source, images, *options) in sources.items():
            folders = []
            for checkout in (arguments.older.resolve(), HERE):
                folder = Path(temporary) / name  # one path for both, since runs record it
                folder.mkdir()
                main_job(checkout, folder, source, images, *options)
                folders.append(folder.rename(f"{folder}{len(folders)}"))
            compare(name, *folders)
            older = folders[0]
            before = pd.read_csv(older / "run/trials.csv")
            shutil.move(older, Path(temporary) / name)
            older = Path(temporary) / name
            run(HERE, "report", older / "run")
            kept = ["trial_id", "state", "val_fair"]
            again = pd.read_csv(older / "run/trials.csv")
            pd.testing.assert_frame_equal(before[kept], again[kept])
            run(HERE, "sweep", "--out", older / "run", "--resume", "--trials", "8")
            ended = pd.read_csv(older / "run/trials.csv")
            assert len(ended) == 8
            pd.testing.assert_frame_equal(before[kept], ended[kept][: len(before)])
            print(f"{name}: the older's run was reported on and gone on with, 6 trials to 8")
            shutil.rmtree(older)


if __name__ == "__main__":
    main()

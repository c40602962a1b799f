"""Kill a sweep at random moments, resume it, and check that nothing was lost or done twice.

    python benchmarks/kill_drill.py [--kills 10] [--trials 16] [--victims driver trial ray]

Each time the driver, a trial's process or Ray's raylet gets `kill -9`. Where that ends the sweep,
`fairfront sweep --resume` goes on with it. In the end there must be as many trials as were asked
for, each once, and whatever had finished before a kill must be the same bytes after it.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

import optuna
import psutil
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

FAIRFRONT = (sys.executable, "-m", "orchestrator")
FINISHED = ("result.json", "predictions.parquet", "metrics.csv", "params.json", "model.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--victims", nargs="+", default=["driver", "trial", "ray"])
    parser.add_argument("--objective", default="pareto")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("ab") as log:
        data, run = Path(folder, "data"), Path(folder, "run")
        prepare = ["prepare", "synthetic:400", "--image-size", "32", "--out", str(data)]
        subprocess.run([*FAIRFRONT, *prepare], check=True, capture_output=True)
        words = ["sweep", "--data", str(data), "--out", str(run), "--trials", str(arguments.trials)]
        words += ["--finalists", "0"]
        fresh = ["--epochs", str(arguments.epochs), "--objective", arguments.objective, "--set"]
        fresh += ["train.checkpoint_seconds=0", "sweep.grace=1"]
        sweep = start([*words, *fresh], log)
        seen: dict[str, dict[str, str]] = {}
        for number in range(arguments.kills):
            time.sleep(rng.uniform(1, 6))
            sweep = wait_for_trial(sweep, run, words, log)
            if sweep.poll() is not None:
                print("the sweep ended before all kills; give more --trials")
                break
            time.sleep(rng.uniform(0, 4))
            seen = {**finished(run), **seen}
            victim = rng.choice(arguments.victims)
            kill(sweep, victim)
            lost = sum(folder.is_dir() for folder in (run / "trials").iterdir()) - len(seen)
            print(f"kill {number + 1}: {victim}; {len(seen)} trials had ended, {lost} had not",
                  flush=True)  # fmt: skip
        while (code := sweep.wait()) != 0:
            sweep = start([*words, "--resume"], log)
            if sweep.wait() == 0:
                break
            print(f"resumed once more, after exit code {code}")
        check(run, seen, arguments.trials)


def start(words: list[str], log) -> subprocess.Popen:
    return subprocess.Popen([*FAIRFRONT, *words], stdout=log, stderr=log)


def wait_for_trial(sweep, run: Path, words: list[str], log, seconds: float = 120):
    """Resume the sweep if it is dead, and wait until some trial of it has an epoch."""
    if sweep.poll() is not None and sweep.returncode != 0:
        words = [*words, "--resume"] if (run / "config.yaml").exists() else words
        sweep = start(words, log)
    begun = time.time()
    while sweep.poll() is None and time.time() - begun < seconds:
        files = run.glob("trials/*/metrics.csv")
        if any(file.stat().st_mtime > begun for file in files):
            break
        time.sleep(0.2)
    return sweep


def kill(sweep: subprocess.Popen, victim: str) -> None:
    try:
        family = psutil.Process(sweep.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return
    if victim == "driver":
        sweep.kill()
    else:
        mark = {"trial": "ray::ImplicitFunc", "ray": "raylet/raylet"}[victim]
        marked = [process for process in family if mark in title(process)]
        if not marked:
            return
        marked[0].kill()
    if victim == "trial":
        return
    try:
        sweep.wait(60)
    except subprocess.TimeoutExpired:  # it noticed nothing: then so be it
        return
    psutil.wait_procs(family, timeout=10)
    for process in family:  # of Ray, which outlives its driver now and then
        if process.is_running():
            process.kill()


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def finished(run: Path) -> dict[str, dict[str, str]]:
    """Return digests of the files of each trial that has ended."""
    return {
        result.parent.name: {
            name: sha256((result.parent / name).read_bytes()).hexdigest()
            for name in FINISHED
            if (result.parent / name).exists()
        }
        for result in sorted(run.glob("trials/*/result.json"))
    }


def check(run: Path, seen: dict[str, dict[str, str]], trials: int) -> None:
    last = finished(run)
    assert len(last) == trials, f"asked {trials}, ended {len(last)}"
    for trial, digests in seen.items():
        assert last[trial] == digests, f"{trial} changed after it had finished"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(run / "optuna.journal")))
    told = optuna.load_study(study_name="sweep", storage=storage).get_trials(deepcopy=False)
    assert [t.number for t in told if t.state.is_finished()] == list(range(trials))
    params = [str(sorted(t.params.items())) for t in told]
    assert len(set(params)) == len(params), "two trials have the same parameters"
    rows = (run / "trials.csv").read_text().splitlines()[1:]
    assert len({row.split(",")[0] for row in rows}) == len(rows) == trials
    restarted = sum('"restarts": 0' not in (run / "trials" / t / "result.json").read_text()
                    for t in last)  # fmt: skip
    print(f"asked {trials}, finished {len(last)}, told {len(params)}, none twice; the {len(seen)} "
          "that had ended before a kill are the same bytes")  # fmt: skip
    print(f"{restarted} trials were begun again, from their checkpoints")


if __name__ == "__main__":
    main()

"""Multi-objective halving against other searches, on learning curves recorded once.

    python benchmarks/replay.py [--curves FILE] [--space SPACE] [--trials N ...] [--grace G]
                                [--eta E] [--seeds 20] [--syne-python PYTHON]

The table of curves has a row an epoch of every recorded trial: ``trial``, ``epoch``, its parameters
as ``param.NAME``, and ``mean_accuracy``, ``gap`` and ``fair`` on validation data of the epoch that
the trial keeps so far. A sweep is replayed on it with two trials at a time, an epoch a tick of
virtual time. A suggestion becomes the recorded trial, of those that the sweep has not had, whose
parameters are nearest, and the sampler is told of that one; random search takes them in random
order. Each method may spend the epochs of N recorded trials, by default of half of them: a search
that may train all of them, and stops none, can only end in the front of the whole table.

As in the product, only trials that are trained to their end reach the front. Its hypervolume (up to
mean accuracy 0.5 and gap 0.5) is a median over seeds, and random search's last one is the goal.

MOASHA is Syne Tune's scheduler itself (``pip install 'fairfront[bench]'``, or another environment's
interpreter with --syne-python). What it takes for the priorities of trials, Syne Tune 0.16 fills
with their indices in sorted order; "MOASHA, mended" inverts them.
"""

import argparse
import heapq
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PARETO, FAIR = {"mean_accuracy": "maximize", "gap": "minimize"}, {"fair": "maximize"}
CONCURRENT = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).parent
    parser.add_argument("--curves", type=Path, default=here / "curves.csv")
    parser.add_argument(
        "--space", default=str(here / "curves_space.py"), help="what the trials were drawn from"
    )
    parser.add_argument("--trials", type=int, nargs="+", help="each method may spend their epochs")
    parser.add_argument("--grace", type=int, help="by default as in a sweep")
    parser.add_argument("--eta", type=float, help="by default as in a sweep")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--syne-python", default=sys.executable)
    parser.add_argument("--serve-moasha", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve_moasha:
        serve_moasha()
        return
    from orchestrator.config.settings import SweepConfig
    from orchestrator.search.halving import Rungs

    table, defaults = read_table(arguments.curves), SweepConfig()
    most, grace = max(len(row.curve) for row in table), arguments.grace or defaults.grace
    rungs = Rungs(most, grace, arguments.eta or defaults.reduction)
    methods = all_methods(arguments.space, rungs, arguments.syne_python)
    for trials in arguments.trials or [len(table) // 2]:
        budget = round(trials * np.mean([len(row.curve) for row in table]))
        print(f"\n{trials} of {len(table)} trials: {budget} epochs; rungs {rungs.epochs}\n")
        print_table(methods, table, budget, arguments.seeds)


@dataclass(frozen=True)
class Row:
    """A recorded trial."""

    params: dict
    curve: list[dict]  # by epoch: the objectives of the epoch kept so far


def read_table(path: Path) -> list[Row]:
    import pandas as pd

    frame = pd.read_csv(path)
    names = {name: name.removeprefix("param.") for name in frame if name.startswith("param.")}
    rows = []
    for _, epochs in frame.sort_values(["trial", "epoch"]).groupby("trial"):
        params = epochs.iloc[0][list(names)].rename(names).dropna().to_dict()
        rows.append(Row(params, epochs[[*PARETO, *FAIR]].to_dict("records")))
    return rows


class RandomOrder:
    """The recorded trials in random order."""

    def __init__(self, table: list[Row], seed: int) -> None:
        self._order = iter(np.random.default_rng(seed).permutation(len(table)).tolist())

    def suggest(self) -> int | None:
        """Give the next trial's row; None when there is none left."""
        return next(self._order, None)

    def tell(self, *_) -> None:
        """Learn nothing."""


class OptunaOrder:
    """What a sampler of Optuna asks for, as the nearest recorded trial that is left."""

    def __init__(self, table: list[Row], sampler, space, objectives: dict[str, str]) -> None:
        import optuna

        self._states = optuna.trial.TrialState
        self._table, self._space, self._objectives = table, space, objectives
        self._study = optuna.create_study(sampler=sampler, directions=list(objectives.values()))
        self._left = dict.fromkeys(range(len(table)))
        self._asked: dict = {}

    def suggest(self) -> int | None:
        """Give the next trial's row; None when there is none left."""
        if not self._left:
            return None
        wanted = self._study.ask()
        self._space.suggest(wanted)
        row = min(self._left, key=lambda row: difference(wanted, self._table[row].params))
        del self._left[row]
        # Forget the wish, and have the sampler learn from what is trained in its place.
        self._study.tell(wanted, state=self._states.FAIL)
        self._study.enqueue_trial(self._table[row].params)
        self._asked[row] = self._study.ask()
        self._space.suggest(self._asked[row])
        return row

    def tell(self, row: int, kept: dict, complete: bool) -> None:
        """Take note of how a trial ended, as `orchestrator.search.study.tell` does."""
        if complete:
            self._study.tell(self._asked[row], [kept[name] for name in self._objectives])
        else:
            self._study.tell(self._asked[row], state=self._states.PRUNED)


def difference(wanted, params: dict) -> float:
    """Sum how far the parameters are apart, each in [0, 1]; 1 where only one trial has it."""
    total = float(len(params.keys() - wanted.params.keys()))
    for name, distribution in wanted.distributions.items():
        if name not in params:
            total += 1
        elif hasattr(distribution, "choices"):
            total += wanted.params[name] != params[name]
        else:
            scale = np.log if distribution.log else float
            width = scale(distribution.high) - scale(distribution.low)
            total += abs(scale(wanted.params[name]) - scale(params[name])) / width
    return total


Stops = Callable[[int, int, dict], bool]  # of a row, its epochs and what it keeps so far


def by_halving(objectives: dict[str, str], rungs) -> Stops:
    from orchestrator.config.layers import resolve
    from orchestrator.search.halving import Halving

    halving = Halving(objectives, rungs)
    config = resolve(settings=[f"train.epochs={rungs.max_epochs}"])
    return lambda row, epoch, kept: bool(
        halving.judge(str(row), config, epoch, {**kept, "epoch": epoch})
    )


def by_moasha(ask: Callable[[dict], object], rungs, *, mended: bool) -> Stops:
    ask({"epochs": rungs.max_epochs, "grace": rungs.grace, "eta": rungs.eta, "mended": mended})
    return lambda row, epoch, kept: bool(
        ask({"trial": row, "epoch": epoch, "losses": [-kept["mean_accuracy"], kept["gap"]]})
    )


def syne_tune(python: str) -> Callable[[dict], object]:
    """Start another interpreter with MOASHA in it; return what asks it."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([python, __file__, "--serve-moasha"], text=True, **pipes)

    def ask(message: dict) -> object:
        print(json.dumps(message), file=process.stdin, flush=True)
        return json.loads(process.stdout.readline())

    return ask


def serve_moasha() -> None:
    """Answer, line by line, whether MOASHA stops a trial."""
    from importlib.metadata import version

    from syne_tune.backend.trial_status import Trial
    from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA
    from syne_tune.optimizer.schedulers.multiobjective.multiobjective_priority import (
        NonDominatedPriority,
    )

    class Mended(NonDominatedPriority):
        def priority_unsafe(self, objectives):
            return np.argsort(super().priority_unsafe(objectives))

    answer, scheduler = version("syne-tune"), None
    for message in map(json.loads, sys.stdin):
        if "eta" in message:
            scheduler = MOASHA(
                {}, ["0", "1"], time_attr="epoch", max_t=message["epochs"],
                grace_period=message["grace"], reduction_factor=message["eta"],
                multiobjective_priority=Mended() if message["mended"] else None,
            )  # fmt: skip
        if scheduler and "trial" in message:
            trial, (first, second) = Trial(message["trial"], {}, None), message["losses"]
            if trial.trial_id not in scheduler.trial_info:
                scheduler.on_trial_add(trial)
            result = {"epoch": message["epoch"], "0": first, "1": second}
            answer = scheduler.on_trial_result(trial, result) == "STOP"
        print(json.dumps(answer), flush=True)


# From a table and a seed to where trials come from and who stops them.
Method = Callable[[list[Row], int], tuple[RandomOrder | OptunaOrder, Stops]]


def all_methods(space_name: str, rungs, syne_python: str) -> dict[str, Method]:
    import optuna

    import search_spaces
    from orchestrator.config.settings import SweepConfig
    from orchestrator.search.study import make_sampler

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = search_spaces.get(space_name)

    def of(order, stops: Callable[[], Stops] = lambda: lambda *_: False) -> Method:
        return lambda table, seed: (order(table, seed), stops())

    def asked(name: str, aims=PARETO):
        config = SweepConfig(sampler=name)
        return lambda table, seed: OptunaOrder(table, make_sampler(config, seed), space, aims)

    methods = {
        "random": of(RandomOrder),
        "TPE": of(asked("tpe")),
        "NSGA-II": of(asked("nsga2")),
        "TPE + ASHA on fair": of(asked("tpe", FAIR), lambda: by_halving(FAIR, rungs)),
        "halving, random": of(RandomOrder, lambda: by_halving(PARETO, rungs)),
        "halving, TPE": of(asked("tpe"), lambda: by_halving(PARETO, rungs)),
    }
    ask = syne_tune(syne_python)
    try:
        name = f"(Syne Tune {ask({})}), random"
    except (BrokenPipeError, json.JSONDecodeError):  # it has ended at once
        print(f"{syne_python} has no Syne Tune, so no MOASHA: see --syne-python", file=sys.stderr)
        return methods
    methods[f"MOASHA {name}"] = of(RandomOrder, lambda: by_moasha(ask, rungs, mended=False))
    methods[f"MOASHA, mended {name}"] = of(RandomOrder, lambda: by_moasha(ask, rungs, mended=True))
    return methods


def replay(table: list[Row], order, stops: Stops) -> Iterator[tuple[int, int]]:
    """Run a sweep in virtual time; give the epochs spent and the row as each is complete."""
    times = [(0, slot) for slot in range(CONCURRENT)]
    spent, running = 0, {}  # by slot: the row, and its epochs
    while times:
        now, slot = heapq.heappop(times)
        row, epoch = running.pop(slot, None) or (order.suggest(), 0)
        if row is None:
            continue
        spent, epoch = spent + 1, epoch + 1
        kept, complete = table[row].curve[epoch - 1], epoch == len(table[row].curve)
        if complete:
            yield spent, row
        if complete or stops(row, epoch, kept):
            order.tell(row, kept, complete)
        else:
            running[slot] = (row, epoch)
        heapq.heappush(times, (now + 1, slot))


def hypervolumes(table: list[Row], method: Method, budget: int, seed: int) -> np.ndarray:
    """Return the hypervolume of the complete trials after each epoch spent, shape (budget,)."""
    from orchestrator.judging.frontier import hypervolume

    curve, front = np.zeros(budget), []
    for spent, row in replay(table, *method(table, seed)):
        if spent > budget:
            break
        front.append([table[row].curve[-1][name] for name in PARETO])
        curve[spent - 1 :] = hypervolume(*np.array(front).T)
    return curve


def print_table(methods: dict[str, Method], table: list[Row], budget: int, seeds: int) -> None:
    print("| method | final hypervolume | quartiles | epochs to the goal | share |")
    print("|---|---|---|---|---|")
    goal = None
    for name, method in methods.items():
        curves = np.array([hypervolumes(table, method, budget, seed) for seed in range(seeds)])
        median = np.median(curves, axis=0)
        goal = median[-1] if goal is None else goal
        reached = np.flatnonzero(median >= goal) + 1
        cells = f"{reached[0]} | {reached[0] / budget:.0%}" if len(reached) else "not reached |"
        low, high = np.percentile(curves[:, -1], (25, 75))
        print(f"| {name} | {median[-1]:.5f} | {low:.5f} to {high:.5f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()

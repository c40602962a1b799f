"""When a sweep has had enough."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.settings import SweepConfig
from orchestrator.judging.frontier import hypervolume
from orchestrator.run.progress import EndedTrial, Score
from orchestrator.search.sweep_limits import stood_still, why_enough


def trial(women=0.9, men=0.9, state="complete", epochs=5):
    gap = abs(women - men)
    score = Score(fair=(women + men) / 2 - 2 * gap, acc_women=women, acc_men=men, gap=gap)
    return EndedTrial(
        trial_id="t", state=state, recipe="default", epochs=epochs, seconds=1,
        score=None if state == "failed" else score,
    )  # fmt: skip


def test_without_limits_there_is_never_enough():
    limits = SweepConfig(max_failed=None)
    assert why_enough(limits, [trial(state="failed")] * 100) is None


def test_each_limit_says_its_setting():
    failed = [trial(state="failed")] * 3
    assert why_enough(SweepConfig(max_failed=4), failed) is None
    assert "sweep.max_failed" in why_enough(SweepConfig(max_failed=3), failed)
    assert why_enough(SweepConfig(epoch_budget=16), [trial()] * 3) is None
    assert "sweep.epoch_budget is 15" in why_enough(SweepConfig(epoch_budget=15), [trial()] * 3)
    assert why_enough(SweepConfig(patience=2), [trial(), trial()]) is None
    said = why_enough(SweepConfig(patience=2), [trial(), trial(), trial()])
    assert said == "the hypervolume has stood still for 2 trials (sweep.patience)"


def test_only_complete_trials_move_the_hypervolume():
    assert stood_still([trial(0.8, 0.8), trial(state="pruned"), trial(state="failed")]) == 2
    assert stood_still([trial(0.8, 0.8), trial(0.9, 0.9)]) == 0
    assert stood_still([]) == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=12))
def test_it_counts_since_the_hypervolume_last_grew(accuracies):
    trials = [trial(women, men) for women, men in accuracies]
    areas = [0.0] + [
        hypervolume(
            [(women + men) / 2 for women, men in accuracies[:n]],
            [abs(women - men) for women, men in accuracies[:n]],
        )
        for n in range(1, len(trials) + 1)
    ]
    last = max((n for n in range(1, len(areas)) if areas[n] > max(areas[:n])), default=0)
    assert stood_still(trials) == len(trials) - last

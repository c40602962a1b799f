"""What a sweep is expected to cost, and what it cost."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.run.cost import Cost, in_summary, took
from orchestrator.run.progress import EndedTrial, Progress

PLAIN = Cost(gpus=0.5, price_per_hour=4.0, images_an_epoch=1000, images_per_second=100.0)


@dataclass
class Spent:
    epochs: int
    seconds: float


def test_what_is_expected_is_said_with_what_it_was_made_of():
    cost = PLAIN.expect(trials=40, epochs=360, at_a_time=4, most_seconds=None)
    assert cost.expected.model_dump() == {
        "trials": 40, "epochs": 360, "hours": 0.25, "gpu_hours": 0.5, "price": 1.0,
    }  # fmt: skip
    assert str(cost) == (
        "40 trials, about 360 epochs of 1,000 images at 100 images/s a trial: about 15 min 00 s, "
        "0.5 GPU-hours, a price of 1.00"
    )
    limited = PLAIN.expect(trials=40, epochs=360, at_a_time=4, most_seconds=450)
    assert limited.expected.model_dump() == {
        "trials": 40, "epochs": 180, "hours": 0.125, "gpu_hours": 0.25, "price": 0.5,
    }  # fmt: skip


def test_what_its_finalists_take_at_most_is_said_beside():
    cost = PLAIN.expect(trials=40, epochs=360, at_a_time=4, most_seconds=None)
    both = cost.expect_finalists(retrainings=44, epochs=10, at_a_time=4)
    assert both.expected == cost.expected
    assert both.finalists.model_dump() == {
        "trials": 44, "epochs": 440, "hours": pytest.approx(1100 / 3600),
        "gpu_hours": pytest.approx(2200 / 3600), "price": pytest.approx(4400 / 3600),
    }  # fmt: skip
    more = "; then at most 44 retrainings of the finalists, 18 min 20 s, 0.611 GPU-hours, "
    assert str(both) == f"{cost}{more}a price of 1.22"
    only = PLAIN.expect_finalists(44, 10, 4)
    assert str(only).startswith("at most 44 retrainings of the finalists, 18 min 20 s")
    assert cost.expect_finalists(0, 10, 4) == cost
    assert Cost().expect_finalists(44, 10, 4) == Cost()


def test_nothing_is_made_up_where_the_speed_is_not_known():
    cost = Cost(images_an_epoch=14_400).expect(20, 200, 4, None)
    assert cost.expected is None
    assert str(cost) == "14,400 images an epoch; the first trial will say how fast"


@given(
    trials=st.integers(1, 200),
    epochs=st.floats(0.1, 1e4),
    together=st.integers(1, 300),
    limit=st.none() | st.floats(0, 1e5),
)
def test_no_expectation_is_beyond_its_limit(trials, epochs, together, limit):
    expected = PLAIN.expect(trials, epochs, together, limit).expected
    assert expected.epochs <= epochs
    assert limit is None or expected.hours <= limit / 3600 * (1 + 1e-9)
    assert expected.gpu_hours == pytest.approx(0.5 * expected.hours * min(together, trials))
    assert expected.price == pytest.approx(4 * expected.hours)


def test_what_it_took_is_counted_from_the_trials():
    ended = [Spent(10, 1800.0), Spent(4, 900.0)]
    taken = took(PLAIN, 1800.0, ended)
    assert taken.model_dump() == {
        "trials": 2, "epochs": 14, "hours": 0.5, "gpu_hours": 0.375, "price": 2.0,
    }  # fmt: skip
    assert str(taken) == "30 min 00 s, 0.375 GPU-hours, a price of 2.00"
    assert in_summary(PLAIN, 1800.0, ended) == {
        "expected": None, "took": taken.model_dump(), "images": 14 * PLAIN.images_an_epoch,
    }  # fmt: skip
    assert in_summary(None, 1800.0, ended) is None
    assert str(took(Cost(), 60, [])) == "1 min 00 s"


def test_the_epochs_to_come_are_those_of_the_trials_left():
    ended = EndedTrial(trial_id="t0", state="complete", recipe="plain", epochs=10, seconds=1)
    begun = Progress(command="sweep", trials_total=5, epochs=10, started=0, updated=0)
    assert begun.epochs_to_come == 50
    begun = begun.model_copy(update={"ended": (ended,), "halved_epochs": 4.0})
    assert begun.epochs_to_come == 16
    assert begun.model_copy(update={"epochs_limit": 20}).epochs_to_come == 10

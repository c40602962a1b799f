"""Which trial labels."""

import pytest

from orchestrator.base.errors import InputError
from orchestrator.cli.predict import _recommended


def summary(holds, better="t000"):
    confirmed = None if holds == "not retrained" else {"holds": holds, "best": better}
    return {"best": {"trial_id": "t004"}, "confirmed": confirmed}


@pytest.mark.parametrize("holds", ["not retrained", None, True])
def test_the_winner_labels_unless_it_is_known_not_to_hold(holds, capsys):
    assert _recommended(summary(holds), "run") == "t004"
    assert capsys.readouterr().out == ""


def test_one_that_does_not_hold_gives_way_and_that_is_said(capsys):
    assert _recommended(summary(False), "run") == "t000"
    said = capsys.readouterr().out
    assert said.startswith("t004, the best of the search, does not hold")
    assert "t000 labels instead (--trial t004 for the other)" in said


def test_there_may_be_none():
    with pytest.raises(InputError, match="run: no trial of this run is complete"):
        _recommended({"best": None}, "run")

"""Which trial labels."""

import pytest

from orchestrator.base.errors import InputError
from orchestrator.cli.predict import _recommended


def summary(use, searched):
    return {"best": {"trial_id": use}, "searched_best": searched, "verdict": {"trial_id": use}}


def test_the_recommended_trial_labels(capsys):
    assert _recommended(summary("t004", "t004"), "run") == "t004"
    assert capsys.readouterr().out == ""


def test_one_that_others_beat_where_it_was_retrained_gives_way_and_that_is_said(capsys):
    assert _recommended(summary("t000", "t004"), "run") == "t000"
    said = capsys.readouterr().out
    assert said.startswith("t004, the best of the search, was not the best where it was trained")
    assert "t000 labels instead (--trial t004 for the other)" in said


def test_a_summary_of_an_older_version_has_its_best():
    assert _recommended({"best": {"trial_id": "t003"}}, "run") == "t003"


def test_there_may_be_none():
    with pytest.raises(InputError, match="run: no trial of this run is complete"):
        _recommended({"best": None}, "run")

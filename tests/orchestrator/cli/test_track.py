"""What a sweep says of its trackers is seen, once, wherever its words go just then."""

import pytest

from orchestrator.base.errors import InputError
from orchestrator.cli.track import VARIABLE, Words, destinations_of


class Screen:
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def test_words_are_on_the_screen_while_there_is_one(capfd):
    words, screen = Words(), Screen()
    words.say("before")
    with words.waiting():
        words.say("as Ray starts")
        with words.on(screen):
            words.say("meanwhile")
        words.say("as Ray ends")
        assert capfd.readouterr() == ("", "fairfront: before\n")
    assert capfd.readouterr().err == "fairfront: as Ray starts\nfairfront: as Ray ends\n"
    words.say("after")
    assert capfd.readouterr().err == "fairfront: after\n"
    assert screen.said == ["meanwhile"]


def test_words_of_a_sweep_that_fails_are_not_lost(capfd):
    words, screen = Words(), Screen()

    def sweep():
        with words.waiting(), words.on(screen):
            words.say("on the screen")
            raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        sweep()
    words.say("after")
    assert capfd.readouterr().err == "fairfront: after\n"
    assert screen.said == ["on the screen"]


def test_whom_to_tell_is_in_the_option_or_else_in_the_environment(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert destinations_of(None) == []
    monkeypatch.setenv(VARIABLE, "mlflow:http://a mlflow:b")
    assert [str(one) for one in destinations_of(None)] == ["mlflow:http://a", "mlflow:b"]
    assert [str(one) for one in destinations_of(["mlflow:c"])] == ["mlflow:c"]
    with pytest.raises(InputError, match=r"^--track …: give mlflow:URI\|FOLDER or wandb:PROJECT"):
        destinations_of(["http://me:s3cret@host"])

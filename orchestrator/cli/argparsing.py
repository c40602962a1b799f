"""An argument parser whose complaints are one line, and ask what may be meant."""

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from orchestrator.base.errors import InputError
from orchestrator.base.words import closest


class Parser(argparse.ArgumentParser):
    """Raises `InputError` for wrong words."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Refuse a command line."""
        raise InputError(f"{message} (see {self.prog} --help)")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        meant = did_you_mean(str(value), map(str, action.choices))
        known = ", ".join(map(str, action.choices))
        raise argparse.ArgumentError(
            action, f"invalid choice: {value!r}; {meant or f'choose from {known}'}"
        )

    def check_options(self, words: Sequence[str]) -> None:
        """Refuse the first option that this command has not; a missing one is said after it."""
        known = self._options()
        for word in words:
            if word == "--":
                return
            option = word.partition("=")[0]
            if option.startswith("--") and option not in known:
                meant = did_you_mean(option, known)
                self.error(f"unrecognized arguments: {word}" + f"; {meant}" * bool(meant))

    def _options(self) -> set[str]:
        """Return the options of this command and of what it has below it."""
        found = {option for action in self._actions for option in action.option_strings}
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found.update(*(parser._options() for parser in action.choices.values()))
        return found


def column_word(word: str) -> str:
    """Check a word of ``--column``, which takes all those that follow it."""
    if "=" not in word:
        raise argparse.ArgumentTypeError(
            f"{word}: give KEY=COLUMN; what is no such pair, as SOURCE, comes before --column"
        )
    return word


def threshold_word(kinds: Sequence[str]) -> Callable[[str], str]:
    """Return what checks the word of ``--threshold``: one of some kinds, or a probability."""

    def check(word: str) -> str:
        try:
            known = word in kinds or 0 <= float(word) <= 1
        except ValueError:
            known = False
        if not known:
            known_kinds = ", ".join(kinds)
            raise argparse.ArgumentTypeError(f"{word}: give {known_kinds} or a number from 0 to 1")
        return word

    return check


def positive(word: str) -> float:
    """Read a number above 0, of an option that limits something."""
    try:
        number = float(word)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{word}: give a number above 0")
    return number


class Workers(argparse.Action):
    """Reads ``N`` or ``MIN-MAX`` into `workers` and `min_workers`."""

    def __call__(self, _parser: Any, namespace: Any, words: Any, _option: Any = None) -> None:
        """Take the option's words."""
        numbers = re.fullmatch(r"(?:(\d+)-)?(-?\d+)", words)
        if numbers is None:
            raise argparse.ArgumentError(self, f"{words}: give a number, or a range as 2-4")
        namespace.workers = int(numbers[2])
        namespace.min_workers = int(numbers[1]) if numbers[1] else None
        if (namespace.min_workers or 0) > namespace.workers:
            raise argparse.ArgumentError(self, f"{words}: give the smaller number first")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Ask whether a similar word is meant; empty: there is none."""
    meant = closest(word, known)
    return f"did you mean {meant}?" if meant else ""


SECRETS = {
    "--study-storage": "FAIRFRONT_STUDY_STORAGE",
    "--webhook": "FAIRFRONT_WEBHOOK",
    "--track": "FAIRFRONT_TRACK",
}
"""Options of a sweep that may hold a secret, and the variables that say the same."""


def without_secrets(words: Sequence[str]) -> list[str]:
    """Return a command line without the options that may hold a secret."""
    left, rest = [], iter(words)
    for word in rest:
        if word in SECRETS:
            next(rest)
        elif word.partition("=")[0] not in SECRETS:
            left.append(word)
    return left

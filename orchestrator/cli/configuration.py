"""`fairfront config`: a configuration as settings make it, and the recipes."""

import argparse
from typing import TextIO

from orchestrator.base.console import new_table, open_console
from orchestrator.base.errors import InputError
from orchestrator.cli.arguments import configure, recipe_of
from orchestrator.config.layers import to_yaml
from orchestrator.config.recipes import RECIPES
from orchestrator.run.directory import Run


def show(arguments: argparse.Namespace, out: TextIO) -> None:
    """Print a configuration as YAML that ``--config`` reads: a run's, or one of settings."""
    if arguments.target is None:
        config = configure(arguments, recipe_of(arguments))
    elif arguments.recipe or arguments.config or arguments.set:
        raise InputError("config show: a run has its settings; give RUN, or --recipe and the like")
    else:
        config = Run.open(arguments.target).config
    out.write(to_yaml(config.model_dump()))


def list_recipes(out: TextIO) -> None:
    """List the recipes, and what each sets over the defaults."""
    table = new_table("recipe", "sets")
    for name, settings in RECIPES.items():
        words = ("null" if value is None else str(value).lower() for value in settings.values())
        pairs = (f"{key}={word}" for key, word in zip(settings, words, strict=True))
        table.add_row(name, " ".join(pairs) or "nothing: what a sweep's trials start from")
    console = open_console(out)
    console.print(table)
    console.print(
        "\ntrain --recipe NAME takes one; config show --recipe NAME prints every setting.",
        soft_wrap=True,
    )

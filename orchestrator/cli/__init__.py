"""The command line: words in, words out."""

from orchestrator.cli.main import main

__all__ = ["main"]

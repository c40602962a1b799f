"""Locks between processes."""

import subprocess
import sys
import textwrap

import pytest

from orchestrator.base.locks import held


@pytest.mark.parametrize(
    ("first", "second", "free"), [(0, 0, False), (1, 0, False), (0, 1, False), (1, 1, True)]
)
def test_only_those_that_share_hold_it_together(tmp_path, first, second, free):
    with held(tmp_path, shared=bool(first)) as ours:
        assert ours
        with held(tmp_path, shared=bool(second)) as others:
            assert others == free
    with held(tmp_path) as ours:
        assert ours


def test_it_goes_with_a_process_that_is_killed(tmp_path):
    code = """
        import os, pathlib, sys
        from orchestrator.base.locks import held
        lock = held(pathlib.Path(sys.argv[1]))
        assert lock.__enter__()
        os.kill(os.getpid(), 9)
    """
    words = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    assert subprocess.run(words, check=False).returncode == -9
    with held(tmp_path) as ours:
        assert ours

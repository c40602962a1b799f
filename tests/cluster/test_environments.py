import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray.runtime_env import RuntimeEnv

from cluster.environments import (
    Environment,
    parse_pairs,
    parse_variables,
    without_passwords,
    without_secrets,
)
from orchestrator.base.errors import InputError

pytestmark = pytest.mark.usefixtures("no_ray_settings")
LOCKED = ["numpy==2.4.6", "ray==2.60.0", "torch==2.14.1"]


@pytest.mark.parametrize("word", ["none", "pip", "uv", "image:registry:5000/fairfront@sha256:1"])
def test_environments_are_read_and_said(word: str):
    assert str(Environment.parse(word)) == word


@pytest.mark.parametrize(
    "word", ["conda", "", "image", "image:", "image:a b", "image:$(x)", "pip:"]
)
def test_another_environment_is_refused(word: str):
    with pytest.raises(InputError, match=r"^--env .*(give pip, uv, none or )?image:"):
        Environment.parse(word)


@pytest.mark.parametrize(
    ("word", "fields"),
    [
        ("none", {}),
        (
            "pip",
            {
                # Ray refuses a package that brings another Ray, and ours is the node's.
                "pip": {"packages": ["numpy==2.4.6", "torch==2.14.1"]},
                "config": {"setup_timeout_seconds": 1800},
            },
        ),
        (
            "uv",
            {
                "py_executable": "uv run --isolated --no-project --python "
                f"{sys.version_info.major}.{sys.version_info.minor} "
                "--with-requirements fairfront-lock.txt python",
                "config": {"setup_timeout_seconds": 1800},
            },
        ),
        ("image:x:1", {"image_uri": "x:1"}),
    ],
)
def test_an_environment_is_said_in_rays_words(word: str, fields: dict[str, Any]):
    environment = Environment.parse(word)
    assert environment.fields(LOCKED) == fields
    RuntimeEnv(**fields, env_vars={"A": "b"})  # which refuses what does not go together
    if not environment.takes_tree:
        with pytest.raises(ValueError, match="cannot be used together"):
            RuntimeEnv(**fields, working_dir="gcs://tree.zip")


def test_the_entry_point_survives_a_shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    arguments = ["predict", "a b", "$HOME", "it's", "*", "", "x;y"]
    script = tmp_path / "an other" / "python"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    script.chmod(0o755)

    def run(word: str = "none") -> str:
        line = Environment.parse(word).entry_point(arguments)
        path = {"PATH": f"{script.parent}:/usr/bin:/bin"}
        return subprocess.check_output(line, shell=True, env=path, text=True)

    expected = "|".join(["-m", "orchestrator", *arguments, ""])
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert run() == expected  # no environment: the head's python
    monkeypatch.setattr(sys, "prefix", "/an/environment")
    monkeypatch.setattr(sys, "executable", str(script))
    assert run() == expected
    monkeypatch.setattr(sys, "executable", "/not/on/the head/python")
    assert run() == expected
    for word in ("pip", "uv", "image:x"):  # the one that Ray has made, and no other
        monkeypatch.setattr(sys, "executable", "/bin/false")
        assert run(word) == expected
    monkeypatch.setenv("FAIRFRONT_PYTHON", str(script))
    assert run() == expected
    with pytest.raises(InputError, match=r"^FAIRFRONT_PYTHON=.*: --env pip has its own Python"):
        run("pip")


def test_variables_are_given_or_taken_from_here(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HERE", "a=b c")
    assert parse_variables(["HERE", "THERE=x=y", "EMPTY="]) == {
        "HERE": "a=b c",
        "THERE": "x=y",
        "EMPTY": "",
    }


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "NOT_SET_HERE",
            "^--env-var NOT_SET_HERE: not set here; set it, or give NOT_SET_HERE=",
        ),
        ("=secret", "^--env-var : give NAME=VALUE"),
        ("a-b=secret", "^--env-var a-b: give NAME=VALUE"),
    ],
)
def test_a_variable_that_is_none_is_refused_without_its_value(word: str, message: str):
    with pytest.raises(InputError, match=message) as raised:
        parse_variables([word])
    assert "=secret" not in str(raised.value)


def test_metadata_are_pairs():
    assert parse_pairs(["who=me", "why=a=b"]) == {"who": "me", "why": "a=b"}
    for word in ("who", "=me"):
        with pytest.raises(InputError, match=f"^--metadata {word}: give KEY=VALUE"):
            parse_pairs([word])


def test_secrets_are_known_by_name_and_by_the_password_of_a_url():
    secrets = {
        "HF_TOKEN": "1",
        "aws_secret_access": "2",
        "PGPASSWORD": "3",
        "AWS_ACCESS_KEY_ID": "4",
        "STUDY": "postgresql://me:pass@db/s",
    }
    assert without_secrets({**secrets, "AWS_REGION": "eu", "PLAIN": "s3://bucket/x"}) == {
        "AWS_REGION": "eu",
        "PLAIN": "s3://bucket/x",
    }


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("sweep --out /r --study-storage postgresql://me:pa:s@w@db/s --trials 9",
         "sweep --out /r --study-storage postgresql://me:***@db/s --trials 9"),
        ("sweep '--study-storage=mysql://me:pass@db:3306/s?ssl=1' --out /r",
         "sweep '--study-storage=mysql://me:***@db:3306/s?ssl=1' --out /r"),
        ("sweep --study-storage 'postgresql://db/s?user=me&password=pass&x=1'",
         "sweep --study-storage 'postgresql://db/s?user=me&password=***&x=1'"),
        ("prepare s3://bucket/a:b@c --out /d", "prepare s3://bucket/a:b@c --out /d"),
    ],
)  # fmt: skip
def test_a_job_is_listed_without_passwords(command: str, shown: str):
    assert without_passwords(command) == shown

"""The stubs: used strictly, and compared with the built module."""

import importlib
import os
import pathlib
import subprocess
import sys

import pytest

import hotset

pytest.importorskip("mypy", reason="mypy is in the extra 'test'")
HERE = pathlib.Path(__file__).parent


def run(*arguments, cwd):
    """Run a module of mypy; its cache goes to `cwd`, a temporary folder."""
    package = pathlib.Path(hotset.__file__).parents[1]
    environment = {**os.environ, "MYPYPATH": str(package)} if (package / "hotset" / "py.typed").exists() else os.environ
    if package.name in {"site-packages", "dist-packages"}:
        environment = os.environ  # installed: found by itself, and MYPYPATH must not name it
    process = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        cwd=cwd,
        env=dict(environment),
    )
    assert process.returncode == 0, process.stdout + process.stderr


def test_usage_is_strictly_typed(tmp_path):
    # Silent, as for an installed package: what it checks its callers for is unreachable to types.
    options = ("--strict", "--warn-unreachable", "--follow-imports=silent", "--config-file=")
    run("mypy", *options, str(HERE / "usage.py"), cwd=tmp_path)


def test_stubs_match_the_module(tmp_path):
    allowlist = str(HERE / "stubtest-allowlist.txt")
    run("mypy.stubtest", "hotset._engine", "hotset._lab", "hotset._wire", "--allowlist", allowlist, cwd=tmp_path)


def test_annotations_can_be_named_while_running():
    annotations = importlib.import_module("hotset.annotations")
    assert [name for name in annotations.__all__ if not hasattr(annotations, name)] == []


def test_the_package_says_that_it_is_typed():
    package = pathlib.Path(hotset.__file__).parent
    assert (package / "py.typed").exists()
    assert (package / "_engine.pyi").exists()

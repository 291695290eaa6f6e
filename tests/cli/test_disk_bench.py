"""The benchmark of the level on disk at tiny sizes: no figure is judged, only that all are measured."""

import json
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("diskcache")
pytest.importorskip("lmdb")
pytest.importorskip("numpy")
pytest.importorskip("rich")

from hotset.bench.disk.stores import STORES

SCRIPT = pathlib.Path(__file__).parents[2] / "benchmarks" / "disk.py"


@pytest.mark.skipif(not SCRIPT.exists(), reason="a copied tests folder has no benchmarks beside it")
def test_every_contestant_is_measured(tmp_path):
    report = tmp_path / "report.json"
    command = [sys.executable, str(SCRIPT), "--tiny", "--json", str(report)]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    rows = json.loads(report.read_text(encoding="utf-8"))["rows"]
    for name in ("disk-hit", "disk-write"):
        figures = rows[name]["figures"]
        assert set(figures) == {store.name for store in STORES}
        assert all(figure["median_ns"] > 0 for figure in figures.values())
    assert len(rows["disk-hit"]["bars"]) == 4

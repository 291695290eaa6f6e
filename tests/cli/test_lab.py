"""`hotset replay`, `curve`, `advise`, `experiment` and `report`: what they print, write and refuse."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("matplotlib")
pytest.importorskip("rich")

from hotset import POLICIES, replay  # noqa: E402 - what needs NumPy comes after it
from hotset.cli import main  # noqa: E402
from hotset.lab.formats import FORMATS as KINDS  # noqa: E402
from hotset.lab.generators import generate  # noqa: E402

PNG = b"\x89PNG\r\n"


@pytest.fixture
def trace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keys = generate("scan", 1_000, 20_000).keys
    np.savez(tmp_path / "t.npz", keys=keys, sizes=keys % 5 + 1, times=np.arange(len(keys)))
    return keys


def hotset(capsys, *arguments):
    code = main(list(map(str, arguments)))
    out, err = capsys.readouterr()
    return code, out, err


def test_replay_of_a_text_trace_prints_a_table_and_draws_a_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys").write_text("a\nb\na\nc\nb\n" * 30)
    code, out, err = hotset(capsys, "replay", "keys", "--sizes", "2,50%,100%", "--policy", "lru,belady")
    assert (code, err) == (0, "")
    assert re.search(r"^keys: 150 requests, 3 distinct keys$", out, re.MULTILINE)
    assert re.search(r"^hit ratio, % +2 +3$", out, re.MULTILINE)
    assert re.search(r"^lru +[\d.]+ +98.00$", out, re.MULTILINE)
    assert re.search(r"^belady +[\d.]+ +98.00$", out, re.MULTILINE)
    assert (tmp_path / "hotset-replay.png").read_bytes().startswith(PNG)


def test_replay_writes_every_cell(trace, capsys):
    options = ("--sizes", "5%,10%", "--csv", "t.csv", "--json", "t.json", "--output", "t.svg", "--threads", 2)
    code, _, err = hotset(capsys, "replay", "t.npz", *options)
    assert (code, err) == (0, "")
    with Path("t.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with Path("t.json").open(encoding="utf-8") as file:
        cells = json.load(file)["cells"]
    assert [(row["policy"], int(row["size"])) for row in rows] == [(cell["policy"], cell["size"]) for cell in cells]
    assert {cell["policy"] for cell in cells} == {*POLICIES, "belady"}
    for cell in cells:
        if cell["policy"] != "belady":
            assert cell["hits"] == replay(cell["policy"], cell["size"], trace).hits
    with Path("t.svg").open(encoding="utf-8") as file:
        assert "<svg" in file.read()


def test_replay_by_bytes(trace, capsys):
    options = ("--weigh", "--sizes", "10%,500B", "--json", "t.json", "--no-picture", "--policy", "lru,bound")
    code, out, _ = hotset(capsys, "replay", "t.npz", *options)
    assert code == 0
    assert "500B" in out
    with Path("t.json").open(encoding="utf-8") as file:
        figures = json.load(file)
    expected = replay("lru", 500, trace, (trace % 5 + 1).astype(float))
    cell = next(cell for cell in figures["cells"] if (cell["policy"], cell["size"]) == ("lru", 500))
    assert (cell["hits"], cell["byte_hit_ratio"]) == (expected.hits, expected.byte_hit_ratio)


def test_curve_has_the_exact_lru_and_the_limit(trace, capsys):
    code, out, err = hotset(
        capsys, "curve", "t.npz", "--points", 5, "--json", "c.json", "--csv", "c.csv", "--keys", 400
    )
    assert (code, err) == (0, "")
    assert "* from a sample of" in out
    with Path("c.json").open(encoding="utf-8") as file:
        curves = {curve["policy"]: curve for curve in json.load(file)["curves"]}
    assert set(curves) == {*POLICIES, "belady"}
    assert curves["lru"]["rate"] == curves["belady"]["rate"] == 1.0
    assert curves["arc"]["rate"] < 1.0
    for size, ratio in zip(curves["lru"]["sizes"], curves["lru"]["miss_ratios"], strict=True):
        assert ratio == pytest.approx(1 - replay("lru", size, trace).hit_ratio, abs=1e-6)
    with Path("c.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    assert all(float(row["belady"]) <= float(row["lru"]) + 1e-6 for row in rows)
    with Path("hotset-curve.png").open("rb") as file:
        assert file.read(6) == PNG


@pytest.mark.parametrize("option", ["--exact", "--sampled"])
def test_curves_of_one_kind(trace, capsys, option):
    options = ("--points", 4, "--no-picture", "--keys", 500, "--json", "c.json", "--policy", "lru,tinylfu")
    assert hotset(capsys, "curve", "t.npz", option, *options)[0] == 0
    with Path("c.json").open(encoding="utf-8") as file:
        rates = {curve["rate"] for curve in json.load(file)["curves"]}
    assert rates == {1.0} if option == "--exact" else len(rates) == 1 and rates.pop() < 1.0


def test_a_sample_of_a_trace_stands_for_all_of_it(trace, capsys):
    for command in ("replay", "curve"):
        assert hotset(capsys, command, "t.npz", "--sample", "0.3", "--no-picture", "--json", "s.json")[0] == 0
        with Path("s.json").open(encoding="utf-8") as file:
            figures = json.load(file)
        assert figures["distinct"] < 2_000


def test_a_generated_trace_needs_no_file(trace, capsys):
    code, out, _ = hotset(capsys, "replay", "loop:200:10k", "--sizes", "100", "--policy", "lru", "--no-picture")
    assert code == 0
    assert "loop: 10,000 requests, 200 distinct keys" in out
    assert re.search(r"^lru +0.00$", out, re.MULTILINE)
    assert "zipf: 5,000 requests" in hotset(capsys, "replay", "zipf", "--requests", 5_000, "--no-picture")[1]
    for bad in ("zipf:a", "zipf:1:2:3", "zipf:5%", "zipf:0"):
        code, _, err = hotset(capsys, "replay", bad)
        assert (code, err.count("\n")) == (2, 1)
    Path("zipf").write_text("a\nb\n")
    assert "zipf: 2 requests" in hotset(capsys, "replay", "zipf", "--no-picture")[1]


def test_advice_says_what_helps_and_what_it_costs(trace, capsys):
    money = ("--requests-per-day", "1e6", "--origin-price", 5, "--l1-price", 10, "--l2-price", 2, "--entry-bytes", 1000)
    code, out, err = hotset(capsys, "advise", "t.npz", "--size", "5%", "--l2", "20%", *money, "--json", "a.json")
    assert (code, err) == (0, "")
    with Path("a.json").open(encoding="utf-8") as file:
        advice = json.load(file)
    topics = [finding["topic"] for finding in advice["findings"]]
    assert topics == ["size", "size", "policy", "TTL", "one-hit wonders", "levels", "money"]
    assert set(advice["cost_per_month"]) == {"none", "l1", "l2", "both"}
    assert advice["cost_per_month"]["none"] == pytest.approx(30e6 / 1e6 * 5)
    assert advice["verdict"] in out
    assert "They hold if what comes is like it." in out


def test_the_experiment_shows_both(trace, capsys):
    code, out, _ = hotset(capsys, "experiment", "lru-vs-lfu", "--json", "e.json", "--output", "e.png")
    assert code == 0
    assert re.search(r"^temporal: .*; lru wins$", out, re.MULTILINE)
    assert re.search(r"^frequency: .*; lfu wins$", out, re.MULTILINE)
    with Path("e.json").open(encoding="utf-8") as file:
        assert [pattern["shown"] for pattern in json.load(file)] == [True, True]
    with Path("e.png").open("rb") as file:
        assert file.read(6) == PNG


def test_the_experiment_says_why_it_does_not_show_it(trace, capsys):
    code, out, _ = hotset(capsys, "experiment", "lru-vs-lfu", "--no-picture", "--capacity", 5_000)
    assert code == 0
    assert out.count("fit into 5,000 entries: nothing is evicted") == 2


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.sources, self.metas = [], [], []

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.sources += [named[name] for name in ("src", "href") if name in named]
        if tag == "meta":
            self.metas.append(named)
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_report_is_one_file_that_needs_nothing_else(trace, capsys):
    assert hotset(capsys, "report", "t.npz", "-o", "r.html")[0] == 0
    with Path("r.html").open(encoding="utf-8") as file:
        text = file.read()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert len(page.sources) == 2
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.metas
    assert "no policy exceeds it" in text
    assert all(f"<td>{policy}</td>" in text for policy in POLICIES)


def test_a_name_with_markup_is_no_markup(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = "a[b]<i>.txt"
    (tmp_path / name).write_text("".join(f"{number % 7}\n" for number in range(2_000)))
    code, _, _ = hotset(capsys, "report", name, "-o", "r.html")
    assert code == 0
    assert "<i>" not in (tmp_path / "r.html").read_text()
    assert name in hotset(capsys, "replay", name, "--no-picture")[1]


@pytest.mark.parametrize("lines", ["a\n", "a\na\n" * 100, "".join(f"{number}\n" for number in range(500))])
def test_a_trace_of_hardly_anything(tmp_path, monkeypatch, capsys, lines):
    monkeypatch.chdir(tmp_path)
    Path("few").write_text(lines)
    for command in (["replay"], ["curve"], ["curve", "--sampled"], ["report", "-o", "r.html"]):
        code, _, err = hotset(capsys, command[0], "few", *command[1:])
        assert (code, err) == (0, "")
    assert "too short to advise from" in Path("r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["replay", "none"], "trace none does not exist"),
        (["replay", "t.npz", "--policy", "best"], "unknown policy 'best'"),
        (["replay", "t.npz", "--policy", ","], "expected policies"),
        (["replay", "t.npz", "--sizes", "0"], "--sizes: a size must be above 0, not '0'"),
        (["replay", "t.npz", "--sizes", "-5"], "--sizes: a size must be as 5%, 1000, 10k or 64MB, not '-5'"),
        (["replay", "t.npz", "--sizes", "5MB"], "--sizes: '5MB' is in bytes, but entries are counted: use --weigh"),
        (["replay", "t.npz", "--output", "x.gif"], "a picture cannot be .gif"),
        (["replay", "t.npz", "--csv", "none/x.csv"], "cannot write none/x.csv"),
        (["replay", "keys", "--weigh"], "has no sizes to weigh by"),
        (["replay", "t.npz", "--format", "csv"], "a zero byte: this is no text"),
        (["curve", "t.npz", "--exact", "--sampled"], "exclude each other"),
        (["curve", "t.npz", "--rate", "1e-9"], "too few keys"),
        (["advise", "keys"], "150 requests: too few to advise from"),
        (["advise", "t.npz", "--policy", "belady"], "unknown policy 'belady'"),
        (["advise", "t.npz", "--size", "0"], "a size must be above 0"),
        (["advise", "t.npz", "--l1-price", "5"], "prices need --requests-per-day"),
        (["report", "t.npz", "-o", "none/r.html"], "cannot write none/r.html"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(trace, tmp_path, capsys, arguments, message):
    (tmp_path / "keys").write_text("a\nb\na\nc\nb\n" * 30)
    code, _, err = hotset(capsys, *arguments)
    assert code == 2
    assert message in err
    assert err.startswith("hotset: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["replay"], ["replay", "x", "--columns", "key"], ["advise", "x", "--latencies", "1"]]
)
def test_what_the_parser_refuses(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_the_kinds_that_can_be_named_are_those_there_are():
    from hotset.cli.lab import FORMATS

    assert set(FORMATS) == set(KINDS)

"""The guides' examples do what they say, and the programs beside them run, with memory alone and with a server."""

import doctest
import importlib.util
import re
from pathlib import Path

import pytest

from hotset.testing.tier_contract import TierContract

DOCS = Path(__file__).parents[1] / "docs"
pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="a copied tests folder has no guides beside it")

EXPECTED = {
    "cache_aside": ["Ann", "Ann", "Anna", "Anna", 2],
    "warming": [True, 300, 10, True, "user 999", 2],
    "invalidate_on_write": [5, 9, 8, 0, 8, 0, 4],
    "own_tier": ["a, loaded 1 times", "a, loaded 1 times", "a, loaded 2 times", 2],
    "read_through": ["Ann", "Ann", {1: "Ann", 2: "Bob", 3: "Cid"}, "nobody", "nobody", 3],
    "sqlalchemy_session": ["Ann", "Anna", "Anna", "Anna", 3],
    "write_around": ["title 7", "title 7", "a better title", "a better title", 3],
    "write_behind": [100, 200, 100, 200, 100, 1],
    "write_through": ["Ann", "Anna", "Anna", 2],
}


def guides():
    return sorted(DOCS.glob("*.md"))


@pytest.mark.parametrize("guide", guides(), ids=lambda path: path.stem)
def test_examples_of_a_guide_give_what_they_show(guide):
    if guide.stem == "disk":
        pytest.importorskip("fcntl")  # which DiskTier needs
    text = guide.read_text(encoding="utf-8")
    blocks = re.findall(r"^```pycon\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, guide.name, str(guide), 0)
    output = []
    assert doctest.DocTestRunner().run(examples, out=output.append).failed == 0, "".join(output)


@pytest.mark.parametrize("guide", guides(), ids=lambda path: path.stem)
def test_links_of_a_guide_lead_somewhere(guide):
    for target in re.findall(r"\]\(([^)]+)\)", guide.read_text(encoding="utf-8")):
        assert "://" in target or (DOCS / target.partition("#")[0]).exists(), target


def example(name):
    """Return a program beside the guides as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_run():
    assert {path.stem for path in (DOCS / "examples").glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("server", ["memory alone", "with a server"])
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_example_runs(name, server, request):
    if name == "sqlalchemy_session":
        pytest.importorskip("sqlalchemy")  # has no release for every Python
    module = example(name)
    if server == "memory alone":
        assert module.main() == EXPECTED[name]
    else:
        with request.getfixturevalue("valkey_server")() as valkey:
            *seen, queries = module.main(valkey.url)
        *expected, fewest = EXPECTED[name]
        assert seen == expected
        assert queries >= fewest  # a machine so busy that the server misses its time costs queries, and nothing else


if DOCS.exists():
    _own = example("own_tier")

    class TestOwnTier(TierContract):
        """As the guide has it."""

        def make_tier(self):
            self.shelf = _own.Shelf()
            return _own.ShelfTier(self.shelf)

        def make_peer(self):
            return _own.ShelfTier(self.shelf)


@pytest.fixture
def valkey_server():
    from hotset.testing.servers import ValkeyServer

    return ValkeyServer

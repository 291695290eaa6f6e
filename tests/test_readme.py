"""The README's examples do what it says, and its commands are the ones that CI and the package know."""

import doctest
import os
import re
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def text():
    return README.read_text(encoding="utf-8")


def test_examples_give_what_they_show(text):
    blocks = re.findall(r"^```pycon\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "README", str(README), 0)
    output = []
    result = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST).run(examples, out=output.append)
    assert result.failed == 0, "".join(output)
    assert result.attempted > 30


@pytest.mark.parametrize(("name", "extra"), [("bench", "bench"), ("demo", "demo"), ("test", "test")])
def test_each_command_is_one_line_to_paste(text, name, extra):
    (block,) = re.findall(rf"<!-- {name} command -->\n```sh\n(.*?)```", text, re.DOTALL)
    assert block.count("\n") == 1
    assert f"'.[{extra}]'" in block


def test_links_lead_somewhere(text):
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    headings = {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ")).lower().replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    }
    for target in targets:
        path, _, anchor = target.partition("#")
        assert not anchor or anchor in headings, target
        if path and (README.parent / ".git").exists():  # a copied tests folder has no neighbours
            assert (README.parent / path).exists(), target


def test_five_lines_with_a_server(text):
    """As they are there, but for where the server is and what the database says."""
    from hotset.testing.servers import MissingServerError, ValkeyServer

    (block,) = re.findall(
        r"^```python\n(from hotset import MemoryTier, RedisTier, TieredCache\n.*?)^```$", text, re.MULTILINE | re.DOTALL
    )
    asked = []

    def load_user(key):
        asked.append(key)
        return {"name": f"user {key}"}

    try:
        server = ValkeyServer().start()
    except MissingServerError as error:
        if os.environ.get("CI") and sys.platform != "win32":
            raise
        pytest.skip(str(error))
    with server:
        assert "redis://localhost:6379" in block
        names = {"load_user": load_user}
        exec(block.replace("redis://localhost:6379", server.url), names)
        cache = names["cache"]
        assert asked == [42]
        assert cache.get(42) == cache.get(42) == {"name": "user 42"}
        assert asked == [42, 42]
        cache.close()

"""Puts one class or function in the place of another before any test module is imported.

The runner says by environment which suite runs and what stands in: nothing of the suite's text is edited.
`CONFORMANCE_SUBJECT` empty means that the suite runs on its own library, which gives the figure to compare with.
"""

import importlib
import os


def subject():
    """The class or function under test, or None where the suite's own is."""
    name = os.environ.get("CONFORMANCE_SUBJECT", "")
    if not name:
        return None
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def replace_class(module, attribute):
    """Give `module.attribute` the subject, so that `from module import attribute` finds it."""
    setattr(importlib.import_module(module), attribute, subject())


def replace_functools():
    """Give CPython's `test_functools` a module "with the C accelerator" whose `lru_cache` is the subject."""
    helper = importlib.import_module("test.support.import_helper")
    fresh = helper.import_fresh_module

    def import_fresh_module(name, *args, **kwargs):
        module = fresh(name, *args, **kwargs)
        if name == "functools" and "_functools" in kwargs.get("fresh", ()):
            module.lru_cache = subject()
            module.cache = subject()(maxsize=None)
        return module

    helper.import_fresh_module = import_fresh_module


def apply():
    """Do what the environment asks for; the plugin checks afterwards that it took hold."""
    target = os.environ.get("CONFORMANCE_TARGET", "")
    if subject() is None or not target:
        return
    if target == "functools:lru_cache":
        replace_functools()
    else:
        replace_class(*target.split(":"))

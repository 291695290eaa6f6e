"""The suites: what each runs, on which of our classes, beside which figure, and which wrong class it must refuse."""

from dataclasses import dataclass

CACHETOOLS = "cachetools"
CACHETOOLS_VERSION = "8.0.1"
CACHETOOLS_SHA256 = "deb1d376d4d28c2f33f3e3058043b005e0af75c35c094bd54053e27d2906ad95"
FUNCTOOLS = "functools"
MAPPING = "mapping"


@dataclass(frozen=True)
class Suite:
    """One test file and the classes it judges."""

    origin: str  # where the text comes from, and the section of skips.toml
    selection: str  # what pytest is told to run, relative to the prepared folder
    target: str  # module:attribute that is replaced; empty where the prepared module asks for the subject itself
    subjects: tuple[str, ...]  # classes or functions of ours, module:attribute
    own: str  # what the suite was written for, as shown
    least: int  # the own library runs at least this many tests, or the suite was not found
    control: str  # a wrong subject ...
    refused_by: str  # ... and the test that must fail on it
    keyword: str = ""  # narrows the selection


def cachetools_suite(policy: str, control: str, refused_by: str) -> Suite:
    name = f"{policy.upper()}Cache"
    return Suite(
        origin=CACHETOOLS,
        selection=f"cachetools_suite/test_{policy}.py",
        target=f"cachetools:{name}",
        subjects=(f"LIBRARY:{name}",),
        own=f"cachetools.{name}",
        least=29,
        control=f"adapters:{control}",
        refused_by=refused_by,
    )


def nested_timer_suite(policy: str, test: str, control: str) -> Suite:
    name = f"{policy.upper()}Cache"
    return Suite(
        origin=CACHETOOLS,
        selection=f"cachetools_suite/test_{policy}.py",
        target=f"cachetools:{name}",
        subjects=(f"adapters:Nested{name}",),
        own=f"cachetools.{name}",
        least=1,
        control=f"adapters:{control}",
        refused_by=test,
        keyword=test,
    )


MAPPED = (
    "LRUCache",
    "LFUCache",
    "ARCCache",
    "TinyLFUCache",
    "SieveCache",
    "ClockCache",
    "SLRUCache",
    "S3FIFOCache",
    "TwoQCache",
    "LIRSCache",
    "GDSFCache",
    "Cache",
    "FIFOCache",
    "RRCache",
    "TTLCache",
    "TLRUCache",
)

SUITES = (
    cachetools_suite("lru", "FIFOForLRU", "test_lru"),
    cachetools_suite("lfu", "LRUForLFU", "test_lfu"),
    cachetools_suite("fifo", "LRUForFIFO", "test_fifo"),
    cachetools_suite("rr", "DeafRR", "test_rr_bad_choice"),
    cachetools_suite("ttl", "EternalTTL", "test_ttl"),
    cachetools_suite("tlru", "EternalTLRU", "test_ttu"),
    nested_timer_suite("ttl", "test_ttl_expire", "EternalTTL"),
    nested_timer_suite("tlru", "test_ttu_expire", "EternalTLRU"),
    Suite(
        origin=FUNCTOOLS,
        selection="stdlib/test_functools.py::TestLRUC",
        target="functools:lru_cache",
        subjects=("LIBRARY:lru_cache",),
        own="functools.lru_cache",
        least=27,
        control="adapters:boundless_lru_cache",
        refused_by="test_lru",
    ),
    Suite(
        origin=MAPPING,
        selection="stdlib/test_mapping.py",
        target="",
        subjects=tuple(f"adapters:Mapping{name}" for name in MAPPED),
        own="dict",
        least=54,
        control="adapters:ContainsNothing",
        refused_by="test_contains",
    ),
)

# Collected in place of mapping_tests.py itself, whose classes name no type to test.
MAPPING_MODULE = """\
import mapping_tests
import repoint

dict = repoint.subject() or dict


class BasicTest(mapping_tests.BasicTestMappingProtocol):
    type2test = dict


class MappingTest(mapping_tests.TestMappingProtocol):
    type2test = dict


class HashTest(mapping_tests.TestHashMappingProtocol):
    type2test = dict
"""

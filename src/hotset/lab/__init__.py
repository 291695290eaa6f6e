"""The lab: traces, replays, miss-ratio curves and advice. Needs the extra `hotset[lab]`."""

from __future__ import annotations

try:
    import numpy as _numpy  # noqa: F401 - all of it needs NumPy, and one clear word is better than a traceback
except ImportError as error:
    raise ImportError('hotset.lab needs numpy; install with: pip install "hotset[lab]"') from error

from hotset.lab.bounds import belady, bound
from hotset.lab.curves import Curve, default_sizes, lru_curve, policy_curve, sample_of
from hotset.lab.reading import read_trace
from hotset.lab.replays import Cell, Replays, replay_all
from hotset.lab.trace import Trace, TraceError

__all__ = [
    "Cell",
    "Curve",
    "Replays",
    "Trace",
    "TraceError",
    "belady",
    "bound",
    "default_sizes",
    "lru_curve",
    "policy_curve",
    "read_trace",
    "replay_all",
    "sample_of",
]

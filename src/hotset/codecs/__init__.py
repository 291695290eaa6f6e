"""How values become bytes: codecs by name, compression, seals.

What a value comes back as, by codec. With a declared type everything comes back as declared, or not at all; with
``Any`` a value comes back as what its encoding can tell:

==========================  ==============================  ==============================  ==============
value, type ``Any``         ``"msgpack"`` (the default)     ``"json"``                      ``"pickle"``
==========================  ==============================  ==============================  ==============
None, bool, int, str        the same                        the same                        the same
float                       the same                        the same; nan and inf are None  the same
bytes                       the same                        str (base64)                    the same
list, dict with str keys    the same                        the same                        the same
dict with int keys          the same                        str keys                        the same
tuple, set, frozenset       list                            list                            the same
datetime with a zone        the same instant, in UTC        str (ISO 8601)                  the same
datetime without, date,     str (ISO 8601)                  str (ISO 8601)                  the same
time, timedelta
Decimal, UUID               str                             str                             the same
Enum                        its value                       its value                       the same
dataclass, msgspec, attrs,  dict                            dict                            the same
pydantic
other classes               CodecError                      CodecError                      as they pickle
==========================  ==============================  ==============================  ==============

So that a value does not change its type with the level that it is found at, declare the type: ``tuple[int, ...]``,
``set[str]``, ``Decimal``, ``User``, ``list[User]``.
"""

from __future__ import annotations

from hotset.codecs.contract import Codec
from hotset.codecs.messages import JsonCodec, MsgpackCodec
from hotset.codecs.pickles import PickleCodec
from hotset.codecs.registry import CODECS, codec_named
from hotset.codecs.seal import Seal

__all__ = ["CODECS", "Codec", "JsonCodec", "MsgpackCodec", "PickleCodec", "Seal", "codec_named"]

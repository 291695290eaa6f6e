"""`python -m hotset`."""

from __future__ import annotations

import sys

from hotset.cli import main

sys.exit(main())

"""Re-points the class under test as soon as an interpreter starts, child interpreters of a test included."""

import repoint

repoint.apply()

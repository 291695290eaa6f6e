"""The benchmark of the tiered cache and its rivals, against a real server: what `benchmarks/tiered.py` runs.

Needs the packages of the extras `hotset[bench,redis,testing]`.

clients     one small file a contestant
place       the server of a run
values      the keys and values that are stored
laps        the timed loops, for plain and for coroutine functions
rows        what is timed, and the bars
stampede    how many loads many callers of one cold key cause
allocation  the memory that a hit takes
"""

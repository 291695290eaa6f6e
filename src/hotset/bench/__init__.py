"""The benchmark of hotset and its rivals: what `hotset bench` and the scripts in `benchmarks/` share.

Needs the packages of the extra `hotset[bench]`; nothing else in hotset imports it.

clients     one small file a contestant
workloads   requests that are generated or read from a trace file
timing      the race: every contestant in random order, several fresh instances each, medians
rows        what is timed
bars        limits, and whether they are met
replay      the speed of `hotset.replay`
memory      resident bytes an entry, each contestant in a process of its own
latency     percentiles of single operations, pauses included
hit_ratio   policies over traces
short       the short form of all of it
report      tables, progress, JSON
picture     the chart
"""

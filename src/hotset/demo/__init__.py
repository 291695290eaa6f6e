"""The demonstration: what `hotset demo` runs.

Needs the packages of the extra `hotset[demo]`; nothing else in hotset imports it.

origin      the database: users in SQLite, on disk
workload    which user each request is for, whether it writes, and when it is due
windows     what a stretch of the run has seen; stretches add up
crew        the threads that make the requests, and check what they read
outcome     what a run is to do, and what it has found
interrupts  Ctrl-C, held back where it would do harm
run         server, cache, outage and comparison: the one module that makes a tiered cache
report      live table, plain progress, tables, JSON
picture     the timeline
"""

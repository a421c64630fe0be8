"""The application: one engine from the outside, and everything that stands between it and its callers.

`engine` is the whole story in order; `batch`, `inbox` and `feed` are a submitted batch; `coroutines` and `loops` the
same for who awaits; `subscription` and `telling` what an engine tells; `engines`, `default` and `configuration` what
there is of them in a process.
"""

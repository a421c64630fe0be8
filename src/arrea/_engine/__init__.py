"""The engine: pure state machines that take inputs and the time, and hand back effects.

No I/O, no clock, no threads: its whole behaviour can be replayed from a script. The runtime feeds it.
"""

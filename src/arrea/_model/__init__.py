"""Values that every part shares: tasks, policies, results, errors, and what passes between engine and runtime.

Standard library only, and of that only what costs nothing to import: the command line has to feel
instant, so records here are hand-written slotted classes instead of dataclasses
(`docs/explanation/architecture.md` has the figures).
"""

"""Observers: what the engine tells goes from here to whoever subscribed. Nothing here can change an outcome."""

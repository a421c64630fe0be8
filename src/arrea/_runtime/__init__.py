"""The only folder that touches the operating system: starting, watching and ending work."""

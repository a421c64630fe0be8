"""The machine under `arrea.testing.FakeRuntime`: processes and calls that do what a script says, in scripted time."""

"""From what was asked to what will run. Nothing is started here."""

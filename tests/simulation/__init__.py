"""The engine under random scripts, faults and a fake clock."""

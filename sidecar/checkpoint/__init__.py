"""Checkpoint room: the state that counting resumes from after a restart. `replay.py` has the theory."""

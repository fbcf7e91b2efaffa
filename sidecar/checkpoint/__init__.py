"""Checkpoint and replay: the state that counting resumes from after a restart."""

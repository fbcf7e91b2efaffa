"""The status document, and the samples behind its curves."""

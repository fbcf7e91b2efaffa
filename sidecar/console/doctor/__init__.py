"""Diagnosis: faults found in the status document, each with its next command."""

"""Generators of the pages below `docs/reference` and of pictures made from code."""

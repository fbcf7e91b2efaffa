"""The reference pages below `docs/reference`, made from code."""

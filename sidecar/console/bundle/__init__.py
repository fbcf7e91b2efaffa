"""The diagnostics bundle."""

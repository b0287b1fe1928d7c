"""Fuzzing: every place where the product reads what others made. `python -m tests.fuzz --help`; docs/security.md."""

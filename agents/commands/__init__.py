"""The commands of `python -m agents`, a file each: what it takes, and what it does."""

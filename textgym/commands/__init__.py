"""The commands of `python -m textgym`, a file each: what it takes, and what it does."""

"""`python -m agents`: see `agents.cli`."""

from agents.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

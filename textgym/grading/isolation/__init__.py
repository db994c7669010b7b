"""What runs in the bare interpreters that execute untrusted programs, and what locks them down.

These modules import nothing but the standard library and one another, by relative imports: the
fork-server loads the package without the rest of textgym.
"""

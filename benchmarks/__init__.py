"""Benchmarks of textgym and agents; each prints one JSON line per figure. See README.md."""

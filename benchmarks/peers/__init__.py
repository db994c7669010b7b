"""Other libraries under the same stopwatch. Each is skipped where it is not installed."""

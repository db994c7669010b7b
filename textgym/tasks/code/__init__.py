"""Programming: problems that are generated or read, each with a reference and hidden tests."""

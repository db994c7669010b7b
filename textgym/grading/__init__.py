"""Rules that say what a response is worth, as pure functions of texts."""

"""Learners that consume any token environment."""

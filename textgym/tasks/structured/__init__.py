"""Say something in a given form."""

from __future__ import annotations

from textgym.tasks.structured.text_structured import TextStructured

__all__ = ["TextStructured"]

"""Readers turn bytes as sent into a table of text cells; what the cells mean is not decided here.

One module a format. A reader never converts, drops or guesses a value: it lands every cell as text, with the line it
came from, and notes what it saw on the way.
"""

from storage.readers.base import FormatSpec, Landed, Note, Unreadable, read

__all__ = ["FormatSpec", "Landed", "Note", "Unreadable", "read"]

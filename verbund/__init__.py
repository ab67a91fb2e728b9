"""The door: the command line, the demo region and the start of all processes.

Nothing is decided here: every command calls `quality` or `storage` and says what came of it.
"""

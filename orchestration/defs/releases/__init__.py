"""Releases: the job that freezes the foundation."""

"""Objects under keys, whole and never half: the interface in `base`, a folder in `local`.

What the keys mean is known next door, in `storage.vault` and `storage.paths`.
"""

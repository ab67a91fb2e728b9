"""Objects under keys, whole and never half: the interface in `base`, a folder in `local`, a bucket in `s3`.

What the keys mean is known next door, in `storage.vault` and `storage.paths`.
"""

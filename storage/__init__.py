"""Names, paths and bytes: the object store, the vault, the ledger, the lake and the readers.

What belongs here knows where things lie and how they are kept, never what they mean. Whether a delivery is good is
decided next door in `quality`.
"""

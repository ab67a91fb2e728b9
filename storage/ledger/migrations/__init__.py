"""How an older ledger becomes the present one: one file per step in `versions`, run by `Ledger.migrate`.

Steps only go forward: a ledger is restored from a copy, never rolled back with its events.
"""

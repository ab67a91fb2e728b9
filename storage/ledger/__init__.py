"""The ledger: what happened to every delivery, who did it and why.

`states` says what the events of a delivery mean, `tables` how they are kept, `ledger` writes and asks, `migrations`
brings an older ledger to the present shape.
"""

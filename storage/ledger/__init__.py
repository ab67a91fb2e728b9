"""The ledger: what happened to every delivery, who did it and why.

`ledger` writes and asks, `records` is what it takes and gives, `states` says what the events of a delivery mean,
`tables` how they are kept, `opening` knows the databases, and `migrations` brings an older ledger to the present shape.
"""

"""What was promised, and whether a delivery keeps it: contracts, dialects, rules, verdicts, receipts, the warm judge.

Everything here works without Dagster. Bytes, tables and states are kept next door in `storage`.
"""

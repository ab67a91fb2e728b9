"""Deliveries of every dataset: one pair of assets per contract, `judged` and `accepted`, one check per rule."""

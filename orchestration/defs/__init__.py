"""Definitions by what they concern: sources, deliveries, foundation, releases, maintenance."""

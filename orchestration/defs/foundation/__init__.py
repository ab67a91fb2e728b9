"""The foundation: dbt models as assets, what they must know of the state of supply, and when they are built."""

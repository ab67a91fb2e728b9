"""When and in which order: Dagster and only Dagster. What a delivery is worth is decided in `quality`.

The code location is `orchestration.definitions`; the process that tells Dagster what the judge did is
`orchestration.reporter`; Dagster's own storage is set up in `orchestration.instance`.
"""

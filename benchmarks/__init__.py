"""What the platform costs, measured beside a named baseline in the same run; `python -m benchmarks` runs all of it.

One module per row of results. Figures are ratios, with median and spread; nothing here is a test.
"""

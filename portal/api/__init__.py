"""The same acts as JSON for programs, under `/api/v1`: routes, what they answer, and how tokens are looked at."""

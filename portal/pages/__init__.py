"""Pages by what people come for; each calls `quality` and shows what it says."""

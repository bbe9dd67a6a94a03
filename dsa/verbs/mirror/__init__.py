"""Mirror: a store keeps copies of another's datasets; only what is missing travels, the refs last."""

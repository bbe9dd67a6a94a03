"""The format and its values, and the object store over a small Backend protocol.

Knows nothing of networks, terminals or configuration. `docs/format.md` has the bytes.
"""

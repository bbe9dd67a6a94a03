"""Backends: where stores lie. Local disk and memory; every other file system comes in here too."""

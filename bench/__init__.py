"""How fast dsa is, next to other programs that do the same work. bench/README.md tells how to run it."""

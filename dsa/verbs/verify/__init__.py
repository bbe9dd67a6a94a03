"""Verify: is what is published whole? `whole` goes through it; the others look at one kind of thing each."""

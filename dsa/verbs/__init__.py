"""One module for each thing that a person asks for: push, checkout, compare, verify and so on."""

"""What a person set: remotes by name, defaults, the cache; from files, the environment, and options."""

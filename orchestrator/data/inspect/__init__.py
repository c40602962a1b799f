"""What is in a prepared data set: counts, drops, the rule behind the class, a sheet of faces."""

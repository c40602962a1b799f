"""One training in plain torch, from batches to a trial's files; knows nothing of Ray."""

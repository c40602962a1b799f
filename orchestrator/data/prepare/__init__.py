"""From a source to a prepared data set, restartable after any kill."""

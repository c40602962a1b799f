"""Training and prediction on Ray: the session, the devices, shared data, one worker or many."""

"""Where faces come from: each kind of source, and the registry that opens one."""

"""Clusters to run jobs on: what each launcher reads, and one on this machine for rehearsals."""

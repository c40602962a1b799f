"""Runs fairfront's commands on a Ray cluster that is already there."""

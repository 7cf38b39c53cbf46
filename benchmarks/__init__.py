"""Measurements beside other movers, in one run: the machine's speed changes from run to run, ratios do not."""

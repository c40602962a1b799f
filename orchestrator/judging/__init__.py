"""Pure statistics on labels, logits and counts: metrics, thresholds, intervals, fronts."""

"""What a contestant is told, from the least to the most: each sees what those before it see, too."""

NOTHING, PREDICTION, TRUTH = "nothing", "prediction", "truth"
SEES = (NOTHING, PREDICTION, TRUTH)

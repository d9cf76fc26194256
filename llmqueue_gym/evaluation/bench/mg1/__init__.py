"""One server: synthetic laws with exact results, a recorded hour, a real length predictor."""

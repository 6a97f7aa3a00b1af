"""The fit around a training: what is held out, tried, chosen, finished and warned of."""

"""The metrics that the papers report on sentiment and emotions, as functions and as scorers.

Sentiment is a number from -3 to 3 that a regressor predicts; accuracy and F1 are those of its
sign. Emotions are labels that may be present together; each is scored by itself.

::

    from sklearn.model_selection import cross_validate
    from sklearn_mmfusion.metrics import sentiment_scorers

    cross_validate(estimator, X, y, scoring=sentiment_scorers())
"""

from ._emotions import emotion_accuracy, emotion_f1, emotion_scorers
from ._sentiment import (
    pearson_correlation,
    sentiment_accuracy,
    sentiment_f1,
    sentiment_scorers,
    seven_class_accuracy,
)

__all__ = [
    "emotion_accuracy",
    "emotion_f1",
    "emotion_scorers",
    "pearson_correlation",
    "sentiment_accuracy",
    "sentiment_f1",
    "sentiment_scorers",
    "seven_class_accuracy",
]

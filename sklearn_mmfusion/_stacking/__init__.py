"""scikit-learn's estimators as encoders: out-of-fold predictions as representations."""

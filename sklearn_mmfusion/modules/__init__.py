"""The parts of which the models are built: they know tensors, not users."""

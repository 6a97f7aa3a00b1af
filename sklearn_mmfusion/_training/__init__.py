"""The training of one network: batches, devices, epochs, checkpoints, and the polish."""

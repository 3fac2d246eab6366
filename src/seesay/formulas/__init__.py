"""Pure functions of tensors; they know nothing of files, flags, devices or ranks."""

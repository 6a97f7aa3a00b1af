"""Values as JSON and arrays in files that hold no code."""

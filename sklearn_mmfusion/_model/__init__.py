"""What a model is made of: the plan, its heads, and the seeds of its parts."""

"""Encoder parameter objects, which a user writes, and the choice among them."""

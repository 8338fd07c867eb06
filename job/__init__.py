"""Domain-adversarial training of facial-expression classifiers, from a laptop to many GPU nodes."""

__version__ = "0.1.0"

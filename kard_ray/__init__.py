"""kard_ray: distil reasoning with knowledge into small models, on Ray."""

__version__ = "0.1.0"

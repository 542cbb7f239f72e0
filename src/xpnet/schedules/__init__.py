"""Learning-rate schedules, under their public address; ``xpnet.core.schedules`` defines them."""

from xpnet.core.schedules import (
    Constant,
    Cosine,
    Custom,
    Exponential,
    InverseScaling,
    Plateau,
    Schedule,
    Step,
    WarmUp,
)

__all__ = [
    "Constant",
    "Cosine",
    "Custom",
    "Exponential",
    "InverseScaling",
    "Plateau",
    "Schedule",
    "Step",
    "WarmUp",
]

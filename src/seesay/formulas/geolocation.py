"""How far two places on the Earth are from each other. N = places."""

import numpy as np

# The mean radius of the Earth in km, as the field takes it.
RADIUS_KM = 6371.0


def great_circle_km(first_N2: np.ndarray, second_N2: np.ndarray) -> np.ndarray:
    """The shortest way over a sphere between places in degrees of latitude and longitude, (..., 2), in km, (...).

    The haversine formula, which is exact for near places too.
    """
    first_N2, second_N2 = np.radians(first_N2), np.radians(second_N2)
    half_N2 = np.sin((second_N2 - first_N2) / 2) ** 2
    both_N = np.cos(first_N2[..., 0]) * np.cos(second_N2[..., 0])
    chord_N = half_N2[..., 0] + both_N * half_N2[..., 1]
    # Of places on opposite sides rounding may give more than 1.
    return 2 * RADIUS_KM * np.arcsin(np.sqrt(np.minimum(chord_N, 1.0)))

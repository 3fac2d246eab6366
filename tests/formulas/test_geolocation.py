"""Distances on the Earth against ones that anybody can work out."""

import numpy as np
import pytest

from seesay.formulas.geolocation import RADIUS_KM, great_circle_km


@pytest.mark.parametrize(
    ("first", "second", "km"),
    [
        ((0, 0), (0, 0), 0),
        ((0, 0), (0, 90), RADIUS_KM * np.pi / 2),
        ((90, 17), (-90, -40), RADIUS_KM * np.pi),
        ((10, 20), (-10, -160), RADIUS_KM * np.pi),
        ((0, 179.5), (0, -179.5), RADIUS_KM * np.pi / 180),
        ((60, 0), (60, 1), RADIUS_KM * np.pi / 180 / 2),  # half as long as on the equator, by a hair
        ((48.8566, 2.3522), (51.5074, -0.1278), 343.56),  # Paris to London
        ((40.6413, -73.7781), (51.4700, -0.4543), 5540),  # New York to London, by air
    ],
)
def test_a_distance_is_that_of_the_atlas(first, second, km):
    assert great_circle_km(np.array(first), np.array(second)) == pytest.approx(km, rel=1e-3)


def test_many_places_are_compared_with_one_or_with_as_many():
    places = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    degree = RADIUS_KM * np.pi / 180
    assert great_circle_km(places[0], places) == pytest.approx([0, degree, degree])
    assert great_circle_km(places, places).tolist() == [0, 0, 0]

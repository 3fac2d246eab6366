"""How large the parts of a model may be: generous for real ones, and no file that lies about its size gets far."""

from typing import Annotated

from pydantic import Field

Width = Annotated[int, Field(ge=8, le=8192)]
PrefixWidth = Annotated[int, Field(ge=1, le=8192)]
Count = Annotated[int, Field(ge=1, le=128)]
# Guesses, as all that follow.
LEAST_SIDE, MOST_SIDE = 8, 2048
Side = Annotated[int, Field(ge=LEAST_SIDE, le=MOST_SIDE)]
Context = Annotated[int, Field(ge=3, le=4096)]
Vocabulary = Annotated[int, Field(ge=3, le=1_000_000)]

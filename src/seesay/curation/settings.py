"""What may be said of each stage of `seesay curate`: `--set stage.key=value`."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from seesay.base.settings import Settings

STAGES = ("match", "balance", "fetch", "filter", "dedup", "shards")
# The settings of images are of two stages, those of another section of the stage that has its name.
IMAGE_STAGES = ("fetch", "shards")
# What another setting has to ask for, so that these say anything.
NEEDED = {"share": "model", "least_score": "model", "clusters": "near", "preferred": "preferences"}
Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Port = Annotated[int, Field(gt=0, lt=65536)]


class MatchSettings(Settings):
    """How captions are compared with queries."""

    ignore_case: bool = False


class BalanceSettings(Settings):
    """How many pairs a query may have, and how they are chosen: `cut` is the paper's way, `draw` that of MetaCLIP."""

    per_query: Positive = 20_000
    how: Literal["cut", "draw"] = "cut"


class FetchSettings(Settings):
    """How images are got from the network. Sizes are bytes, times seconds.

    The number of tries is one more than `retries`. `ports` are those that a URL may name. `allow_private` are networks
    whose addresses may be reached although they are not public, and there any port. With `obey_robots` an answer that
    says noai, noimageai, noindex or noimageindex in X-Robots-Tag is left out.
    """

    workers: Annotated[int, Field(gt=0, le=512)] = 32
    per_host: Positive = 2
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    redirects: Annotated[int, Field(ge=0, le=20)] = 5
    deadline: Annotated[float, Field(gt=0)] = 20.0
    resolve_deadline: Annotated[float, Field(gt=0)] = 5.0
    least_rate: Annotated[int, Field(ge=0)] = 1024
    most_bytes: Positive = 20 << 20
    most_wait: Annotated[float, Field(ge=0)] = 60.0
    ports: tuple[Port, ...] = (80, 443)
    obey_robots: bool = True
    allow_private: tuple[str, ...] = ()


class ImageSettings(Settings):
    """How images are written: with their shorter side at most `size` pixels as JPEG of that `quality`, or as they are.

    An image that is small enough is not made larger, and without a size none is touched.
    """

    size: Positive | None = None
    quality: Annotated[int, Field(ge=1, le=100)] = 95


class FilterSettings(Settings):
    """What a pair must be to stay: the basic rules of DataComp, lists of what is blocked, and a score by a model.

    `language` is a code of ISO 639 or empty for any; words and characters are those of the caption, sides and aspect
    ratio those of the image. `blocked_words`, `blocked_hosts` and `blocked_hashes` name files with one entry a line.
    With a `model` the best `share` by the cosine of image and caption stays, or what scores `least_score`. With `near`,
    evaluation or training sets, images stay whose cluster is the nearest to one of theirs; there are `clusters` of the
    pool's images, or as many as there are images. With `preferences`, a table of choices (better, worse: paths of
    images), the best `preferred` by a score that is learned from them stays. Both read the image features of the model
    `features`.
    """

    language: str = "en"
    least_words: Annotated[int, Field(ge=0)] = 3
    least_characters: Annotated[int, Field(ge=0)] = 6
    least_side: Annotated[int, Field(ge=0)] = 200
    most_aspect: Annotated[float, Field(ge=1)] = 3.0
    blocked_words: str | None = None
    blocked_hosts: str | None = None
    blocked_hashes: str | None = None
    model: str | None = None
    share: Share = 0.3
    least_score: float | None = None
    near: tuple[str, ...] = ()
    clusters: Positive = 1000
    preferences: str | None = None
    preferred: Share = 0.3
    features: str = "box"

    @model_validator(mode="after")
    def check_use(self) -> "FilterSettings":
        """`ValueError` for what would say nothing, as no model is asked for it."""
        given = self.model_fields_set
        for name, needed in NEEDED.items():
            if name in given and not getattr(self, needed):
                raise ValueError(f"filter.{name} says nothing without filter.{needed}; set that too, or leave it out")
        if "features" in given and not (self.near or self.preferences):
            raise ValueError("filter.features is read for filter.near and filter.preferences; set one, or leave it out")
        if self.least_score is not None and "share" in given:
            raise ValueError("filter.share and filter.least_score are two ways to choose by one score; set one of them")
        return self


class DedupSettings(Settings):
    """Which images count as the same, inside the set and `against` the sets that are named.

    With a `model` they are those too whose embeddings have a cosine of `least_cosine`. An image that more than
    `most_copies` URLs or files give byte for byte is what servers send in place of another, and none of them stays.
    """

    is_near: bool = True
    model: str | None = None
    least_cosine: Annotated[float, Field(gt=0, le=1)] = 0.95
    most_copies: Positive = 100
    against: tuple[str, ...] = ()

    @model_validator(mode="after")
    def check_use(self) -> "DedupSettings":
        """`ValueError` for a cosine that nothing is compared by."""
        if "least_cosine" in self.model_fields_set and self.model is None:
            raise ValueError("dedup.least_cosine says nothing without dedup.model; set that too, or leave it out")
        return self


class ShardSettings(Settings):
    """How many pairs a tar holds."""

    pairs: Positive = 10_000


class CurateSettings(Settings):
    """A whole run: its stages in their order, and what each is to do."""

    aliases: ClassVar[Mapping[str, str]] = {"image_size": "image.size", "clip_score": "filter.model"}

    stages: tuple[str, ...] = STAGES
    rows: Positive = 10_000
    match: MatchSettings = MatchSettings()
    balance: BalanceSettings = BalanceSettings()
    fetch: FetchSettings = FetchSettings()
    image: ImageSettings = ImageSettings()
    filter: FilterSettings = FilterSettings()
    dedup: DedupSettings = DedupSettings()
    shards: ShardSettings = ShardSettings()

    @model_validator(mode="after")
    def check_stages(self) -> "CurateSettings":
        """`ValueError` for stages that are not known, come twice, or lack what they need."""
        known = ", ".join(STAGES)
        if unknown := [name for name in self.stages if name not in STAGES]:
            raise ValueError(f"stage {unknown[0]!r} is not known; the stages are {known}")
        if len(set(self.stages)) < len(self.stages) or not self.stages:
            raise ValueError(
                f"stages are {','.join(self.stages)!r}; name each of {known} at most once, and one at least"
            )
        order = {name: number for number, name in enumerate(self.stages)}
        if "balance" in order and order.get("match", len(order)) > order["balance"]:
            raise ValueError("stage 'balance' needs the queries that 'match' finds; put match before it")
        if order.get("shards", len(order) - 1) != len(order) - 1:
            raise ValueError("stage 'shards' writes the set; put it last")
        looks = {"dedup"} | ({"filter"} if self.filter.model or self.filter.near or self.filter.preferences else set())
        if late := [name for name in self.stages if name in looks and order[name] < order.get("fetch", -1)]:
            raise ValueError(f"stage {late[0]!r} looks at images, which 'fetch' gets; put fetch before it")
        return self

    @model_validator(mode="after")
    def check_use(self) -> "CurateSettings":
        """`ValueError` for settings of stages that are not done: they would say nothing."""
        for section in (*STAGES, "image"):
            users = IMAGE_STAGES if section == "image" else (section,)
            given = [name for name in getattr(self, section).model_fields_set if not set(users) & set(self.stages)]
            if given:
                raise ValueError(
                    f"{section}.{min(given)} is of the stage {' or '.join(users)}, and the stages are "
                    f"{','.join(self.stages)}; add that stage, or leave the setting out"
                )
        return self

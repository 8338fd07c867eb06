"""The section `objective`: one class of settings for each method, chosen by `objective.name`.

A new method needs a class here, listed in `Objective` below; the methods themselves are in `job/methods`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from job.config.section import BelowOne, Fraction, New, Section, Weight, Width, models_in
from job.config.terms import (
    AFNTermSettings,
    AnyTerm,
    DANTermSettings,
    DeepJDOTTermSettings,
    FixMatchTermSettings,
    MCCTermSettings,
    TermSettings,
)
from job.vocabulary import SOURCE, TARGET

_OFF = 0.02  # by which shares may miss the sum 1, for rounded ones


class MethodSettings(Section):
    """Settings that every method has."""

    name: str
    """The method: docs/methods.md."""
    label_smoothing: BelowOne = 0.0
    """Label smoothing of the class loss."""
    class_weights: Literal["none", "balanced"] | tuple[Weight, ...] = "none"
    """Weights of the classes in the class loss; balanced: inverse to their frequency in training."""

    label_shift: New[Literal["none", "correct"]] = "none"
    """correct: weight the source's classes by the class shares of the target, which evaluations estimate without
    labels."""

    target_shares: New[Annotated[tuple[Fraction, ...], Field(min_length=2)] | None] = None
    """Class shares of the target for label_shift=correct, in the order of the classes: known ones, or those that a run
    of source_only estimated; null: those that the evaluations of this run estimate."""

    score: ClassVar[str] = "infomax"  # default of selection.score
    reads: ClassVar[tuple[str, ...]] = (SOURCE, TARGET)  # whose images make a batch, in this order
    labelled: ClassVar[str | None] = SOURCE  # whose labels are read; None: no labels are read

    @model_validator(mode="after")
    def _one_kind_of_class_weights(self) -> "MethodSettings":
        if self.label_shift == "correct" and self.class_weights != "none":
            raise ValueError(
                "objective.label_shift=correct and objective.class_weights both weight the classes: set "
                "objective.class_weights=none"
            )
        if self.target_shares is not None and self.label_shift != "correct":
            raise ValueError("objective.target_shares are used with objective.label_shift=correct only: set it")
        if self.target_shares is not None and abs(sum(self.target_shares) - 1) > _OFF:
            raise ValueError(f"objective.target_shares sum to {sum(self.target_shares):.3g}: give shares that sum to 1")
        return self

    @property
    def terms(self) -> tuple[TermSettings, ...]:
        """The terms that are added to the loss."""
        return ()


class AdaptationSettings(MethodSettings):
    """Settings of methods whose batches hold both domains."""

    also: New[Annotated[tuple[AnyTerm, ...], Field(max_length=16)]] = ()
    """Terms to add to the loss, such as `[{name: coral, weight: 0.1}]`."""

    @model_validator(mode="after")
    def _each_term_once(self) -> "AdaptationSettings":
        names = [self.name, *(term.name for term in self.also)]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"objective.also adds {name} to {', '.join(names[:-1])}: a loss has each term once")
        return self

    @property
    def terms(self) -> tuple[TermSettings, ...]:
        return self.also


class AdversarialSettings(AdaptationSettings):
    """Settings of methods with a domain classifier behind a gradient reversal layer."""

    lambda_max: Weight = 1.0
    """Final factor of the reversed gradient."""
    gamma: Annotated[float, Field(gt=0, le=1e6)] = 10.0
    """Rate of the rise of lambda."""
    lambda_schedule: Literal["paper", "constant"] = "paper"
    """paper: lambda rises from 0 (Ganin et al. 2016, sec. 5.2.2). constant: lambda is lambda_max at every step."""
    domain_weight: Weight = 1.0
    """Constant factor of the domain loss, for domain classifier and feature extractor alike."""
    gradient_penalty: New[Weight] = 0.0
    """Weight of a penalty that keeps the domain classifier smooth, so that the feature extractor cannot evade it; 0
    turns it off, 1 is a good start."""


class DANNSettings(AdversarialSettings):
    """Domain-adversarial training."""

    name: Literal["dann"] = "dann"
    """The method: docs/methods.md."""
    entropy_weight: Weight = 0.0
    """Weight of the conditional entropy of the target predictions; rises with lambda."""
    pseudo_label_weight: Weight = 0.0
    """Weight of the loss with confident target predictions as labels of a second view; rises with lambda."""
    pseudo_label_threshold: Fraction = 0.9
    """Lowest confidence of a pseudo-label."""


class SourceOnlySettings(MethodSettings):
    """The lower bound: supervised learning on the source."""

    name: Literal["source_only"] = "source_only"
    """The method: docs/methods.md."""
    score: ClassVar[str] = "source_accuracy"
    reads: ClassVar[tuple[str, ...]] = (SOURCE,)


class TrainOnTargetSettings(MethodSettings):
    """The upper bound: supervised learning on the target."""

    name: Literal["train_on_target"] = "train_on_target"
    """The method: docs/methods.md."""
    score: ClassVar[str] = "target_accuracy"
    reads: ClassVar[tuple[str, ...]] = (TARGET,)
    labelled: ClassVar[str | None] = TARGET


class CDANSettings(AdversarialSettings):
    """Conditional adversarial domain adaptation."""

    name: Literal["cdan"] = "cdan"
    """The method: docs/methods.md."""
    entropy_conditioning: bool = True
    """Weight rows by the certainty of their prediction (CDAN+E)."""
    randomized: Width | None = None
    """Width of a random projection in place of the outer product; null: the product itself."""


class MCDSettings(AdaptationSettings):
    """Maximum classifier discrepancy."""

    name: Literal["mcd"] = "mcd"
    """The method: docs/methods.md."""
    discrepancy_weight: Weight = 1.0
    """Factor of the discrepancy in both adversarial phases."""
    feature_updates: Annotated[int, Field(ge=1, le=16)] = 4
    """Updates of the feature extractor in a step."""


class CORALSettings(AdaptationSettings):
    """Deep CORAL."""

    name: Literal["coral"] = "coral"
    """The method: docs/methods.md."""
    coral_weight: Weight = 1.0
    """Factor of the CORAL loss."""
    rises: bool = True
    """Raise the factor from 0 as DANN raises lambda, with gamma 10."""


class AdaBNSettings(MethodSettings):
    """Adaptive batch normalisation."""

    name: Literal["adabn"] = "adabn"
    """The method: docs/methods.md."""
    reads: ClassVar[tuple[str, ...]] = (SOURCE,)


class MCCSettings(AdaptationSettings, MCCTermSettings):
    """Minimum class confusion."""

    name: Literal["mcc"] = "mcc"
    """The method: docs/methods.md."""


class FixMatchSettings(AdaptationSettings, FixMatchTermSettings):
    """FixMatch on the target."""

    name: Literal["fixmatch"] = "fixmatch"
    """The method: docs/methods.md."""


class SHOTSettings(MethodSettings):
    """Source-free adaptation (SHOT)."""

    name: Literal["shot"] = "shot"
    """The method: docs/methods.md."""
    diversity_weight: Weight = 1.0
    """Factor of the entropy of the mean prediction, which is maximised; below 1 where target classes are uneven."""
    pseudo_label_weight: Weight = 0.3
    """Factor of the cross-entropy with pseudo-labels."""
    centroid_momentum: BelowOne = 0.95
    """Share of the classes' centroids that a step keeps."""
    reads: ClassVar[tuple[str, ...]] = (TARGET,)
    labelled: ClassVar[str | None] = None


class DANSettings(AdaptationSettings, DANTermSettings):
    """Deep adaptation network: maximum mean discrepancy with several kernels."""

    name: Literal["dan"] = "dan"
    """The method: docs/methods.md."""


class DeepJDOTSettings(AdaptationSettings, DeepJDOTTermSettings):
    """Deep joint distribution optimal transport."""

    name: Literal["deepjdot"] = "deepjdot"
    """The method: docs/methods.md."""


class AFNSettings(AdaptationSettings, AFNTermSettings):
    """Stepwise adaptive feature norm."""

    name: Literal["afn"] = "afn"
    """The method: docs/methods.md."""


DEFAULT = "dann"


def _method(objective: Any) -> str:
    """Return the name of the method of a section, which is a mapping or the settings themselves."""
    name = objective.get("name", DEFAULT) if isinstance(objective, dict) else getattr(objective, "name", objective)
    return str(name)


Objective = Annotated[
    Annotated[DANNSettings, Tag("dann")]
    | Annotated[SourceOnlySettings, Tag("source_only")]
    | Annotated[TrainOnTargetSettings, Tag("train_on_target")]
    | Annotated[CDANSettings, Tag("cdan")]
    | Annotated[MCDSettings, Tag("mcd")]
    | Annotated[CORALSettings, Tag("coral")]
    | Annotated[AdaBNSettings, Tag("adabn")]
    | Annotated[MCCSettings, Tag("mcc")]
    | Annotated[FixMatchSettings, Tag("fixmatch")]
    | Annotated[SHOTSettings, Tag("shot")]
    | Annotated[DANSettings, Tag("dan")]
    | Annotated[DeepJDOTSettings, Tag("deepjdot")]
    | Annotated[AFNSettings, Tag("afn")],
    Discriminator(_method),
]
SETTINGS: dict[str, type[MethodSettings]] = {
    settings.model_fields["name"].default: settings
    for settings in models_in(Objective)
    if issubclass(settings, MethodSettings)
}
# In version 0.1 every objective had these keys, and all but dann ignored them.
_IGNORED = {*AdversarialSettings.model_fields, *DANNSettings.model_fields} - {*AdaptationSettings.model_fields}


def complete(objective: Any) -> Any:
    """Drop DANN's keys from the two objectives of version 0.1 that ignored them."""
    if isinstance(objective, dict) and objective.get("name") in ("source_only", "train_on_target"):
        return {key: value for key, value in objective.items() if key not in _IGNORED}
    return objective


def switch_method(objective: dict[str, Any], name: str) -> None:
    """Replace a configuration's method by the method `name`, in place, and drop the keys that only the old one has.

    One file then serves all methods: ``configs/faces.yaml objective.name=mcd``. The weight of a term is dropped too,
    because weights of different losses are not comparable. ``dann+mcc`` is the method dann with the term mcc. A term
    that the file lists in ``objective.also`` keeps its settings; one that `name` does not mention is dropped, so that
    ``dann`` is plain DANN.
    """
    name, *terms = name.split("+")
    before, after = SETTINGS.get(objective.get("name", DEFAULT)), SETTINGS.get(name)
    if before is not None and after is not None and before is not after:
        for key in before.model_fields.keys() - (after.model_fields.keys() - TermSettings.model_fields.keys()):
            objective.pop(key, None)
    objective["name"] = name
    listed = objective.pop("also", None)
    settings = {term.get("name"): term for term in listed or () if isinstance(term, dict)}
    if terms:
        objective["also"] = [settings.get(term, {"name": term}) for term in terms]


def method_label(objective: Mapping[str, Any]) -> str:
    """Return the name of a stored section's method with those of its terms, such as ``dann+mcc``."""
    return "+".join([objective["name"], *(term["name"] for term in objective.get("also") or ())])

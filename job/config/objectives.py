"""The section `objective`: one class of settings for each method, chosen by `objective.name`.

A new method needs a class here, listed in `Objective` below; the methods themselves are in `job/methods`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from job.config.method_settings import AdaptationSettings, AdversarialSettings, MethodSettings
from job.config.section import BelowOne, Weight, Width, models_in
from job.config.terms import (
    AFNTermSettings,
    DANTermSettings,
    DeepJDOTTermSettings,
    FixMatchTermSettings,
    MCCTermSettings,
)
from job.vocabulary import SOURCE, TARGET


class DANNSettings(AdversarialSettings):
    """Domain-adversarial training."""

    name: Literal["dann"] = "dann"
    """The method: docs/methods.md."""
    not_new: ClassVar[frozenset[str]] = frozenset({"entropy_weight", "pseudo_label_weight", "pseudo_label_threshold"})


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
    """Replace a configuration's method by the method `name`, in place, and drop the keys that belong to the old one.

    One file then serves all methods: ``configs/faces.yaml objective.name=mcd``. Keys are kept that both methods have
    from a common base class: ``weight`` of `mcc` and of `fixmatch` are factors of different losses. ``dann+mcc`` is the
    method dann with the term mcc. A term that the file lists in ``objective.also`` keeps its settings; one that `name`
    does not mention is dropped, so that ``dann`` is plain DANN.
    """
    name, *terms = name.split("+")
    before, after = SETTINGS.get(objective.get("name", DEFAULT)), SETTINGS.get(name)
    if before is not None and after is not None and before is not after:
        bases = (base for base in before.__mro__ if issubclass(base, MethodSettings) and issubclass(after, base))
        for key in before.model_fields.keys() - next(bases).model_fields.keys():
            objective.pop(key, None)
    objective["name"] = name
    listed = objective.pop("also", None)
    settings = {term.get("name"): term for term in listed or () if isinstance(term, dict)}
    if terms:
        objective["also"] = [settings.get(term, {"name": term}) for term in terms]


def settings_of(label: str) -> type[MethodSettings] | None:
    """Return the settings class of a method's name or label; None if there is no such method.

    A label has terms, as in ``dann+mcc``, or settings behind the name, as in ``dann (optimizer.lr=0.01)``.
    """
    return SETTINGS.get(without_settings(label).partition("+")[0])


def without_settings(label: str) -> str:
    """Return the method and its terms of a label: ``dann+mcc`` of ``dann+mcc (optimizer.lr=0.01)``."""
    return label.partition(" ")[0]


def method_label(objective: Mapping[str, Any]) -> str:
    """Return the name of a stored section's method with those of its terms, such as ``dann+mcc``."""
    return "+".join([objective["name"], *(term["name"] for term in objective.get("also") or ())])

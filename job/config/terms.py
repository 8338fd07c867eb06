"""The entries of `objective.also`: terms that are added to the loss of a method. They are in `job/methods`."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from job.config.section import BelowOne, Fraction, Section, Weight, models_in


class TermSettings(Section):
    """Settings that every term has."""

    name: str
    """The term: docs/methods.md."""
    weight: Weight = 1.0
    """Factor of the term."""
    rises: bool = True
    """Raise the factor from 0 as DANN raises lambda, with gamma 10."""


class CORALTermSettings(TermSettings):
    """Distance of the covariances of the features of both domains."""

    name: Literal["coral"] = "coral"
    """The term: docs/methods.md."""


class EntropyTermSettings(TermSettings):
    """Conditional entropy of the target predictions."""

    name: Literal["entropy"] = "entropy"
    """The term: docs/methods.md."""


class MCCTermSettings(TermSettings):
    """Confusion of the classes by the target predictions."""

    name: Literal["mcc"] = "mcc"
    """The term: docs/methods.md."""
    temperature: Annotated[float, Field(gt=0, le=1e6)] = 2.5
    """Divisor of the logits; above 1 it makes the predictions less certain."""


class FixMatchTermSettings(TermSettings):
    """Confident target predictions as labels of a strongly augmented view."""

    name: Literal["fixmatch"] = "fixmatch"
    """The term: docs/methods.md."""
    threshold: Fraction = 0.95
    """Lowest confidence of a label; of the best learned class with per-class thresholds."""
    thresholds: Literal["per_class", "fixed"] = "per_class"
    """per_class: lower for classes that are learned less. fixed: `threshold` for all."""
    lowest_threshold: Fraction = 0.5
    """Lower limit of the per-class thresholds."""
    status_decay: BelowOne = 0.99
    """Decay per step of the averages that say how well a class is learned."""
    align: bool = False
    """Correct the predictions so that the classes are as frequent as in the source, before labels are chosen."""
    teacher_decay: BelowOne | None = None
    """Decay of a moving average of the network that predicts the labels; null: the network itself."""


def _name(term: Any) -> str:
    """Return the name of an entry, which is a mapping or the settings themselves."""
    return str(term.get("name", "") if isinstance(term, dict) else getattr(term, "name", ""))


AnyTerm = Annotated[
    Annotated[CORALTermSettings, Tag("coral")]
    | Annotated[EntropyTermSettings, Tag("entropy")]
    | Annotated[MCCTermSettings, Tag("mcc")]
    | Annotated[FixMatchTermSettings, Tag("fixmatch")],
    Discriminator(_name),
]
TERM_SETTINGS: dict[str, type[TermSettings]] = {
    settings.model_fields["name"].default: settings
    for settings in models_in(AnyTerm)
    if issubclass(settings, TermSettings)
}

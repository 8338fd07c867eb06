"""The entries of `objective.also`: terms that are added to the loss of a method. They are in `job/methods`."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from job.config.section import BelowOne, Fraction, Section, Weight, models_in

Above0 = Annotated[float, Field(gt=0, le=1e6)]


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
    temperature: Above0 = 2.5
    """Divisor of the logits; above 1 it makes the predictions less certain."""


class FixMatchTermSettings(TermSettings):
    """Confident target predictions as labels of a strongly augmented view."""

    name: Literal["fixmatch"] = "fixmatch"
    """The term: docs/methods.md."""
    threshold: Fraction = 0.95
    """Lowest confidence of a label; with per-class thresholds, that of the best learned class."""
    thresholds: Literal["per_class", "fixed"] = "per_class"
    """per_class: lower for classes that are learned less well. fixed: `threshold` for all."""
    lowest_threshold: Fraction = 0.8
    """Lower limit of the per-class thresholds."""
    status_decay: BelowOne = 0.99
    """Decay per step of the averages that say how well a class is learned."""
    align: bool = False
    """Correct the predictions so that the classes are as frequent as in the source, before labels are chosen; with
    objective.label_shift=correct, as in the target by its estimate."""
    teacher_decay: BelowOne | None = None
    """Decay of a moving average of the network that predicts the labels; null: the network itself."""


class DANTermSettings(TermSettings):
    """Maximum mean discrepancy of the features of both domains, with several kernels."""

    name: Literal["dan"] = "dan"
    """The term: docs/methods.md."""
    bandwidths: Annotated[tuple[Above0, ...], Field(min_length=1, max_length=100)] = (0.125, 0.25, 0.5, 1.0, 2.0)
    """Variances of the Gaussian kernels, as multiples of the mean squared distance of two rows."""
    logits: bool = False
    """Add the discrepancy of the class logits."""


class DeepJDOTTermSettings(TermSettings):
    """Optimal transport of source features and labels to target features and predictions."""

    name: Literal["deepjdot"] = "deepjdot"
    """The term: docs/methods.md."""
    weight: Weight = 0.1
    """Factor of the term."""
    distance_weight: Weight = 0.01
    """Factor of the squared distance of the features in the cost of a pair: alpha of the paper."""
    label_weight: Weight = 0.5
    """Factor of the class loss of the target's prediction with the source's label: lambda_t of the paper."""


class AFNTermSettings(TermSettings):
    """Growth of the norm of the features of both domains."""

    name: Literal["afn"] = "afn"
    """The term: docs/methods.md."""
    weight: Weight = 0.05
    """Factor of the term."""
    step: Above0 | None = None
    """Increase in length that the loss aims at for each feature vector: delta r of the paper, which has 1; null: by the
    vector's own length."""


def _name(term: Any) -> str:
    """Return the name of an entry, which is a mapping or the settings themselves."""
    return str(term.get("name", "") if isinstance(term, dict) else getattr(term, "name", ""))


AnyTerm = Annotated[
    Annotated[CORALTermSettings, Tag("coral")]
    | Annotated[EntropyTermSettings, Tag("entropy")]
    | Annotated[MCCTermSettings, Tag("mcc")]
    | Annotated[FixMatchTermSettings, Tag("fixmatch")]
    | Annotated[DANTermSettings, Tag("dan")]
    | Annotated[DeepJDOTTermSettings, Tag("deepjdot")]
    | Annotated[AFNTermSettings, Tag("afn")],
    Discriminator(_name),
]
TERM_SETTINGS: dict[str, type[TermSettings]] = {
    settings.model_fields["name"].default: settings
    for settings in models_in(AnyTerm)
    if issubclass(settings, TermSettings)
}

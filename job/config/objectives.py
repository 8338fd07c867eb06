"""The section `objective`: one class of settings for each method, chosen by `objective.name`.

A method that is added needs its class here, in `Objective` below; `job/methods` holds the methods themselves.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from job.config.section import BelowOne, Fraction, Section, Weight, Width, models_in


class MethodSettings(Section):
    """Settings that every method has."""

    name: str
    """The method: docs/methods.md."""
    label_smoothing: BelowOne = 0.0
    """Label smoothing of the class loss."""
    class_weights: Literal["none", "balanced"] | tuple[Weight, ...] = "none"
    """Weights of the classes in the class loss; balanced: inverse to their frequency in training."""

    score: ClassVar[str] = "infomax"  # what chooses the checkpoint, unless selection.score says otherwise
    supervised: ClassVar[bool] = False  # whether it trains with labels of the target


class AdversarialSettings(MethodSettings):
    """Settings of methods with a domain classifier behind a gradient reversal layer."""

    lambda_max: Weight = 1.0
    """The reversed gradient's final strength."""
    gamma: Annotated[float, Field(gt=0, le=1e6)] = 10.0
    """How fast lambda rises."""
    lambda_schedule: Literal["paper", "constant"] = "paper"
    """paper: lambda rises from 0 (Ganin et al. 2016, sec. 5.2.2). constant: it is lambda_max throughout."""
    domain_weight: Weight = 1.0
    """Constant factor of the domain loss, for the domain classifier and the encoder alike."""


class DANNSettings(AdversarialSettings):
    """Domain-adversarial training."""

    name: Literal["dann"] = "dann"
    """The method: docs/methods.md."""
    entropy_weight: Weight = 0.0
    """Weight of the conditional entropy of the target predictions; rises as lambda does."""
    pseudo_label_weight: Weight = 0.0
    """Weight of confident target predictions as labels of a second view; rises as lambda does."""
    pseudo_label_threshold: Fraction = 0.9
    """The least confidence of such a prediction."""


class SourceOnlySettings(MethodSettings):
    """The lower bound: supervised learning on the source."""

    name: Literal["source_only"] = "source_only"
    """The method: docs/methods.md."""
    score: ClassVar[str] = "source_accuracy"


class TrainOnTargetSettings(MethodSettings):
    """The upper bound: supervised learning on the target."""

    name: Literal["train_on_target"] = "train_on_target"
    """The method: docs/methods.md."""
    score: ClassVar[str] = "target_accuracy"
    supervised: ClassVar[bool] = True


class CDANSettings(AdversarialSettings):
    """Conditional adversarial domain adaptation."""

    name: Literal["cdan"] = "cdan"
    """The method: docs/methods.md."""
    entropy_conditioning: bool = True
    """Weight rows by the certainty of their prediction (CDAN+E)."""
    randomized: Width | None = None
    """Width of a random projection in place of the outer product; null: the product itself."""


class MCDSettings(MethodSettings):
    """Maximum classifier discrepancy."""

    name: Literal["mcd"] = "mcd"
    """The method: docs/methods.md."""
    discrepancy_weight: Weight = 1.0
    """Factor of the discrepancy in both adversarial phases."""
    feature_updates: Annotated[int, Field(ge=1, le=16)] = 4
    """Updates of the feature extractor in a step."""


class CORALSettings(MethodSettings):
    """Deep CORAL."""

    name: Literal["coral"] = "coral"
    """The method: docs/methods.md."""
    coral_weight: Weight = 1.0
    """Factor of the CORAL loss."""
    rises: bool = True
    """Let the factor rise from 0 as lambda does in DANN, with gamma 10."""


class AdaBNSettings(MethodSettings):
    """Adaptive batch normalisation."""

    name: Literal["adabn"] = "adabn"
    """The method: docs/methods.md."""


DEFAULT = "dann"


def _method(objective: Any) -> str:
    """Name the method of a section given as a mapping, or as its settings."""
    name = objective.get("name", DEFAULT) if isinstance(objective, dict) else getattr(objective, "name", objective)
    return str(name)


Objective = Annotated[
    Annotated[DANNSettings, Tag("dann")]
    | Annotated[SourceOnlySettings, Tag("source_only")]
    | Annotated[TrainOnTargetSettings, Tag("train_on_target")]
    | Annotated[CDANSettings, Tag("cdan")]
    | Annotated[MCDSettings, Tag("mcd")]
    | Annotated[CORALSettings, Tag("coral")]
    | Annotated[AdaBNSettings, Tag("adabn")],
    Discriminator(_method),
]
SETTINGS: dict[str, type[MethodSettings]] = {
    settings.model_fields["name"].default: settings
    for settings in models_in(Objective)
    if issubclass(settings, MethodSettings)
}
# Up to version 0.1 these keys stood in the configuration of every objective, which ignored them.
_IGNORED = {*AdversarialSettings.model_fields, *DANNSettings.model_fields} - {*MethodSettings.model_fields}


def complete(objective: Any) -> Any:
    """Drop DANN's keys from the two objectives of version 0.1 that ignored them."""
    if isinstance(objective, dict) and objective.get("name") in ("source_only", "train_on_target"):
        return {key: value for key, value in objective.items() if key not in _IGNORED}
    return objective


def switch_method(objective: dict[str, Any], name: str) -> None:
    """Replace a configuration's method by the method `name`, in place, and drop the keys that only the former has.

    So a file written for one method serves all: ``configs/faces.yaml objective.name=mcd``.
    """
    before, after = SETTINGS.get(objective.get("name", DEFAULT)), SETTINGS.get(name)
    if before is not None and after is not None:
        for key in before.model_fields.keys() - after.model_fields.keys():
            objective.pop(key, None)
    objective["name"] = name

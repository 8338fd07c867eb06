"""What the settings of several methods share."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from job.config.section import BelowOne, Fraction, New, Section, Weight
from job.config.terms import AnyTerm, TermSettings
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
    entropy_weight: New[Weight] = 0.0
    """Weight of the conditional entropy of the target predictions; rises with lambda."""
    pseudo_label_weight: New[Weight] = 0.0
    """Weight of the loss with confident target predictions as labels of a second view; rises with lambda."""
    pseudo_label_threshold: New[Fraction] = 0.9
    """Lowest confidence of a pseudo-label."""

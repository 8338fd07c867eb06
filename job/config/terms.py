"""The entries of `objective.also`: terms that are added to the loss of a method. They are in `job/methods`."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from job.config.section import Section, Weight, models_in


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


def _name(term: Any) -> str:
    """Return the name of an entry, which is a mapping or the settings themselves."""
    return str(term.get("name", "") if isinstance(term, dict) else getattr(term, "name", ""))


AnyTerm = Annotated[
    Annotated[CORALTermSettings, Tag("coral")]
    | Annotated[EntropyTermSettings, Tag("entropy")]
    | Annotated[MCCTermSettings, Tag("mcc")],
    Discriminator(_name),
]
TERM_SETTINGS: dict[str, type[TermSettings]] = {
    settings.model_fields["name"].default: settings
    for settings in models_in(AnyTerm)
    if issubclass(settings, TermSettings)
}

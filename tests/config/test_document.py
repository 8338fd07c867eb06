"""docs/configuration.md is up to date with the schema."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from job.config.document import PAGE, kind, page
from job.config.load import known_keys
from job.config.schema import Config
from job.config.section import models_in
from tests.support.running import REPO


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == page(), "run: python -m job.config.document --write"


def test_every_key_is_on_the_page_with_a_description():
    text = PAGE.read_text()
    for key in known_keys():
        assert f"`{key}`" in text or f"## {key}" in text, key
    for line in text.splitlines():
        if line.startswith("| `"):
            assert len(line.split("|")[-2].replace("*free.*", "").strip()) > 5, f"a docstring under the key: {line}"


def test_every_section_has_a_description():
    for field in Config.model_fields.values():
        for model in models_in(field.annotation):
            assert model.__doc__


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (bool, "true or false"),
        (Annotated[int, Field(gt=0, le=5)], "integer, above 0, at most 5"),
        (Annotated[float, Field(ge=0, lt=1)] | None, "number, at least 0, below 1, or null"),
        (tuple[str, ...], "list of text"),
        (tuple[Annotated[int, Field(ge=1)], ...] | None, "list of integers, at least 1, or null"),
        (tuple[float, float], "list of 2, each number"),
        (Literal["a", "b"] | tuple[float, ...], "`a`, `b`, or list of numbers"),
    ],
)
def test_kind_describes_allowed_values(annotation, text):
    assert kind(annotation) == text


def test_the_page_is_linked():
    assert "configuration.md" in (REPO / "docs" / "README.md").read_text()

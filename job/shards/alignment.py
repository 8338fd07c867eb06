"""How faces are aligned: stored in the manifest and in every checkpoint, so that `predict` repeats it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(gt=0, lt=1)]


class Alignment(BaseModel):
    """The detector of eyes, nose and mouth corners, and where a crop of edge 1 has the eyes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    detector: Literal["yunet"] = "yunet"  # Wu, Peng & Yu 2023, "YuNet: A Tiny Millisecond-level Face Detector"
    sha256: str = Field(pattern="^[0-9a-f]{64}$")  # of the detector's ONNX file
    least_score: Share = 0.7  # faces with a lower score do not count
    search_edges: tuple[Annotated[int, Field(ge=32, le=4096)], ...] = (640, 320)  # px, see YuNet.faces
    eye_distance: Share = 0.28  # of the edge: forehead and chin are in the crop, as in that of the cascade
    eye_height: Share = 0.4  # of the edge, from the top
    turned: Share = 0.65  # a head is turned where the eyes are closer than this share of the way down to the mouth

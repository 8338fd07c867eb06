"""Compute the mouth: lips, opening, teeth and tongue, and the parts attached to them (moustache, dent of the chin)."""

from job.face_drawing.action_units import Expression, mean
from job.face_drawing.appearance import Identity


def mouth(p: Identity, face: Expression, drop: float) -> dict[str, list[tuple[float, float, float]]]:
    """Return the control points of every part of the mouth; `drop` is how far the jaw is open, in face units."""
    parts = {}
    m = {unit: mean(face, unit) for unit in face}
    press = max(0.25, 1 - 0.6 * m[23] - 0.55 * m[24])
    gap = 0.055 * m[25] + 0.02 * m[12] * m[25]
    raised = 0.065 * m[10] + 0.03 * m[9] + 0.02 * m[12] + 0.3 * gap
    lowered = 0.05 * m[16] + 0.7 * gap + 0.95 * drop * min(1.0, m[25] + m[26]) - 0.035 * m[17]
    parted = 0.3 * gap + max(0.0, lowered) > 0.012
    width = p.mouth_width * (1 - 0.14 * m[23] - 0.12 * m[26] * (1 - m[12]) - 0.05 * m[17])
    y = p.mouth_y - 0.025 * m[17]
    corners = []
    for index, s in ((0, -1.0), (1, 1.0)):
        au = {unit: both[index] for unit, both in face.items()}
        x = s * (width + 0.09 * au[12] + 0.12 * au[20] + 0.01 * au[15])
        corners.append((x, y + 0.01 - 0.125 * au[12] + 0.115 * au[15] + 0.025 * au[20] + 0.45 * drop, 0.24))
    left, right = corners
    thick_up = p.upper_lip * press * (1 - 0.25 * m[12] - 0.25 * m[20] - 0.2 * m[9])
    thick_low = p.lower_lip * press * (1 - 0.15 * m[12] - 0.25 * m[20] + 0.25 * m[17])
    top, bottom = y - raised, y + max(lowered, -0.02)
    if not parted:
        bottom = top = y - 0.6 * raised + 0.4 * lowered
    square = 0.55 + 0.2 * m[20] + 0.15 * m[16]  # how much of its height the opening keeps towards the corners

    def line(height: float, bow: float, z: float) -> list:
        """Return a line between the corners at `height`; `bow` lowers the middle (Cupid's bow)."""

        def at(corner, share):
            return corner[0] * share, height * square ** (share > 0.5) + corner[1] * (1 - square ** (share > 0.5)), z

        return [
            left,
            at(left, 0.62),
            at(left, 0.25),
            (0, height + bow, z + 0.02),
            at(right, 0.25),
            at(right, 0.62),
            right,
        ]

    upper_out, upper_in = line(top - thick_up, 0.014, 0.42), line(top, 0.008, 0.4)
    lower_in, lower_out = line(bottom, 0.0, 0.38), line(bottom + thick_low, 0.004, 0.38)
    parts |= {"upper_out": upper_out, "upper_in": upper_in, "lower_in": lower_in, "lower_out": lower_out}
    edge = [(0.8 * x, min(y, top + 0.02) + 0.055, z) for x, y, z in reversed(upper_in[1:-1])]
    parts["upper_teeth"] = [(0.86 * x, y - 0.01, z) for x, y, z in upper_in[1:-1]] + edge
    edge = [(0.75 * x, y - 0.035, z) for x, y, z in lower_in[1:-1]]
    parts["lower_teeth"] = edge + [(0.75 * x, y + 0.02, z) for x, y, z in reversed(lower_in[1:-1])]
    parts["tongue"] = [
        (-0.13, bottom + 0.01, 0.35),
        (-0.08, bottom - 0.05, 0.35),
        (0, bottom - 0.06, 0.35),
        (0.08, bottom - 0.05, 0.35),
        (0.13, bottom + 0.01, 0.35),
        (0, bottom + 0.04, 0.35),
    ]
    parts["moustache"] = [
        (0, top - thick_up - 0.11, 0.46),
        (0.16, top - thick_up - 0.08, 0.42),
        (right[0] * 1.05, right[1] - 0.02, 0.26),
        (right[0] * 1.0, right[1] + 0.05, 0.26),
        (0.14, top - 0.3 * thick_up, 0.42),
        (0, top - 0.55 * thick_up, 0.44),
        (-0.14, top - 0.3 * thick_up, 0.42),
        (left[0] * 1.0, left[1] + 0.05, 0.26),
        (left[0] * 1.05, left[1] - 0.02, 0.26),
        (-0.16, top - thick_up - 0.08, 0.42),
    ]
    parts["under_lip"] = [
        (-0.13, bottom + thick_low + 0.035, 0.36),
        (0, bottom + thick_low + 0.045, 0.37),
        (0.13, bottom + thick_low + 0.035, 0.36),
    ]
    chin = (bottom + thick_low + p.chin_y + 0.7 * drop) / 2
    parts["chin"] = [(0, chin + 0.02, 0.35)]
    return parts

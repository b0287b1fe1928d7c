"""The report folder: report.md for people, report.json with every number, pictures; it appears whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from icface.attributes import AU_NAMES, POSE_NAMES
from icface.errors import ConfigError
from icface.files import replacing_folder
from training.evaluation.presence import THRESHOLD
from training.preparation.markdown import NOTHING, number, table

NUMBERS: Final = "report.json"
TEXT: Final = "report.md"
SOURCE: Final = {
    "neutral": "the most neutral frame of each clip",
    "strongest": "the frame with the most expression of each clip",
    "extreme-pose": "the frame of each clip in which the head is turned most",
    "random": "a frame of each clip, drawn by the seed",
    "first": "the first frame of each clip",
}
QUALITY: Final = (("X2Face", 28.89, 39.49), ("ICface", 25.02, 33.08))
"""The paper's table 1: method, CNNIQA of the output, DeepIQA of the output against the source; lower is better."""
PRESENCE: Final = (
    ("X2Face", 64.76, 0.4476),
    ("ICface", 62.86, 0.4185),
    ("GANimation", 61.77, 0.3944),
    ("ICface without neutraliser", 59.88, 0.3759),
    ("DAE", 59.86, 0.3734),
)
"""The paper's table 2: method, balanced accuracy in percent, F; higher is better."""
PICTURES: Final = (
    ("L1 ↓", "l1", 4),
    ("PSNR dB ↑", "psnr_db", 2),
    ("SSIM ↑", "ssim", 3),
    ("LPIPS ↓", "lpips", 3),
)
"""Where the driving frame is the right picture: heading, number, digits."""


@contextmanager
def replacing_report(target: Path) -> Iterator[Path]:
    """Give a folder to write to, which takes the place of `target` at the end; see `replacing_folder`.

    Raises:
        ConfigError: `target` holds something else than an older report.
        OSError: it cannot be written.
    """
    is_report = (target / NUMBERS).is_file()
    if target.exists() and not is_report and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} is there already and is not a report; choose another --out")
    with replacing_folder(target) as folder:
        yield folder


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """All numbers as JSON, where null is what was not measured, and the report as text for people."""
    text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / NUMBERS).write_text(text + "\n", encoding="utf-8")
    parts = [_head(report)]
    if "self" in report:
        parts += [
            _reenactment(report, "self"),
            _reenactment(report, "cross"),
            _response(report),
            _per_au(report),
            _jitter(report),
            _table_1(report),
            _table_2(report),
        ]
    if report["figures"]:
        parts.append("## Figures\n\n" + "\n\n".join(f"![{name}]({name})" for name in report["figures"]))
    parts.append("## What to bear in mind\n\n" + "\n".join(f"- {note}" for note in report["notes"]))
    (folder / TEXT).write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def _head(report: dict[str, Any]) -> str:
    data, models, judges = report["data"], report["models"], report["judges"]
    rows = [
        [name, m["kind"], m.get("step"), f"`{m['sha256'][:16]}…`", m["provenance"], m["licence"]]
        for name, m in models.items()
    ]
    lines = [
        "# Evaluation",
        f"Data: `{data['folder']}`, split {data['split']}: {data['identities']} identities, {data['tracks']} clips, "
        f"crops of {data['size_px']} pixels, attributes from {data['attribute_source']}, "
        f"on the scale {data['attribute_scale']}; "
        f"index sha256 `{data['sha256'][:16]}…`.",
        f"Command: `{report['command']}`",
        table(["model", "kind", "step", "sha256", "trained on", "licence"], rows),
    ]
    if judges:
        rows = [[j["network"], f"`{j['file']}`", f"`{j['sha256'][:16]}…`"] for j in judges.values()]
        lines.append(table(["measured with", "file", "sha256"], rows))
    notes = [f"- {name}: {note}." for name, facts in models.items() for note in facts["notes"]]
    return "\n\n".join([*lines, *(["\n".join(notes)] if notes else [])])


def _reenactment(report: dict[str, Any], kind: str) -> str:
    results, title = report[kind], f"## {kind.capitalize()}-reenactment\n\n"
    if not results:
        return title + "Not measured: the split has only one identity."
    same = kind == "self"
    told = (
        f"The source is {SOURCE[report['settings']['source_frame']]}; the others drive it. L1, PSNR and SSIM "
        "are on [0, 1] against the driving frame."
        if same
        else "The clip of one person drives the source of another; there is no right picture to compare with."
    )
    columns = (*(PICTURES if same else ()), ("CSIM ↑", "csim", 3))
    angles = [f"{name}° ↓" for name in POSE_NAMES]
    head = ["model", *(c[0] for c in columns), *angles, "APD° ↓", "AED ↓", "AU r ↑",
            "neutral° ↓", "neutral AU ↓", "faces seen", "missing", "refused"]  # fmt: skip
    rows = []
    for name, result in results.items():
        errors = result.get("pose_error_deg", {})
        rows.append(
            [
                name,
                *(number(result.get(key), digits) for _, key, digits in columns),
                *(number(errors.get(angle), 1) for angle in POSE_NAMES),
                number(result.get("apd_deg"), 1),
                number(result.get("aed"), 3),
                number(result.get("au_correlation_mean"), 2),
                number(result.get("neutral_angle_deg"), 1),
                number(result.get("neutral_expression"), 3),
                f"{result['faces_found']}/{result['frames']}" if "frames" in result else NOTHING,
                result["missing"],
                f"{len(result['refused'])}/{result['tasks']}",
            ]
        )
    judge = report["judges"].get("identity")
    identity = "an identity network" if judge is None else f"`{judge['file']}` ({judge['network']})"
    told += (
        f" CSIM is the cosine between output and source of the features of {identity}. Pose (mean absolute error in "
        "degrees, APD their mean) and Action Units (AED: mean absolute error; r: mean correlation, inside clips, over "
        "those that the drivers use) are what was asked for against what is measured again in the output, where it "
        "shows a face. As in the data, the tracker learns the neutral face from the measured frames themselves. Neutral: "
        "how far the model's neutral pictures are from it, in degrees (mean of pitch, yaw and roll) and as the mean "
        "Action Unit."
    )
    return f"{title}{told}\n\n{table(head, rows)}"


def _response(report: dict[str, Any]) -> str:
    results = report["response"]
    if not results:
        return ""
    first = next(iter(results.values()))
    told = (
        f"Each attribute is swept in {first['steps']} steps (pose ±{first['pose_reach_deg']:.0f}°, Action Units 0 to 1) "
        "from neutral on held-out sources and measured again, relative to the model's own neutral frame. ρ: Spearman's "
        "rank correlation, mean and least over sources; slope: shown per asked; ρ ≥ .9 and monotone: share of sources; "
        "a face that is not seen breaks monotony."
    )
    parts = [f"## Attribute response\n\n{told}"]
    head = ["attribute", "ρ", "least ρ", "slope", "ρ ≥ .9", "monotone", "faces seen"]
    for model, result in results.items():
        parts.append(f"**{model}**: {result['sources']} sources, {result['refused']} refused.")
        rows = [
            [
                name,
                *(number(values[key], 2) for key in ("spearman_mean", "spearman_least", "slope_mean")),
                *(f"{values[key]:.0%}" for key in ("share_good", "share_monotone")),
                f"{values['faces_found']}/{values['frames']}",
            ]
            for name, values in result["attributes"].items()
        ]
        if rows:
            parts.append(table(head, rows))
    return "\n\n".join(parts)


def _per_au(report: dict[str, Any]) -> str:
    parts = []
    for kind in ("self", "cross"):
        results = {
            name: result["pose_correlation"] | result["au_correlation"]
            for name, result in report[kind].items()
            if "au_correlation" in result
        }
        if results:
            rows = [
                [name, *(number(r[name], 2) for r in results.values())] for name in (*POSE_NAMES, *AU_NAMES)
            ]
            parts.append(f"{kind.capitalize()}-reenactment:\n\n{table(['', *results], rows)}")
    return "\n\n".join(["## Correlation of asked and measured, per attribute", *parts]) if parts else ""


def _jitter(report: dict[str, Any]) -> str:
    if not report["jitter"]:
        return ""
    rows = [
        [name, *(number(None if j[kind] is None else 1000 * j[kind], 2) for kind in ("exact", "noisy"))]
        for name, j in report["jitter"].items()
    ]
    told = (
        "Landmarks of the output of a driver that holds still: root mean square distance from their mean, in "
        "thousandths of the distance of the eye corners; with exactly constant attributes, and with noise of .01 on them."
    )
    return f"## Jitter\n\n{told}\n\n{table(['model', 'constant', 'noise .01'], rows)}"


def _table_1(report: dict[str, Any]) -> str:
    rows = [[f"{name} (paper)", number(a, 2), number(b, 2), NOTHING] for name, a, b in QUALITY]
    for name, result in report["self"].items():
        missing = f"{result['missing']}/{result['presence']['frames']}"
        rows.append([name, number(result.get("cnniqa"), 2), number(result.get("deepiqa"), 2), missing])
    told = (
        "Lower is better, with weights trained on LIVE. The paper's numbers are of VoxCeleb and its own set-up; they "
        "stand here for orientation."
    )
    lacking = [f"--{flag} WEIGHTS" for flag in ("cnniqa", "deepiqa") if flag not in report["judges"]]
    if lacking:
        told += f" Not measured: give {' and '.join(lacking)}."
    head = ["method", "CNNIQA ↓", "DeepIQA-FR against the source ↓", "missing"]
    return f"## Table 1 of the paper: image quality (self-reenactment)\n\n{told}\n\n{table(head, rows)}"


def _table_2(report: dict[str, Any]) -> str:
    rows = [
        [f"{name} (paper)", "OpenFace", NOTHING, number(accuracy, 2), number(f, 4), *[NOTHING] * 3]
        for name, accuracy, f in PRESENCE
    ]
    detail: list[str] = []
    for kind in ("self", "cross"):
        results = {name: result["presence"] for name, result in report[kind].items()}
        for name, presence in results.items():
            coverage = presence["frames_with_face"] / presence["frames"]
            numbers = [
                cell
                for counts in (presence["macro"], presence["micro"])
                for cell in (_percent(counts["balanced_accuracy"], 2), number(counts["f"], 4))
            ]
            rows.append(
                [
                    f"{name}, {kind}",
                    "; ".join(presence["measured_by"]),
                    f"{100 * coverage:.1f} %",
                    *numbers,
                    f"{report[kind][name]['missing']}/{presence['frames']}",
                ]
            )
        if results:
            head = [
                "",
                "frames in which the driver shows it",
                *(f"{name}: bal. acc. / F" for name in results),
            ]
            body = []
            for au in AU_NAMES:
                units = [presence["per_au"][au] for presence in results.values()]
                scores = [
                    f"{_percent(unit['balanced_accuracy'], 1)} / {number(unit['f'], 3)}" for unit in units
                ]
                body.append([au, units[0]["in_driver"], *scores])
            detail.append(f"{kind.capitalize()}-reenactment, per Action Unit:\n\n{table(head, body)}")
    told = (
        "Balanced accuracy in percent and F of Action Unit presence in the output against the driver; higher is better. "
        "Every frame whose driver is known counts, the same for all models: where the output shows no face or is "
        "missing, or the source was refused, no Action Unit is present in it. Coverage: the share of frames with a face "
        "in the output. "
        f"“Surrogate” is not OpenFace's classifier: present means an intensity of {THRESHOLD:g} or more on OpenFace's "
        "scale, from our own landmarks and relative to the neutral face that the tracker learns from the frames "
        "themselves, as OpenFace does; such rows cannot be compared with the paper's. Macro: mean over the Action "
        "Units for which it is defined (balanced accuracy needs both classes in the driver); micro: all counts together."
    )
    scores = [f"{score} ({how})" for how in ("macro", "micro") for score in ("bal. acc. %", "F")]
    head = ["method", "presence by", "coverage", *scores, "missing"]
    return "\n\n".join(
        [f"## Table 2 of the paper: Action Unit presence\n\n{told}", table(head, rows), *detail]
    )


def _percent(share: float | None, digits: int) -> str:
    return number(None if share is None else 100 * share, digits)

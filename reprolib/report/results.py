"""What a notebook hands to the report: tables, figures with their data, a verdict, and where it all came from.

Files go to ``build/<profile>/results`` and ``build/<profile>/figures``. The manifest ``<claim>.json`` is written last
and seals every file with its SHA-256: a notebook that fails or is killed leaves no manifest, and a report refuses a
claim without one.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Image
from matplotlib.figure import Figure

from reprolib import figures, statistics
from reprolib.mnist import figures as _mnist  # noqa: F401 - adds its plots to `figures`, as the next does
from reprolib.natural import figures as _natural  # noqa: F401
from reprolib.params import load
from reprolib.run import provenance, rules
from reprolib.run.errors import ReproError
from reprolib.run.files import ROOT, canonical, digest, place, remove, sealed, unsealed, write_atomically
from reprolib.schema import Params

FORMAT = 3
"""Of a manifest; raised when its meaning changes."""
NULLS = ["claim", "world", "criterion", "case", "null", "value", "outcome"]
"""Columns of ``results/nulls.csv``: what must not pass a criterion, and that it does not."""


def build_folder() -> Path:
    """Where runs are kept: ``REPROLIB_BUILD``, else ``build`` beside the package."""
    return place(os.environ.get("REPROLIB_BUILD") or ROOT / "build")


def run_name(params: Params) -> str:
    """``smoke``, ``cpu`` or ``gpu`` for a profile as it stands, and ``cpu-1a2b3c4d`` for one that was changed.

    So a changed run never mixes with the reference run, and runs with equal parameters share a folder.
    """
    ours = params.model_dump()
    same = ours == load({"profile": params.profile}).model_dump()
    return params.profile if same else f"{params.profile}-{digest(canonical(ours))[:8]}"


def store_folder(params: Params) -> Path:
    """Where results are kept; runs that start from one profile share it, because each result knows what made it."""
    return build_folder() / params.profile / "store"


class Results:
    """The results of one claim in one run."""

    def __init__(self, claim: str, params: Params, folder: Path | None = None) -> None:
        self.claim, self.params = claim, params
        self.folder = folder or build_folder() / run_name(params)
        self.files: dict[str, str] = {}
        self.verdicts: dict[str, dict[str, dict[str, str]]] = {}
        """World -> source, the first of which decides -> data set -> verdict."""
        self.nulls: list[pd.DataFrame] = []
        remove(self._manifest)  # from here on this claim is unfinished

    @property
    def _manifest(self) -> Path:
        return self.folder / "results" / f"{self.claim}.json"

    def _write(self, name: str, content: bytes) -> None:
        write_atomically(self.folder / name, content)
        self.files[name] = digest(content)

    def table(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Keep a table as ``results/<name>.csv`` and return it."""
        self._write(f"results/{name}.csv", figures.to_bytes(frame))
        return frame

    def figure(self, name: str, data: figures.Data) -> Figure:
        """Keep the data of a figure, draw the figure *from the kept file*, keep the picture, and return the figure."""
        file = f"figures/{name}{figures.suffix(data)}"
        self._write(file, figures.to_bytes(data))
        figure = figures.draw(name, self.folder / file)
        self._write(f"figures/{name}.png", figures.png(figure))
        plt.close(figure)
        return figure

    def animation(self, name: str, data: figures.Arrays) -> Image:
        """Keep ``frames`` (N, H, W, 3) and the animated picture of them, and return that for a notebook to show."""
        self._write(f"figures/{name}.npz", figures.to_bytes(data))
        content = figures.animated(data["frames"])
        self._write(f"figures/{name}.png", content)
        return Image(content, format="png")

    def judge(self, evidence: pd.DataFrame, world: str = "mnist") -> str:
        """Apply the claim's rule in a world to evidence (see ``statistics.judge``) per ``source``; return the verdicts
        on each data set as text. The first source decides; others, such as the authors' own CGN, stand beside it.

        A criterion that a null passes says nothing and is not counted: its rule is at fault, and results/nulls.csv
        shows by what.
        """
        name = rules.named(self.claim, world)
        evidence = evidence.assign(null=evidence.get("null", "")).fillna({"null": ""})
        real, nulls = evidence[evidence["null"] == ""], evidence[evidence["null"] != ""]
        judged = {
            source: statistics.judge(name, real[real["source"] == source]).drop(columns="null")
            for source in dict.fromkeys(real["source"])
        }
        found = self._nulls(name, world, nulls, list(dict.fromkeys(real["case"])))
        for null in found[found["outcome"] == "holds"].to_dict("records"):
            for table in judged.values():
                why = f"not counted: the null {null['null']!r} passes on {null['case']} ({null['value']:.4g})"
                table.loc[table["criterion"] == null["criterion"], "outcome"] = why
        tables = [table.assign(source=source) for source, table in judged.items()]
        self.table(f"{name}_verdict", pd.concat(tables, ignore_index=True))
        self.verdicts[world] = {
            source: {
                str(case): statistics.verdict_of_case(part["outcome"])
                for case, part in table.groupby("case", sort=False)
            }
            for source, table in judged.items()
        }
        self.nulls.append(found)
        return "\n".join(
            f"{source}: {', '.join(f'{case} {verdict}' for case, verdict in cases.items())}"
            for source, cases in self.verdicts[world].items()
        )

    def _nulls(self, name: str, world: str, evidence: pd.DataFrame, cases: list[str]) -> pd.DataFrame:
        """The table of nulls that a rule names, on each data set or on those where they were measured."""
        rows = []
        judged = statistics.judge(name, evidence)
        for criterion, wanted in rules.every()[name]["criteria"].items():
            for null in wanted["nulls"]:
                found = judged[(judged["criterion"] == criterion) & (judged["null"] == null)]
                row = {"claim": self.claim, "world": world, "criterion": criterion, "null": null}
                for case, value, outcome in zip(found["case"], found["mean"], found["outcome"], strict=True):
                    rows.append(row | {"case": case, "value": value, "outcome": outcome})
                if found.empty:
                    rows.append(row | {"case": ", ".join(cases), "value": None, "outcome": "not measured"})
        return pd.DataFrame(rows, columns=NULLS)

    def nulls_table(self) -> pd.DataFrame:
        """Keep and return the nulls of everything that was judged so far, with the columns NULLS."""
        return self.table(f"{self.claim}_nulls", pd.concat(self.nulls, ignore_index=True))

    def finish(self) -> None:
        """Seal the claim: the manifest with every file's hash, the parameters, and what made them.

        Raises ReproError for a claim without a verdict: the report could not say what came out.
        """
        if not any(self.verdicts.values()):
            raise ReproError(f"{self.claim} has no verdict; call judge() with its evidence before finish()")
        self.nulls_table()
        base = load({"profile": self.params.profile}).model_dump()
        ours = self.params.model_dump()
        manifest = {
            "format": FORMAT,
            "claim": self.claim,
            "files": self.files,
            "params": ours,
            "changed": sorted(key for key in ours if ours[key] != base[key]),
            "provenance": provenance.current() | {"rules_commit": provenance.rules_commit()},
            "rules": {name: rules.hashes()[name] for name in (rules.named(self.claim, each) for each in self.verdicts)},
            "deciding": {world: next(iter(found)) for world, found in self.verdicts.items() if found},
            "verdicts": self.verdicts,
        }
        write_atomically(self._manifest, sealed(manifest))


def read_manifest(folder: Path, claim: str) -> dict[str, Any]:
    """The manifest of a finished claim, after checking it and every file that it seals.

    Raises ReproError, naming the file, if the claim is unfinished or a file is missing or changed.
    """
    file = folder / "results" / f"{claim}.json"
    repair = f"run the notebook of {claim} again, or restore the file"
    if not file.is_file():
        raise ReproError(f"{claim} is not finished: {file} does not exist; {repair}")
    try:
        manifest = unsealed(file.read_bytes())
    except ValueError:
        raise ReproError(f"{file} is damaged; {repair}") from None
    if manifest.get("claim") != claim:
        raise ReproError(f"{file} is that of {manifest.get('claim')}; {repair}")
    if manifest.get("format") != FORMAT:
        raise ReproError(f"{file} was made by another version of reprolib; {repair}")
    for name, sha256 in manifest["files"].items():
        found = folder / name
        if not found.is_file():
            raise ReproError(f"{found} is missing; {repair}")
        if digest(found.read_bytes()) != sha256:
            raise ReproError(f"{found} was changed after it was made; {repair}")
    return manifest


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """A table of a run; empty cells stay empty strings in text columns."""
    table = pd.read_csv(io.BytesIO((folder / "results" / f"{name}.csv").read_bytes()))
    text = table.select_dtypes(exclude="number").columns
    return table.assign(**{column: table[column].fillna("") for column in text})


def read_text(folder: Path, name: str) -> pd.DataFrame:
    """A table of a run with every cell as the text that stands in the file."""
    return pd.read_csv(folder / "results" / f"{name}.csv", dtype=str, keep_default_na=False)

"""What a notebook hands to the report: tables, figures with their data, a verdict, and where it all came from.

Files go to ``results`` and ``figures`` of the run's folder. The manifest ``results/<claim>.json`` is written last and
seals every file with its SHA-256: a notebook that fails or is killed leaves no manifest, and a report refuses a claim
without one.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import display

from reprolib import figures, statistics
from reprolib.mnist import figures as _mnist  # noqa: F401 - adds its plots to `figures`, as the next does
from reprolib.natural import figures as _natural  # noqa: F401
from reprolib.natural import tables as _tables  # noqa: F401
from reprolib.params import changed
from reprolib.report.words import CRITERIA, markdown_table
from reprolib.run import ReproError, provenance, rules, store
from reprolib.run.files import ROOT, canonical, digest, place, remove, sealed, unsealed, write_atomically
from reprolib.run.store import Store
from reprolib.schema import Params

FORMAT = 4
"""Of a manifest; raised when its meaning changes."""
NULLS = ["claim", "world", "criterion", "case", "null", "value", "outcome", "measured"]
"""Columns of ``results/nulls.csv``: what must not pass a criterion, and that it does not; at last with its interval."""


def build_folder() -> Path:
    """Where runs are kept: ``REPROLIB_BUILD``, else ``build`` beside the package."""
    return place(os.environ.get("REPROLIB_BUILD") or ROOT / "build")


def run_name(params: Params) -> str:
    """``smoke``, ``cpu`` or ``gpu`` for a profile as it stands, and ``cpu-1a2b3c4d`` for one that was changed.

    So a changed run never mixes with the reference run, and runs with equal parameters share a folder.
    """
    return f"{params.profile}-{digest(canonical(params.model_dump()))[:8]}" if changed(params) else params.profile


def use_store(params: Params, kind: type[Store] = Store) -> Store:
    """Put the store of a run in use. Runs that start from one profile share it: each result knows what made it."""
    return store.use(kind(build_folder() / params.profile / "store"), params.threads)


@dataclass(frozen=True)
class Shown:
    """A sealed table or figure as a notebook displays it. The report takes it from there, and is refused without it."""

    outputs: tuple[tuple[dict[str, str], dict[str, str]], ...]
    """MIME bundles, each with its metadata: ``shows``, the file, and its ``sha256``."""

    def _ipython_display_(self) -> None:
        for data, metadata in self.outputs:
            display(data, metadata=metadata, raw=True)


class Results:
    """The results of one claim in one run."""

    def __init__(self, claim: str, params: Params, folder: Path | None = None) -> None:
        self.claim, self.params = claim, params
        self.folder = folder or build_folder() / run_name(params)
        self.manifest = self.folder / "results" / f"{claim}.json"
        self.files: dict[str, str] = {}
        self.verdicts: dict[str, dict[str, dict[str, str]]] = {}
        """World -> source, the first of which decides -> data set -> verdict."""
        self.nulls: list[pd.DataFrame] = []
        remove(self.manifest)  # from here on this claim is unfinished

    def _write(self, name: str, content: bytes) -> dict[str, str]:
        """Keep and seal a file; return the metadata of what shows it."""
        write_atomically(self.folder / name, content)
        self.files[name] = digest(content)
        return {"shows": name, "sha256": self.files[name]}

    def _table(self, name: str, frame: pd.DataFrame, text: str) -> Shown:
        """Keep a table as ``results/<name>.csv``, which a notebook shows as this text."""
        return Shown((({"text/markdown": text}, self._write(f"results/{name}.csv", figures.to_bytes(frame))),))

    def table(self, name: str, frame: pd.DataFrame, caption: str, takeaway: str) -> Shown:
        """Keep a table as ``results/<name>.csv``; a notebook shows it between its caption and what it says."""
        told = f"**Takeaway.** {takeaway} (`results/{name}.csv`)"
        return self._table(name, frame, f"**{caption}**\n\n{markdown_table(frame)}\n\n{told}")

    def raw(self, name: str, frame: pd.DataFrame, what: str) -> Shown:
        """Keep a table that is for programs; a notebook only names it."""
        return self._table(name, frame, f"Data: `results/{name}.csv`, {what} ({len(frame)} rows).")

    def figure(self, name: str, data: figures.Data, caption: str, takeaway: str = "") -> Shown:
        """Keep the data of a figure, draw the figure *from the kept file*, and keep the picture.

        takeaway: what its numbers say; a sheet of pictures may have none.
        """
        file = f"figures/{name}{figures.suffix(data)}"
        self._write(file, figures.to_bytes(data))
        return self._picture(name, figures.draw(name, self.folder / file), caption, file, takeaway)

    def animation(self, name: str, data: figures.Arrays, caption: str) -> Shown:
        """Keep ``frames`` (N, H, W, 3) and the animated picture of them."""
        file = f"figures/{name}.npz"
        self._write(file, figures.to_bytes(data))
        return self._picture(name, figures.animated(data["frames"]), caption, file)

    def _picture(self, name: str, picture: bytes, caption: str, data: str, takeaway: str = "") -> Shown:
        told = f"*{caption}* " + (f"**Takeaway.** {takeaway} " if takeaway else "") + f"(`{data}`)"
        bundle = {"image/png": base64.b64encode(picture).decode(), "text/plain": caption}
        image = (bundle, self._write(f"figures/{name}.png", picture) | {"alt": caption})
        return Shown((image, ({"text/markdown": told}, {})))

    def judge(self, evidence: pd.DataFrame, world: str = "mnist") -> Shown:
        """Apply the claim's rule in a world to evidence (see ``statistics.judge``) per ``source``; return the verdicts
        on each data set. The first source decides; others, such as the authors' own CGN, stand beside it.

        A criterion that a null passes says nothing and is not counted: its rule is at fault, and results/nulls.csv
        shows by what.
        """
        name = rules.named(self.claim, world)
        evidence = evidence.assign(null=evidence.get("null", "")).fillna({"null": ""})
        real, nulls = evidence[evidence["null"] == ""], evidence[evidence["null"] != ""]
        by_source = real.groupby("source", sort=False)
        judged = pd.concat([statistics.judge(name, part).assign(source=source) for source, part in by_source])
        judged = judged.drop(columns="null").reset_index(drop=True)
        found = self._nulls(name, world, nulls, list(dict.fromkeys(real["case"])))
        for null in found[found["outcome"] == "holds"].to_dict("records"):
            why = f"not counted: the null {null['null']!r} passes on {null['case']} ({null['value']:.4g})"
            judged.loc[judged["criterion"] == null["criterion"], "outcome"] = why
        self.verdicts[world] = {}
        for (source, case), part in judged.groupby(["source", "case"], sort=False):
            self.verdicts[world].setdefault(str(source), {})[str(case)] = statistics.verdict_of_case(part["outcome"])
        self.nulls.append(found)
        return self._table(f"{name}_verdict", judged, self._told(name, world, judged, found))

    def _told(self, name: str, world: str, verdicts: pd.DataFrame, nulls: pd.DataFrame) -> str:
        """The verdicts, the rule, and the table of what was measured beside what each null had."""
        rule, lines = rules.every()[name], []
        for number, (source, cases) in enumerate(self.verdicts[world].items()):
            said = ", ".join(f"{case} **{verdict}**" for case, verdict in cases.items())
            lines.append(f"**{'Beside it' if number else 'Verdict'}, {source}:** {said}.\n")
        given = (
            "; a CGN that is given, or is the only one of its kind on natural images, is judged by the sampling error "
            "of its masks and images instead"
        )
        asked = f"The rule, from `params/claims.yaml`, asks for at least {rule['repetitions']} repetitions"
        lines.append(f"{asked}{given if self.claim == 'claim1' else ''}:\n")
        for criterion, wanted in rule["criteria"].items():
            sides = "; one-sided, so the interval shown is that of 90 %, which is 95 % on the side of the bound"
            more = (sides if "sides" in wanted else "") + (
                f"; not testable where both sides reach {wanted['ceiling']}" if "ceiling" in wanted else ""
            )
            lines.append(f"- *{CRITERIA.get(criterion, criterion)}*: {wanted['text']}; {bounds(wanted)}{more}")
        nulls = nulls.assign(told=nulls["null"] + " " + nulls["measured"])
        first, beside = verdicts["source"].iloc[0], []
        for source, criterion, case in verdicts[["source", "criterion", "case"]].itertuples(index=False):
            of_criterion = nulls[nulls["criterion"] == criterion]
            here = of_criterion["told"][of_criterion["case"].str.contains(case, regex=False)]
            elsewhere = f"measured on {', '.join(dict.fromkeys(of_criterion['case']))}, {first}"
            beside.append("; ".join(here) if len(here) and source == first else elsewhere)
        table = verdicts.assign(
            rule=[bounds(rule["criteria"][criterion]) for criterion in verdicts["criterion"]],
            criterion=verdicts["criterion"].replace(CRITERIA),
            nulls=beside,
        )
        columns = ["source", "criterion", "case", "rule", "measured", "n", "outcome", "nulls"]
        return "\n".join([*lines, "", markdown_table(table[columns].rename(columns={"n": "repetitions"}))])

    def _nulls(self, name: str, world: str, evidence: pd.DataFrame, cases: list[str]) -> pd.DataFrame:
        """The table of nulls that a rule names, on each data set or on those where they were measured."""
        criteria = rules.every()[name]["criteria"].items()
        named = [(criterion, null) for criterion, wanted in criteria for null in wanted["nulls"]]
        table = pd.DataFrame(named, columns=["criterion", "null"])
        found = table.merge(statistics.judge(name, evidence).rename(columns={"mean": "value"}), how="left")
        absent = {"case": ", ".join(cases), "outcome": "not measured", "measured": "not measured"}
        return found.fillna(absent).assign(claim=self.claim, world=world)[NULLS]

    def finish(self) -> Shown:
        """Seal the claim: the manifest with every file's hash, the parameters, and what made them. Returns the table of
        what must not pass, with the columns NULLS.

        Raises ReproError for a claim without a verdict: the report could not say what came out.
        """
        if not self.verdicts:
            raise ReproError(f"{self.claim} has no verdict; call judge() with its evidence before finish()")
        nulls = pd.concat(self.nulls, ignore_index=True)
        measured = nulls[nulls["outcome"] != "not measured"]
        passed = measured[measured["outcome"] == "holds"]
        empty = ", ".join(sorted(set(passed["criterion"])))
        told = f"Of {len(measured)} that were measured {len(passed) or 'none'} passed, "
        failed = (measured["outcome"] == "fails").sum()
        told += f"{failed} failed as they must, and {len(measured) - len(passed) - failed} are not decided."
        told += f" Not measured in this run: {len(nulls) - len(measured)}." if len(measured) < len(nulls) else ""
        told += f" What they pass says nothing and is not counted: {empty}." if empty else ""
        shown = self.table(f"{self.claim}_nulls", nulls, "What must not pass, judged by the same code.", told)
        manifest = {
            "format": FORMAT,
            "claim": self.claim,
            "files": self.files,
            "params": self.params.model_dump(),
            "changed": changed(self.params),
            "provenance": provenance.current() | {"rules_commit": provenance.rules_commit(), "results": store.cost()},
            "rules": {name: rules.hashes()[name] for name in (rules.named(self.claim, each) for each in self.verdicts)},
            "deciding": {world: next(iter(found)) for world, found in self.verdicts.items()},
            "verdicts": self.verdicts,
        }
        write_atomically(self.manifest, sealed(manifest))
        return shown


def bounds(wanted: dict[str, Any]) -> str:
    """The bounds of a criterion, such as ``≥ 57, ≤ 90``."""
    signs = {"at_least": "≥", "at_most": "≤"}
    return ", ".join(f"{sign} {wanted[key]}" for key, sign in signs.items() if key in wanted)


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
    table = pd.read_csv(folder / "results" / f"{name}.csv")
    return table.fillna(dict.fromkeys(table.select_dtypes(exclude="number"), ""))


def took(manifests: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """What the results behind a report took, one row per step, each result counted once; without rows if there is none.
    A commit with a + had uncommitted changes."""
    results = {name: made for manifest in manifests for name, made in manifest["provenance"]["results"].items()}
    columns = ["step", "seconds", "peak_memory_mb", "commit"]
    made = pd.DataFrame([{"step": name.partition("/")[0]} | made for name, made in results.items()], columns=columns)
    by_step = made.groupby("step")
    told = {
        "results": by_step.size(),
        "hours": by_step["seconds"].sum() / 3600,
        "peak memory, MB": by_step["peak_memory_mb"].max(),
        "commits": by_step["commit"].agg(lambda commits: " ".join(sorted(set(commits)))),
    }
    return pd.DataFrame(told).reset_index()

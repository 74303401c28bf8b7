"""The report: execute the notebooks, then write report.md and one self-contained report.html from their results.

Nothing here computes a number. A claim enters a report only through its manifest, which is written last and seals
every file, so a failed or killed notebook can leave no report that looks finished; papermill's own "completed" is
not trusted, because it also stands in the notebook of a kernel that was killed.
"""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt

from reprolib import params as parameters
from reprolib import published, statistics
from reprolib.figures import to_bytes
from reprolib.report.execute import execute
from reprolib.report.results import build_folder, read_manifest, read_table, read_text, run_name, store_folder
from reprolib.run import rules, weights
from reprolib.run.errors import ReproError
from reprolib.run.files import (
    ROOT,
    SUMS,
    agrees,
    locked,
    remove,
    sha256_of,
    write_atomically,
    write_sums,
    writing,
)
from reprolib.run.store import Result, Store, numbers_alone
from reprolib.schema import RECIPES, Params
from reprolib.vocabulary import VARIANTS, shipped_name

NOTEBOOKS = {"claim1": "claim1_quality", "claim2": "claim2_robustness", "claim3": "claim3_accuracy"}
RUNS = ROOT / "runs"


def _last_in_half(cgn: Result) -> Result:
    """Of a trained CGN the last snapshot, in half precision: a megabyte instead of thirteen."""
    last = cgn.numbers["snapshots"][-1]
    tensors = {n: t.half() if t.is_floating_point() else t for n, t in cgn.tensors.items() if n.startswith(f"{last}/")}
    return replace(cgn, numbers={"snapshots": [last]}, tensors=tensors)


KEPT: dict[str, Callable[[Result], Result]] = {
    **dict.fromkeys(("quality", "counterfactual_accuracy", "training_quality", "classifier"), numbers_alone),
    **dict.fromkeys(("natural_quality", "ensemble", "plain_classifier"), numbers_alone),
    **dict.fromkeys(("gradcam", "ensemble_examined"), lambda with_heatmaps: with_heatmaps),
}
"""What a repository keeps of the results of a run, step by step."""
NATURAL = {"scenes": "Scenes", "imagenet": "ImageNet"}
"""The worlds of natural images."""
APART = ("bench", "recipe.csv", "recipe_ablation.csv")
"""Of ``results/``, what belongs to no run: `make bench` and `make recipe` write it."""
SEAL = f"results/notebooks/{SUMS}"
REPORT = ("report.md", "report.html")
TEMPLATES = Path(__file__).parent / "templates"


def make(params: Params) -> Path:
    """Execute every claim notebook with these parameters and render the report; return its path.

    Goes on where an interrupted run was, because results are found in the store. Raises ReproError if a notebook
    fails; then no report is left.
    """
    folder = build_folder() / run_name(params)
    with _only_run(folder):
        remove(*(folder / name for name in (*REPORT, SEAL, *(f"results/{claim}.json" for claim in NOTEBOOKS))))
        for claim, name in NOTEBOOKS.items():
            execute(name, params, folder / "results" / "notebooks" / f"{name}.ipynb")
            read_manifest(folder, claim)
        seal_notebooks(folder)
        return _render(folder)


def _only_run(folder: Path) -> AbstractContextManager[None]:
    """Hold the lock of a run's folder. Raises ReproError if another run has it; the lock of a killed run is free."""
    return locked(folder / ".lock", f"another run is writing to {folder}; wait until it has ended, or stop it")


def seal_notebooks(folder: Path) -> None:
    """Write down the SHA-256 of every executed notebook: a report embeds none that was changed afterwards."""
    write_sums(folder / SEAL, *(folder / "results" / "notebooks" / f"{name}.ipynb" for name in NOTEBOOKS.values()))


def render(folder: Path) -> Path:
    """Write ``report.md``, ``report.html`` and ``results/nulls.csv`` from ``results/`` and ``figures/`` of a folder;
    the same bytes each time.

    Raises ReproError if a claim is unfinished or was judged by another rule, if one of its files was changed, or if a
    run is writing there.
    """
    read_manifest(folder, "claim1")  # before a lock is left in a folder that holds no run
    with _only_run(folder):
        return _render(folder)


def _render(folder: Path) -> Path:
    context = _context(folder)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["table"] = markdown_table
    text = environment.get_template("report.md.j2").render(context)
    page = environment.get_template("report.html.j2")
    notebooks = {
        name: _notebook_html(folder / "results" / "notebooks" / f"{name}.ipynb") for name in NOTEBOOKS.values()
    }
    html = page.render(title=text.partition("\n")[0].lstrip("# "), body=_html(text, folder), notebooks=notebooks)
    nulls = pd.concat([read_table(folder, f"{claim}_nulls") for claim in NOTEBOOKS], ignore_index=True)
    write_atomically(folder / "results" / "nulls.csv", to_bytes(nulls))
    write_atomically(folder / "report.html", html.encode())
    write_atomically(folder / "report.md", text.encode())
    return folder / "report.md"


def promote(params: Params) -> Path:
    """Copy the results, figures and executed notebooks of a finished run to the top of the repository.

    The report goes first and comes back last, so a promotion that is killed leaves none; the same command goes on.
    """
    source = build_folder() / run_name(params)
    read_manifest(source, "claim1")  # before a lock is left in a folder that holds no run
    with _only_run(source), _only_run(ROOT):
        _render(source)  # refuses an unfinished run before anything here is replaced
        remove(*(ROOT / name for name in REPORT))
        for name in ("results", "figures"):
            with writing(ROOT / name):
                for old in [each for each in (ROOT / name).glob("*") if each.name not in APART]:
                    shutil.rmtree(old) if old.is_dir() else old.unlink()
                shutil.copytree(source / name, ROOT / name, dirs_exist_ok=True, copy_function=_copy)
        return _render(ROOT)


def _copy(source: str, target: str) -> None:
    """For copytree, which makes a long list of plain errors: a refused write ends it."""
    write_atomically(Path(target), Path(source).read_bytes())


def keep(params: Params) -> int:
    """Copy the numbers of every finished job of a profile to ``runs/<profile>``, and the weights of the CGNs that it
    trained, in half precision; return how many there are."""
    trains = {"cgn": _last_in_half} if set(RECIPES) & set(params.cgn.sources) else {}
    return Store(store_folder(params)).copy_results(RUNS / params.profile, KEPT | trains)


def adopt(params: Params) -> int:
    """Start from the kept numbers of a profile instead of from nothing; return how many there are."""
    return Store(RUNS / params.profile).copy_results(store_folder(params), KEPT | {"cgn": lambda kept: kept})


def _context(folder: Path) -> dict[str, Any]:
    claims = {}
    for claim, notebook in NOTEBOOKS.items():
        manifest = read_manifest(folder, claim)
        worlds = {
            world: _judged(folder, manifest, world) for world in ("mnist", *NATURAL) if world in manifest["deciding"]
        }
        claims[claim] = manifest | {"title": rules.every()[claim]["title"], "notebook": notebook, "worlds": worlds}
    first = claims["claim1"]
    for claim, manifest in claims.items():
        if manifest["params"] != first["params"]:
            raise ReproError(f"{claim} in {folder} was run with other parameters than claim1; run all notebooks again")
    return {
        "claims": claims,
        "verdicts": _verdicts(claims),
        "natural": [{"name": name, "title": title} for name, title in NATURAL.items() if name in first["worlds"]],
        "settings": published.settings(first["params"]),
        "shipped": _shipped(first["params"]),
        "trains": bool(set(RECIPES) & set(first["params"]["cgn"]["sources"])),
        "params": Params.model_validate(first["params"]),
        "params_yaml": yaml.safe_dump(first["params"], sort_keys=False, width=100),
        "profile": parameters.load({"profile": first["params"]["profile"]}),
        "changed": sorted({key for claim in claims.values() for key in claim["changed"]}),
        "audit": yaml.safe_load((TEMPLATES / "audit.yaml").read_text(encoding="utf-8")),
        "figures": {name for claim in claims.values() for name in claim["files"] if name.endswith(".png")},
        "tables": {name for claim in claims.values() for name in claim["files"] if name.endswith(".csv")},
        "read": lambda name: read_text(folder, name),
    }


def _judged(folder: Path, manifest: dict[str, Any], world: str) -> dict[str, Any]:
    """What the report says of a claim in a world; ``verdicts``: source -> data set -> verdict, the deciding one first.

    Raises ReproError if it was judged by another rule.
    """
    name = rules.named(manifest["claim"], world)
    if manifest["rules"][name] != rules.hashes()[name]:
        raise ReproError(
            f"{name} in {folder} was judged by another rule than params/claims.yaml has now; run its notebook again"
        )
    verdicts, first = manifest["verdicts"][world], manifest["deciding"][world]
    verdicts = {source: verdicts[source] for source in sorted(verdicts, key=lambda source: source != first)}
    table = _verdict_table(folder, manifest["claim"], world)
    rule = rules.every()[name]
    return {"rule": rule, "bounds": _bounds(rule), "deciding": first, "verdicts": verdicts, "table": table}


def _verdicts(claims: dict[str, Any]) -> pd.DataFrame:
    """One row per claim and source: the verdict on each data set, then that of the claim.

    The first row of a claim is that of the sources that decide, one in each world; a natural one is named where it is
    another than on MNIST.
    """
    rows = []
    for number, claim in enumerate(claims.values(), 1):
        worlds, own = claim["worlds"].values(), claim["worlds"]["mnist"]["deciding"]
        decided = [(world["deciding"], world["verdicts"][world["deciding"]]) for world in worlds]
        cells = {
            case: verdict if source == own else f"{verdict} ({source})"
            for source, cases in decided
            for case, verdict in cases.items()
        }
        deciding = [verdict for _, cases in decided for verdict in cases.values()]
        rows.append({"claim": number, "source": own} | cells | {"the claim": _of_claim(deciding)})
        others = [(source, cases) for world in worlds for source, cases in list(world["verdicts"].items())[1:]]
        for name in dict.fromkeys(source for source, _ in others):
            cells = {case: verdict for source, cases in others if source == name for case, verdict in cases.items()}
            rows.append({"claim": number, "source": name} | cells | {"the claim": _of_claim(list(cells.values()))})
    table = pd.DataFrame(rows).fillna("")
    return table[[*(column for column in table if column != "the claim"), "the claim"]]


def _of_claim(cases: list[str]) -> str:
    """The verdict of a claim, and on how many data sets it rests if some are not decided."""
    verdict = statistics.verdict_of_claim(cases)
    decided = sum(each in ("supported", "not supported") for each in cases)
    return verdict if decided in (0, len(cases)) else f"{verdict} ({decided} of {len(cases)} data sets)"


def _shipped(params: dict[str, Any]) -> list[str]:
    """A sentence on the origin of each shipped CGN that a run used."""
    if "shipped" not in params["cgn"]["sources"]:
        return []
    known = weights.record(weights.FOLDER / "quality.json")
    sentences = []
    for variant in params["variants"]:
        made = known[shipped_name(variant, params["digits"]["textures"])]
        sentences.append(
            f"The shipped CGN of {VARIANTS[variant].title} is the first run of the stable recipe, seed {made['seed']}: "
            f"{made['steps']:,} steps on all digits in {made['measured']['seconds']:.0f} s of one thread."
        )
    return sentences


def _bounds(rule: dict[str, Any]) -> dict[str, str]:
    """Criterion -> its bounds, such as ``≥ 57, ≤ 90``."""
    signs = {"at_least": "≥", "at_most": "≤"}
    return {
        name: ", ".join(f"{sign} {wanted[key]}" for key, sign in signs.items() if key in wanted)
        for name, wanted in rule["criteria"].items()
    }


def _verdict_table(folder: Path, claim: str, world: str) -> pd.DataFrame:
    """Source, criterion, case, rule, what was measured, n, outcome, and beside it what each null had."""
    name = rules.named(claim, world)
    table, nulls = read_table(folder, f"{name}_verdict"), read_table(folder, f"{claim}_nulls")
    nulls = nulls[nulls["world"] == world]
    values = (
        pd.to_numeric(nulls["value"]).map("{:.3g}".format).where(nulls["outcome"] != "not measured", "not measured")
    )
    nulls = nulls.assign(told=nulls["null"] + " " + values)
    beside = [
        "; ".join(nulls["told"][(nulls["criterion"] == criterion) & nulls["case"].str.contains(case, regex=False)])
        for criterion, case in zip(table["criterion"], table["case"], strict=True)
    ]
    shown = table.assign(rule=table["criterion"].map(_bounds(rules.every()[name])), nulls=beside)
    return shown[["source", "criterion", "case", "rule", "measured", "n", "outcome", "nulls"]]


def markdown_table(table: Any) -> str:
    """A data frame as a Markdown table; numbers are printed as they stand in the CSV file."""
    columns = [str(column).replace("_", " ") for column in table.columns]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in table.astype(object).fillna("").astype(str).itertuples(index=False):
        lines.append("| " + " | ".join(" ".join(cell.replace("|", "\\|").split("\n")) for cell in row) + " |")
    return "\n".join(lines)


def _html(text: str, folder: Path) -> str:
    """Markdown as HTML with every picture inside the page; raw HTML in the text is shown, not run."""
    body: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)

    def inline(match: re.Match[str]) -> str:
        content = base64.b64encode((folder / match[1]).read_bytes()).decode()
        return f'src="data:image/png;base64,{content}"'

    return re.sub(r'src="(figures/[\w.-]+\.png)"', inline, body)


def _notebook_html(file: Path) -> str:
    """An executed notebook as a piece of HTML; scripts in its outputs are removed.

    Raises ReproError if it is missing, or not the one that was sealed.
    """
    from nbconvert import HTMLExporter

    sums, repair = file.parent / SUMS, "run the notebooks again, or restore the file"
    for needed in (file, sums):
        if not needed.is_file():
            raise ReproError(f"{needed} is missing; {repair}")
    if not agrees(sums, file.name, sha256_of(file)):
        raise ReproError(f"{file} or {sums.name} beside it was changed after it was made; {repair}")
    exporter = HTMLExporter(template_name="basic", sanitize_html=True)
    page: str = exporter.from_filename(str(file))[0]
    return page

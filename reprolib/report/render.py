"""The pages: a front page with the verdicts, then the executed notebooks, as report.md and as one report.html.

Nothing here computes a number. Each table and figure that a claim seals must be shown by its notebook, just as it was
sealed.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import PIL.Image
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from traitlets.config import Config

from reprolib import statistics
from reprolib.figures import to_bytes
from reprolib.report import discussion, explorer
from reprolib.report.results import read_manifest, read_table, took
from reprolib.report.words import markdown_table
from reprolib.run import ReproError, rules, weights
from reprolib.run.files import SUMS, agrees, sha256_of, write_atomically
from reprolib.schema import RECIPES, Params
from reprolib.vocabulary import VARIANTS, shipped_name

NOTEBOOKS = {"claim1": "claim1_quality", "claim2": "claim2_robustness", "claim3": "claim3_accuracy"}
NATURAL = {"scenes": "Scenes", "imagenet": "ImageNet"}
"""The worlds of natural images."""
TEMPLATES = Path(__file__).parent / "templates"
SETTINGS = Path(__file__).parents[1] / "published" / "settings.csv"
FRONT = "figures/mechanisms.png"
"""The picture of the first screen."""
ADDED = "where more were added to fewer that left a claim open, the interval is too narrow"
"""Said where a run has more repetitions on one data set than on another, or than were looked at before."""
LOOKED = "; it would be open if each repetition that was added is counted as a look at the result"
APPENDIX = "\n### Appendix"


def render(folder: Path) -> Path:
    """Write ``report.md``, ``report.html`` and ``results/nulls.csv`` from ``results/`` and ``figures/`` of a folder;
    the same bytes each time. Raises ReproError for what is not as its notebook left it, or judged by another rule."""
    context = _context(folder)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"table": markdown_table, "hashed": _hashed}
    executed = [_executed(folder, name, context["claims"][claim]) for claim, name in NOTEBOOKS.items()]
    told = discussion.takeaways(executed)
    context |= {"told": told, "points": discussion.points(told)}
    front, discussed, colophon = (
        environment.get_template(f"{name}.md.j2").render(context) for name in ("report", "discussion", "colophon")
    )
    text, body = (
        _joined([front, *(_markdown(nb, code) for nb in executed), discussed], colophon) for code in (False, True)
    )
    title = text.partition("\n")[0].lstrip("# ")
    parts = _html(body, folder).partition(f'<p><img id="{explorer.FIGURE}"')
    explored = explorer.explored(folder / "figures" / f"{explorer.FIGURE}.npz") if parts[1] else None
    page = environment.get_template("report.html.j2").render(title=title, body=parts, explored=explored)
    nulls = pd.concat([read_table(folder, f"{claim}_nulls") for claim in NOTEBOOKS], ignore_index=True)
    write_atomically(folder / "results" / "nulls.csv", to_bytes(nulls))
    write_atomically(folder / "report.html", page.encode())
    write_atomically(folder / "report.md", text.encode())
    return folder / "report.md"


def _context(folder: Path) -> dict[str, Any]:
    claims = {}
    for claim in NOTEBOOKS:
        manifest = read_manifest(folder, claim)
        worlds = [world for world in ("mnist", *NATURAL) if world in manifest["deciding"]]
        before = {world: manifest["params"].get(world, {}).get("looked_at") for world in worlds}
        rows = [row for world in worlds for row in _judged(folder, manifest, world, before[world])]
        verdict = _of_claim([row["verdict"] for row in rows if row["decides"]])
        claims[claim] = manifest | {"title": rules.every()[claim]["title"], "rows": rows, "verdict": verdict}
    first = claims["claim1"]
    for claim, manifest in claims.items():
        if manifest["params"] != first["params"]:
            raise ReproError(f"{claim} in {folder} was run with other parameters than claim1; run all notebooks again")
    params = Params.model_validate(first["params"])
    repeated = {variant: params.seeds_of(variant) for variant in params.variants}
    return {
        "claims": claims,
        "natural": [title for name, title in NATURAL.items() if name in first["deciding"]],
        "settings": _settings(params),
        "shipped": _shipped(params),
        "trained": _trained(params),
        "repeated": _counted(repeated, "{} times", f"several times ({{}}; {ADDED})"),
        "added": ADDED,
        "params": params,
        "params_yaml": yaml.safe_dump(first["params"], sort_keys=False, width=100),
        "changed": first["changed"],
        "audit": yaml.safe_load((TEMPLATES / "audit.yaml").read_text(encoding="utf-8")),
        "front": FRONT if FRONT in first["files"] else None,
        "took": took(claims.values()),
    }


def _judged(folder: Path, manifest: dict[str, Any], world: str, before: int | None = None) -> list[dict[str, Any]]:
    """One row per source, the deciding one first, and data set: case, source, verdict, decides, why, change (what would
    change it). why says, too, if it would be open if each repetition that it has more than others had been a look.
    before: repetitions that were looked at before more were added; default the fewest of a data set.

    Raises ReproError if it was judged by another rule.
    """
    name = rules.named(manifest["claim"], world)
    if manifest["rules"][name] != rules.hashes()[name]:
        raise ReproError(
            f"{name} in {folder} was judged by another rule than params/claims.yaml has now; run its notebook again"
        )
    verdicts, first = manifest["verdicts"][world], manifest["deciding"][world]
    table, rows = read_table(folder, f"{name}_verdict"), []
    for source in sorted(verdicts, key=lambda source: source != first):
        for case, verdict in verdicts[source].items():
            own = table[(table["source"] == source) & (table["case"] == case)]
            told = {"case": case, "source": source, "world": world, "verdict": verdict, "decides": source == first}
            criteria = rules.every()[name]["criteria"]
            row = discussion.decisive(own, criteria)
            wanted, elsewhere = criteria[row["criterion"]], table[table["source"] == source]
            fewest = before or elsewhere.loc[elsewhere["criterion"] == row["criterion"], "n"].min()
            looked = discussion.open_if_looked(row, wanted, 1 + row["n"] - fewest)
            told["change"] = discussion.turning_point(row, wanted)
            told["why"] = discussion.reason(row, criteria) + discussion.also_open(row, own) + (LOOKED if looked else "")
            rows.append(told)
    return rows


def _of_claim(cases: list[str]) -> str:
    """The verdict of a claim, and on how many data sets it rests if some are not decided."""
    verdict = statistics.verdict_of_claim(cases)
    decided = sum(each in ("supported", "not supported") for each in cases)
    return verdict if decided in (0, len(cases)) else f"{verdict} ({decided} of {len(cases)} data sets decided)"


def _shipped(params: Params) -> list[str]:
    """A sentence on the origin of each shipped CGN that a run used."""
    if "shipped" not in params.cgn.sources:
        return []
    known = weights.record(weights.FOLDER / "quality.json")
    sentences = []
    for variant in params.variants:
        made = known[shipped_name(variant, params.digits.textures)]
        sentences.append(
            f"The shipped CGN of {VARIANTS[variant].title} is the first run of the stable recipe, seed {made['seed']}: "
            f"{made['steps']:,} steps on all digits in {made['measured']['seconds']:.0f} s of one thread."
        )
    return sentences


def _settings(params: Params) -> pd.DataFrame:
    """The protocol of every study beside that of a run: one row per setting, the run's value last."""
    table = pd.read_csv(SETTINGS, dtype=str)
    here = {name: _shown(attrgetter(name)(params), params.variants) for name in table["parameter"]}
    lengths = {"published": here["cgn.steps"], "stable": _shown(params.cgn.stable_steps, ())}
    told = [f"{lengths[recipe]} ({recipe})" for recipe in RECIPES if recipe in params.cgn.sources]
    here["cgn.steps"] = "; ".join(told) or "none is trained"
    return table.assign(here=table.pop("parameter").map(here))


def _counted(counts: dict[str, int], same: str, differing: str) -> str:
    """Numbers by variant: the only one in a text for it, or all of them in another."""
    numbers = set(counts.values())
    return same.format(*numbers) if len(numbers) == 1 else differing.format(_shown(counts, counts))


def _trained(params: Params) -> str:
    """How many CGNs the first recipe of a run trained on its data sets; empty if it trained none."""
    recipe = next((source for source in params.cgn.sources if source in RECIPES), None)
    if recipe is None:
        return ""
    counts = {variant: params.cgn.seeds_of(recipe, variant) for variant in params.variants}
    return _counted(counts, "{} per data set", f"{{}} ({ADDED})")


def _shown(value: Any, variants: Iterable[str]) -> str:
    """A parameter as text, one that is given by variant for these; no steps are the paper's 15 epochs."""
    if isinstance(value, dict):
        return ", ".join(f"{VARIANTS[name].title} {_shown(value[name], ())}" for name in variants)
    return "15 epochs" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _executed(folder: Path, name: str, manifest: dict[str, Any]) -> nbformat.NotebookNode:
    """An executed notebook, which shows all that its claim sealed.

    Raises ReproError if it is missing, not the one that was sealed, or does not show a table or figure of its claim.
    """
    file = folder / "results" / "notebooks" / f"{name}.ipynb"
    sums, repair = file.parent / SUMS, "run the notebooks again, or restore the file"
    for needed in (file, sums):
        if not needed.is_file():
            raise ReproError(f"{needed} is missing; {repair}")
    if not agrees(sums, file.name, sha256_of(file)):
        raise ReproError(f"{file} or {sums.name} beside it was changed after it was made; {repair}")
    notebook = nbformat.read(file, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", []) if "metadata" in output]
    shown = {output.metadata.get("shows"): output.metadata.get("sha256") for output in outputs}
    for sealed, sha256 in manifest["files"].items():
        if sealed.startswith("results/") or sealed.endswith(".png"):
            if sealed not in shown:
                raise ReproError(f"{name} shows {sealed} nowhere; display what Results returned for it in a cell")
            if shown.get(sealed, sha256) != sha256:
                raise ReproError(f"{name} shows another {sealed} than {manifest['claim']} sealed; {repair}")
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"^#", "##", cell.source, flags=re.MULTILINE)  # below the title of the report
    return notebook


def _markdown(notebook: nbformat.NotebookNode, code: bool) -> str:
    """A notebook as Markdown without cells that are tagged ``notebook``, which only say how to use one; pictures are
    those of ``figures/``, and that of the front page is not shown again."""
    from nbconvert import MarkdownExporter

    first = {"display_data_priority": ["text/markdown", "image/png", "text/plain"]}
    options: dict[str, Any] = {"NbConvertBase": first, "ExtractOutputPreprocessor": {"enabled": False}}
    config = Config(options | {"TagRemovePreprocessor": {"enabled": True, "remove_cell_tags": ["notebook"]}})
    template = str(TEMPLATES / "notebook.md.j2")
    exporter = MarkdownExporter(config=config, template_file=template, exclude_input=not code)
    text: str = exporter.from_notebook_node(notebook)[0]
    text = re.sub(rf"!\[(.*?)\]\({FRONT}\)", "(The picture at the top of the report.)", text)
    return re.sub(r"\n{3,}", "\n\n", text)


def _joined(parts: list[str], colophon: str) -> str:
    """Front page, notebooks and discussion one after the other, then the appendices of the notebooks and the rest."""
    split = [part.partition(APPENDIX) for part in parts]
    appendices = [f"{heading.strip()}{rest.rstrip()}\n" for _, heading, rest in split if rest]
    whole = [*(before.strip() + "\n" for before, _, _ in split), *(["\n## Appendix\n"] if appendices else [])]
    return "\n".join([*whole, *appendices, colophon])


def _hashed(text: str) -> str:
    """How a content policy names the one style or script that it allows."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _embedded(file: Path) -> str:
    """A picture as the address that holds it: as lossless WebP, which is a third smaller, an animation as it is."""
    with PIL.Image.open(file) as picture:
        if getattr(picture, "is_animated", False):
            return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"
        stream = io.BytesIO()
        picture.save(stream, "WEBP", lossless=True)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _html(text: str, folder: Path) -> str:
    """Markdown as HTML with every picture inside the page and code folded away; raw HTML in the text is shown, not
    run."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")

    def fence(_: Any, tokens: Any, index: int, *rest: Any) -> str:
        code = f"<pre><code>{html.escape(tokens[index].content)}</code></pre>"
        return f"<details><summary>code</summary>{code}</details>" if tokens[index].info == "python" else code

    markdown.add_render_rule("fence", fence)

    def inline(match: re.Match[str]) -> str:
        return f'id="{match[2]}" src="{_embedded(folder / match[1])}"'

    return re.sub(r'src="(figures/([\w.-]+)\.png)"', inline, markdown.render(text))

"""The commit in a record is that of this checkout, with a mark when its code is not what was committed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from reprolib.run import provenance, rules


def _git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of the project, without git yet."""
    top = tmp_path / "a project"
    for name in ("reprolib/code.py", "params/claims.yaml", "README.md", ".gitignore"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("*.lock\n")
    monkeypatch.setattr(provenance, "ROOT", top)
    monkeypatch.setattr(rules, "RULES", top / "params" / "claims.yaml")
    return top


@pytest.fixture
def head(project: Path) -> str:
    """Its only commit."""
    _git(project, "init", "-q")
    _git(project, "add", ".")
    _git(project, "commit", "-qm", "all")
    return _git(project, "rev-parse", "--short=12", "HEAD")


def _commit() -> str:
    provenance.commit.cache_clear()
    try:
        return provenance.commit()
    finally:
        provenance.commit.cache_clear()


def test_a_clean_checkout_is_its_commit(project: Path, head: str) -> None:
    assert _commit() == head
    for harmless in ("README.md", "build.txt", "reprolib/left.lock"):
        (project / harmless).write_text("changed")
    assert _commit() == head


@pytest.mark.parametrize("name", ["reprolib/code.py", "reprolib/new.py", "reprolib/new/new.py", "params/mine.yaml"])
@pytest.mark.parametrize("staged", [False, True])
def test_changed_and_untracked_code_is_marked(name: str, staged: bool, project: Path, head: str) -> None:
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).write_text("changed")
    if staged:
        _git(project, "add", name)
    assert _commit() == f"{head}+"


def test_removed_code_is_marked_whatever_git_is_told_to_show(project: Path, head: str) -> None:
    _git(project, "config", "status.showUntrackedFiles", "no")
    (project / "reprolib" / "new.py").write_text("new")
    assert _commit() == f"{head}+"
    (project / "reprolib" / "new.py").unlink()
    (project / "reprolib" / "code.py").unlink()
    assert _commit() == f"{head}+"


def test_the_commit_of_another_repository_is_not_recorded(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project as a zip unpacked inside one, committed there or not, or called by one of its hooks."""
    assert _commit() == provenance.rules_commit() == "unknown"
    _git(project.parent, "init", "-q")
    _git(project.parent, "add", ".")
    _git(project.parent, "commit", "-qm", "of another")
    assert _commit() == provenance.rules_commit() == "unknown"
    monkeypatch.setenv("GIT_DIR", str(project.parent / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(project))
    assert _commit() == provenance.rules_commit() == "unknown"


def test_a_hook_of_another_repository_does_not_hide_the_own_commit(
    project: Path, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(project.parent / "none"))
    monkeypatch.setenv("GIT_INDEX_FILE", "none")
    assert _commit() == head


def test_a_linked_path_is_the_same_checkout(project: Path, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    link = project.parent / "link"
    link.symlink_to(project)
    monkeypatch.setattr(provenance, "ROOT", link)
    monkeypatch.setattr(rules, "RULES", link / "params" / "claims.yaml")
    assert _commit() == head and head.startswith(provenance.rules_commit())


def test_a_checkout_of_another_owner_has_a_commit_too(
    project: Path, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container, where git otherwise refuses to say anything."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert _commit() == head


def test_without_git_nothing_is_known(project: Path, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(project))
    assert _commit() == provenance.rules_commit() == "unknown"


def test_the_commit_of_the_rules_is_the_last_that_changed_them(project: Path) -> None:
    _git(project, "init", "-q")
    assert provenance.rules_commit() == "unknown"  # never committed
    _git(project, "add", "params")
    _git(project, "commit", "-qm", "rules")
    fixed = _git(project, "rev-parse", "--short", "HEAD")
    rules.RULES.write_text(f"{rules.RULES.read_text()}\n  # a word about them\n\n")
    _git(project, "commit", "-qam", "a comment")
    assert provenance.rules_commit() == fixed
    rules.RULES.write_text(f"{rules.RULES.read_text()}  at_least: 1  # a rule\n")
    _git(project, "commit", "-qam", "a rule")
    fixed = _git(project, "rev-parse", "--short", "HEAD")
    assert provenance.rules_commit() == fixed
    rules.RULES.write_text("more")
    assert provenance.rules_commit() == f"{fixed}+"

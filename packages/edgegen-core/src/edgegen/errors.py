"""Every error that edgegen raises on purpose: its class gives the exit code, its :class:`ErrorCode` the meaning.

An error says what was wrong, what was expected and how to fix it::

    raise CheckpointError(
        "checkpoint does not match smollm2-135m (format safetensors)",
        code=ErrorCode.WEIGHTS_MISMATCH,
        details=("missing     blocks.*.attn.q.weight   18 tensors",),
        hint="looks like gguf naming; add --checkpoint-format gguf",
    )

``docs/reference/errors.md`` lists all codes; ``python -m edgegen.testing.error_reference --write`` writes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum, unique
from typing import ClassVar


@unique
class ErrorCode(StrEnum):
    """Stable identifiers of errors, one meaning each; the first digit names the part that raises them.

    Programs branch on these and never on messages. Below each member: what happened, then what to do. A number
    that is no longer used is not given to something else.
    """

    # 0: not expected. 1: what was asked for, files, plugins. 130: Ctrl-C.

    UNEXPECTED = "EG000"
    """A bug: an exception that nothing in edgegen expected. Report it with the traceback (``EDGEGEN_STRICT=1``)."""
    INVALID_ARGUMENT = "EG100"
    """An argument or option is unknown, missing, malformed or contradicts another. See ``--help`` of the command."""
    FILE_UNREADABLE = "EG101"
    """An input file does not exist or cannot be read. Check the path and its permissions."""
    MODEL_FILE_DAMAGED = "EG102"
    """A file is not a LiteRT model, or is truncated. Export it again, or copy it again."""
    STATE_SHAPE_MISMATCH = "EG103"
    """Signatures disagree on the shape of a state tensor. Make one state for each group of signatures that agree."""
    UNKNOWN_SIGNATURE = "EG104"
    """The file has no signature of that name. ``edgegen inspect`` lists them."""
    INPUT_MISMATCH = "EG105"
    """Inputs of a run are missing, unknown or of another shape than the signature's. Pass what the details list."""
    NO_DEBUG_OUTPUTS = "EG106"
    """The file does not say where its blocks end, so that they cannot be compared. Export it again."""
    RECIPE_MISMATCH = "EG107"
    """The rules of a quantization recipe do not cover the model's parameters. Correct the patterns in question."""
    INVALID_CALIBRATION_DATA = "EG108"
    """Calibration data is too short, empty or does not fit the model's inputs. Use a longer text or other samples."""
    CHANNEL_SCALING_UNAVAILABLE = "EG109"
    """No channels of this model can be scaled (``--weight-pass smoothquant``). Leave the option out."""
    PLUGIN = "EG110"
    """A plugin is broken in a way that has no code of its own. Report it to the plugin's author."""
    PLUGIN_IMPORT_FAILED = "EG111"
    """A plugin's entry point cannot be imported as a module. ``edgegen doctor`` shows where; update or disable it."""
    UNKNOWN_HOOK = "EG112"
    """A plugin's function is named or marked like a hook and is none. Compare its name with the reference of hooks."""
    HOOK_SIGNATURE_MISMATCH = "EG113"
    """A hook is implemented as a wrapper, or with arguments that it does not have. See the reference of hooks."""
    HOOK_FAILED = "EG114"
    """A hook raised an exception or returned nothing to iterate over. Report it to the plugin's author."""
    INVALID_DESCRIPTOR = "EG115"
    """A hook yielded something that is no sound descriptor. See the descriptor's fields in the reference of hooks."""
    DUPLICATE_NAME = "EG116"
    """Two plugins claim one name. Uninstall or disable one of them."""
    REFERENCE_NOT_LOADABLE = "EG117"
    """A ``module:attr`` of a descriptor cannot be imported. Update the plugin that the message names."""
    NOT_A_COMMAND = "EG118"
    """A plugin's command is not a click command. Put ``@click.command()`` above the function."""
    NO_PLUGINS = "EG119"
    """No plugin is installed, not even core's own. Install edgegen with pip instead of putting it on the path."""
    REQUIREMENT_MISSING = "EG120"
    """A package that an installed plugin requires is not installed. Install it with pip."""
    UNKNOWN_NAME = "EG121"
    """No installed package provides a model, scheme, format, target or layer of that name. Install one that does."""
    UNKNOWN_COMMAND = "EG122"
    """There is no command of that name. ``edgegen --help`` lists those that are installed."""
    EXPORT_RECORD_UNREADABLE = "EG123"
    """A folder does not say how it was exported, so that it cannot be verified again. Export it again."""
    INVALID_RECIPE = "EG124"
    """A quantization recipe cannot be parsed. Its rules have the form ``PATTERN=SCHEME``."""
    CALIBRATION_NEEDS_TOKENIZER = "EG125"
    """Calibration needs the model's tokenizer, and the checkpoint has none that runs. Add tokenizer.json to it."""
    CALIBRATION_UNUSED = "EG126"
    """Calibration data was given and the scheme has no use for it. Leave it out, or choose another scheme."""
    DEPENDENCY_MISSING = "EG127"
    """An optional library is not installed. The hint has the ``pip install`` line."""
    OUTPUT_EXISTS = "EG128"
    """The output path exists and is not an earlier export, so it is not replaced. Choose another path."""
    PROTOCOL_MISMATCH = "EG129"
    """A family's module lacks methods that its task needs (``edgegen.modeling``). Report it to the plugin's author."""
    INTERRUPTED = "EG130"
    """Ctrl-C was pressed. Nothing half-written was left behind."""
    WEIGHTS_NOT_LOADED = "EG131"
    """The module is on the meta device and has no weights. Load them, or pass ``parameters``."""
    INVALID_EXAMPLE_ARGS = "EG132"
    """Example arguments do not fit the module's forward. Compare them with its parameters."""
    INVALID_DYNAMIC_SHAPES = "EG133"
    """Dynamic dimensions name inputs, axes or sizes that the example arguments do not have. Correct ``dynamic``."""
    INVALID_LENGTHS = "EG134"
    """Lengths of signatures are not positive, not distinct or beyond the context. Choose others."""
    OPTION_NOT_APPLICABLE = "EG135"
    """An export option means nothing to models of this task. Leave it out."""
    LAYER_NOT_APPLICABLE = "EG136"
    """A layer implementation does not fit this model or these lengths. Choose another ``--layer``."""
    UNKNOWN_LAYER_BLOCK = "EG137"
    """``--layer`` names a building block that the model does not have. Name one of those that the details list."""
    PLUGIN_FAILED = "EG138"
    """A function of a plugin raised an exception or returned something else than it should. Report it to its author."""
    PLUGIN_SLOW = "EG139"
    """Importing a plugin takes long, which every command waits for. Report it to the plugin's author."""
    REQUIREMENT_UNMET = "EG140"
    """A plugin's package needs another version of a library than is installed. Install one that fits."""

    # 2: checkpoints and adapters.

    CHECKPOINT = "EG200"
    """A checkpoint cannot be used, for a reason that has no code of its own. See the message."""
    CHECKPOINT_UNREADABLE = "EG201"
    """A file of the checkpoint cannot be opened or read, or is no regular file. Check it and its permissions."""
    CHECKPOINT_DAMAGED = "EG202"
    """A file of the checkpoint breaks the rules of its format: truncated or altered. Download it again."""
    NO_WEIGHT_MAP = "EG203"
    """The family has no weight names for checkpoints of this naming. Use another format of the same weights."""
    WEIGHTS_MISMATCH = "EG204"
    """Tensors of the checkpoint are missing, left over or of other shapes than the model's. Choose its own variant."""
    CONFIG_MISMATCH = "EG205"
    """The checkpoint's configuration is that of another model. ``edgegen checkpoint`` says which one it may be."""
    INVALID_CONFIG = "EG206"
    """A value of the checkpoint's configuration is missing or impossible. Compare config.json with its source."""
    UNKNOWN_CONFIG = "EG207"
    """The checkpoint's configuration has keys or values that this family does not know. It may need a newer release."""
    ADAPTER_MISMATCH = "EG208"
    """A LoRA adapter was trained for other weights than the checkpoint's. Use the base model that it names."""
    CHECKPOINT_NOT_FOUND = "EG209"
    """There is no file, folder, installed package or repository of that name. Check the spelling."""
    CHECKPOINT_AMBIGUOUS = "EG210"
    """The path holds several checkpoints. Name one of the files that the details list."""
    INVALID_REFERENCE = "EG211"
    """The name of a repository or package is malformed or leads outside of it. See the hint for the form."""
    ADAPTER_NAMING = "EG212"
    """Adapter and checkpoint name weights by different conventions. Use the checkpoint in the adapter's naming."""
    NOT_AN_ADAPTER = "EG213"
    """A folder lacks the files of a LoRA adapter. Name the folder that peft saved."""
    ADAPTER_DAMAGED = "EG214"
    """A LoRA adapter lacks a part, or its parts contradict its configuration. Save or download it again."""
    NO_ADAPTER_INPUTS = "EG215"
    """The model was not exported for adapters at run time. Export it with ``--lora-rank``."""
    ADAPTER_LAYOUT_DAMAGED = "EG216"
    """The file that lists the inputs for adapters is damaged. Export the model again."""
    ADAPTER_SHAPE_MISMATCH = "EG217"
    """An adapter is for other sizes than the exported model's. Use one of the same base model."""
    ADAPTER_NEEDS_MERGING = "EG218"
    """An adapter changes weights that only merging can. Export with ``--lora``."""
    ADAPTER_RANK_MISMATCH = "EG219"
    """An adapter has a higher rank than the model was exported for. Export with a larger ``--lora-rank``."""
    INVALID_WEIGHT_MAP = "EG220"
    """A family's weight map contradicts itself. Report it to the family's author."""
    UNRECOGNIZED_CHECKPOINT = "EG221"
    """The path holds no checkpoint of any installed format. Install the package that reads it."""
    CONFIG_MISSING = "EG222"
    """The checkpoint does not state its configuration. Name a variant, or add its config.json."""
    SHARDS_MISSING = "EG223"
    """Parts of the checkpoint are missing, or belong to another one. Download those that the details list."""
    TOKENIZER_DAMAGED = "EG224"
    """The checkpoint's tokenizer files cannot be used. Download them again."""
    UNSAFE_PICKLE = "EG225"
    """A pickle wants to run code. It was not run; convert the file to safetensors where you trust it."""
    NOT_A_STATE_DICT = "EG226"
    """A PyTorch file holds something else than one dict of tensors. Save ``model.state_dict()``."""
    WEIGHTS_NOT_FINITE = "EG227"
    """Weights hold NaN or infinity, or exceed the range of their storage. Use another scheme or checkpoint."""
    UNSAFE_PATH = "EG228"
    """A checkpoint names files outside of its folder. It was not followed; use a checkpoint from a source you trust."""
    UNSUPPORTED_ARCHIVE = "EG229"
    """A PyTorch file is compressed, big-endian or of another pickle protocol. Load it with torch and save it again."""

    # 3: valid, and not supported.

    UNSUPPORTED = "EG300"
    """Something valid is not supported, for a reason that has no code of its own. See the message."""
    NO_LOWERING = "EG301"
    """Operators of the module have no lowering to LiteRT. Use the form that the details give, or write a rule."""
    UNSUPPORTED_DTYPE = "EG302"
    """LiteRT has no tensors of this data type. Cast to one of those that the message names."""
    DIMENSION_NOT_DYNAMIC = "EG303"
    """The module fixes the size of a dimension that was to be dynamic. Export buckets of sizes instead."""
    TRACE_FAILED = "EG304"
    """``torch.export`` cannot trace the module. The details have its message and the line of the module."""
    ADAPTERS_UNSUPPORTED = "EG305"
    """This model takes no adapters at run time. Merge the adapter: ``--lora``."""
    ADAPTER_NOT_MERGEABLE = "EG306"
    """The adapter is of a kind that cannot be merged. Merge it with peft and export the result."""
    BUFFER_WITHOUT_CONTENTS = "EG307"
    """A buffer of the module has no contents on the meta device. Compute it in forward, or register a parameter."""
    MUTATED_BUFFER = "EG308"
    """forward writes to buffers of the module. Make them inputs and outputs."""
    EMPTY_TENSOR = "EG309"
    """A tensor has no elements, which LiteRT cannot hold. Leave it out of the signature."""
    UNSUPPORTED_STORAGE = "EG310"
    """Tensors of the checkpoint are stored in a type that cannot be read. Use another file of the same weights."""
    MUTATED_ARGUMENT = "EG318"
    """A composite or a repeated block writes to an argument in place. Return the new value instead."""
    ORACLE_UNAVAILABLE = "EG317"
    """The oracle does not know the model, or cannot run it here. The message says why; ``--verify-against none``."""
    UNSUPPORTED_FILE_VERSION = "EG311"
    """A file is in a version or byte order of its format that cannot be read. Convert it."""
    UNSUPPORTED_TOKENIZER = "EG312"
    """The checkpoint's tokenizer is of a kind that cannot be rebuilt. Put a tokenizer.json beside it."""
    TARGET_UNSUPPORTED = "EG313"
    """The export target cannot package models of this task. Use ``--target tflite``."""
    STATIC_QUANTIZATION_UNSUPPORTED = "EG314"
    """Static quantization takes float32 files with one signature. Export such a one first."""
    BLOCKS_MISMATCH = "EG315"
    """The file's blocks are not the model's, so that they cannot be compared. Export it again."""
    LAYER_FEATURES_MISSING = "EG316"
    """A layer implementation lacks features that the model needs. Leave it out, or choose another ``--layer``."""

    # 5: verification. 6: the machine.

    VERIFICATION_FAILED = "EG500"
    """The exported file does not compute what the model computes. Try ``--composites none``, or another scheme."""
    RESOURCE = "EG600"
    """The machine, or another one, said no, for a reason that has no code of its own. See the message."""
    FILE_SYSTEM = "EG601"
    """The system refused to write or open a file: permissions, space, quota. See the hint."""
    OUT_OF_MEMORY = "EG602"
    """There is not enough memory. Close other programs, or use a machine with more."""
    OUTPUT_LOCKED = "EG603"
    """Another export is writing to the same folder. Wait for it, or choose another folder."""
    DISK_TOO_SMALL = "EG604"
    """The file system has not enough room for what is to be written. Make room, or choose another one."""
    RUN_FAILED = "EG605"
    """LiteRT failed while running a signature. The message has its reason."""
    OFFLINE = "EG606"
    """``HF_HUB_OFFLINE`` is set, and the repository's files are not all in the cache. Unset it once."""
    ACCESS_DENIED = "EG607"
    """The hub refuses access: a licence to accept, or a token to set. See the hint."""
    RATE_LIMITED = "EG608"
    """The hub takes no more requests for now. Wait, or set a token."""
    DOWNLOAD_FAILED = "EG609"
    """A download broke off. Run the command again; what has arrived is kept."""
    REPOSITORY_CHANGED = "EG610"
    """A repository was changed while it was downloaded. Run the command again."""
    HUB_UNREACHABLE = "EG611"
    """The hub does not answer, or not as a hub does. Check the network, a proxy's settings and ``HF_ENDPOINT``."""

    # 7: running an export.

    NOT_AN_EXPORT = "EG701"
    """The path is not a folder that ``edgegen export`` wrote. Name one."""
    INVALID_MANIFEST = "EG702"
    """A JSON file of the exported model cannot be read or lacks fields. Export it again."""
    EXPORT_INCOMPLETE = "EG703"
    """A file that the manifest names is missing. Copy the whole folder."""
    UNSUPPORTED_MANIFEST_VERSION = "EG704"
    """The export was made for another version of the runtime. Update the runtime, or export again."""
    SIGNATURES_MISSING = "EG705"
    """The file lacks the signatures that this task runs. Export it for that task."""
    CACHE_MISMATCH = "EG706"
    """The attention mask and the KV cache of a file differ in length. Export it again."""
    UNSUPPORTED_BUNDLE = "EG707"
    """The bundle is for another runtime. Export with ``--target tflite``."""
    WRONG_TASK = "EG708"
    """The model is for another task than the command's. See the hint for the command to use."""
    NOT_FOR_ENCODER_DECODER = "EG709"
    """The option does not apply to encoder-decoder models. Leave it out."""
    NO_TOKENIZER = "EG710"
    """The model was exported without a tokenizer. Put one beside the checkpoint and export again."""
    UNKNOWN_TOKENIZER = "EG711"
    """The runtime knows no tokenizer files of this kind. Export from a checkpoint with tokenizer.json."""
    TOKENIZER_UNREADABLE = "EG712"
    """A tokenizer file of the exported model cannot be read. Export it again."""
    TOKENIZER_NOT_STREAMABLE = "EG713"
    """The tokenizer's decoder does not work token by token. Constrained output is not possible with it."""
    INVALID_CHAT_TEMPLATE = "EG721"
    """The chat template cannot be read or parsed. Correct the line in question."""
    CHAT_TEMPLATE_REFUSED = "EG722"
    """The chat template refuses the conversation, e.g. a role or an order of roles. Change the messages."""
    NO_CHAT_TEMPLATE = "EG723"
    """The model has no chat template. Use ``--raw``, or export with one."""
    LOGITS_NOT_FINITE = "EG731"
    """The model returned NaN or infinity. Verify the export; report it where that passes."""
    INVALID_GENERATION_OPTION = "EG732"
    """A generation option is out of its range or excludes another. See the message for the range."""
    CONTEXT_EXCEEDED = "EG741"
    """The tokens do not fit the context window. Shorten the text, or export with a larger ``--cache-length``."""
    INPUT_TOO_SHORT = "EG742"
    """The text is empty, or has fewer tokens than needed. Give a longer one."""
    TOKEN_OUT_OF_RANGE = "EG743"
    """A token id is outside of the model's vocabulary. Use the model's own tokenizer."""
    NOT_UTF8 = "EG744"
    """A text is not UTF-8. Convert it."""
    VOCABULARY_MISMATCH = "EG745"
    """Models that are compared have different vocabularies. Compare exports of one model."""
    NO_PROMPT = "EG746"
    """A command needs a text, and there is none. Give it as an argument or on stdin."""
    LOGIT_BIAS_OUT_OF_RANGE = "EG749"
    """A logit bias names a token outside of the model's vocabulary. Use ids of the model's own tokenizer."""
    PREFIX_CACHE_EMPTY = "EG750"
    """There is no prefix to save yet. Run a prompt first."""
    PREFIX_CACHE_UNREADABLE = "EG752"
    """A file holds no saved prefix that this version wrote. Save it again."""
    PREFIX_CACHE_MISMATCH = "EG753"
    """A saved prefix is of another model file or adapter. Save it again with this one."""
    DRAFT_MODEL_MISMATCH = "EG760"
    """The draft model has another tokenizer than the model. Use a draft model of the same family."""
    NO_VERIFY_SIGNATURES = "EG761"
    """Speculative decoding needs verify signatures. Export with ``--verify-lengths 4,8``."""
    ROLLBACK_TOO_SHORT = "EG762"
    """The cache cannot drop as many tokens as are drafted in vain. Export with shorter ``--verify-lengths``, or decode
    without ``--speculate``."""
    INVALID_GRAMMAR = "EG770"
    """A JSON schema, regular expression or grammar cannot be followed. See the message for the part in question."""
    STRUCTURED_OUTPUT_UNAVAILABLE = "EG771"
    """Structured output needs llguidance, which is not installed. The hint has the ``pip install`` line."""

    # 8: bundles and the server.

    LITERTLM_DAMAGED = "EG801"
    """A file is no ``.litertlm`` bundle, or is damaged. Export it again."""
    BUNDLE_NEEDS_TOKENIZER = "EG802"
    """The checkpoint has no tokenizer that the bundle's clients read. Use ``--target tflite``."""
    BUNDLE_NEEDS_FULL_CACHE = "EG803"
    """The bundle's clients keep the whole context, which a model with shorter caches does not. Change ``--layer``."""
    SERVER_NEEDS_TOKENIZER = "EG811"
    """A model without a tokenizer cannot be served. Export it with one."""
    UNKNOWN_HOST = "EG812"
    """The host to listen on does not exist. Use an address of this machine."""
    API_KEY_REQUIRED = "EG813"
    """The server would be open to other machines without an API key. Set one, or listen on localhost."""
    PORT_UNAVAILABLE = "EG814"
    """The port cannot be listened on: in use, or not permitted. Choose another one."""
    INVALID_API_KEY = "EG815"
    """The API key is empty or cannot stand in an HTTP header. Use letters and digits."""
    ADAPTER_RANK_UNSUPPORTED = "EG820"
    """The bundle's clients take adapters of certain ranks only. Export with one of them."""
    TASK_FILE_DAMAGED = "EG830"
    """A file is no ``.task`` bundle that can be read. Export it again."""
    TASK_FILE_INVALID = "EG831"
    """A ``.task`` bundle breaks rules of its clients. The details list all that is wrong."""
    INVALID_SPECIAL_TOKENS = "EG832"
    """Start or stop tokens are missing, or are no pieces of the tokenizer. Name such pieces."""
    NOT_SENTENCEPIECE = "EG833"
    """A file is no SentencePiece model. Convert a tokenizer: ``edgegen tokenizer``."""
    BUNDLE_TAKES_NO_ADAPTERS = "EG834"
    """The bundle takes no adapters at run time. Merge the adapter: ``--lora``."""
    BUNDLE_NEEDS_STOP_TOKEN = "EG835"
    """Neither the checkpoint nor the model names a token that ends a text. Use ``--target tflite``."""
    TOKENIZER_JSON_UNREADABLE = "EG840"
    """tokenizer.json cannot be read. Download it again."""
    TOKENIZER_NOT_CONVERTIBLE = "EG841"
    """The tokenizer does something that no SentencePiece model can. Use ``--target tflite``."""
    TOKENIZER_NOT_FOUND = "EG842"
    """The path has no tokenizer. Name a folder with tokenizer.json."""


class EdgegenError(Exception):
    """Base of all expected failures; anything else that escapes is a bug (exit code 1).

    Args:
        message: one line, lower case, no trailing period: what was wrong.
        code: the meaning, for programs; default: the class's own, for plugins that have no code for it.
        details: further lines, already aligned, printed below the message as they are.
        hint: one line, how to fix it: a command, an option, the closest name that exists.
    """

    exit_code: ClassVar[int] = 1
    default_code: ClassVar[ErrorCode] = ErrorCode.UNEXPECTED

    def __init__(
        self,
        message: str,
        *,
        code: ErrorCode | str | None = None,
        details: Iterable[str] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.details = tuple(details)
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message, *(f"  {line}" for line in self.details)]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class UsageError(EdgegenError):
    """The caller asked for something that does not exist or makes no sense (exit code 2)."""

    exit_code = 2
    default_code = ErrorCode.INVALID_ARGUMENT


class PluginError(UsageError):
    """A plugin is broken, or two plugins claim one name (exit code 2)."""

    default_code = ErrorCode.PLUGIN


class UnsupportedError(EdgegenError):
    """The input is valid, but this version cannot express it: an operator, a tensor type (exit code 3)."""

    exit_code = 3
    default_code = ErrorCode.UNSUPPORTED


class CheckpointError(EdgegenError):
    """A checkpoint is damaged, incomplete or not the one the model expects (exit code 4)."""

    exit_code = 4
    default_code = ErrorCode.CHECKPOINT


class VerificationError(EdgegenError):
    """The exported file does not compute what the eager model computes (exit code 5)."""

    exit_code = 5
    default_code = ErrorCode.VERIFICATION_FAILED


class ResourceError(EdgegenError):
    """Disk, memory, network, permissions: the machine, or another one, said no (exit code 6)."""

    exit_code = 6
    default_code = ErrorCode.RESOURCE

"""Request bodies of the API, as pydantic models. Ranges and defaults are those of OpenAI's API.

https://platform.openai.com/docs/api-reference/chat/create and https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from edgegen_serve.openai.errors import shown

UNTAGGED = "="
"""Prefix of union tags, which errors have in their location and paths of fields do not."""

_LARGE = 1000
"""Bounds beyond it are written in full, not as 9.2e+18."""

_MAX_STOPS = 4
_COMPLETION_TOKENS = 16


class Body(BaseModel):
    """A JSON object of a request: types are not converted, unknown fields are refused, and null counts as absent.

    Attributes:
        UNSUPPORTED: fields of OpenAI's API that take only the value that asks for nothing.
    """

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    UNSUPPORTED: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, body: Any) -> Any:
        # Clients send null for what was not set.
        if not isinstance(body, dict):
            return body
        return {_replaced(name): value for name, value in body.items() if value is not None}


def _replaced(name: Any) -> Any:
    """A field's name without halves of surrogate pairs, which pydantic would stumble over."""
    return name.encode(errors="replace").decode() if isinstance(name, str) else name


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise PydanticCustomError(
                "value", "has half of a surrogate pair at character {position}", {"position": error.start}
            ) from None
    return value


def _text_or(other: str, expected: str) -> Discriminator:
    """Discriminator between a string (tag ``=text``) and an array (tag ``=<other>``)."""
    tags: dict[type, str] = {str: f"{UNTAGGED}text", list: f"{UNTAGGED}{other}"}
    return Discriminator(
        lambda value: tags.get(type(value)), custom_error_type="wrong_type", custom_error_message=expected
    )


def _prompt(value: Any) -> Any:
    """Prompt of a body: one text, or the token ids of one, also as the only item of a list."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], (str, list)):
        return _prompt(value[0])
    if isinstance(value, str):
        return _encodable(value)
    if not isinstance(value, list):
        raise PydanticCustomError("wrong_type", "a string or an array of token ids")
    if not value or any(type(item) is not int for item in value):
        raise PydanticCustomError(
            "value", "should be one text, or the token ids of one; send one request for each prompt"
        )
    return value


def _token_id(key: Any) -> Any:
    if not (isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 10):
        raise PydanticCustomError(
            "value", "should have token ids as its names, but has {key}", {"key": shown(str(key))}
        )
    return int(key)


def _not_empty(stop: str | list[str]) -> str | list[str]:
    if not all([stop] if isinstance(stop, str) else stop):
        raise PydanticCustomError("value", "has an empty string")
    return stop


def _same_type(expected: int | bool) -> BeforeValidator:
    """Tell numbers and booleans apart, which Python's equality does not."""

    def check(value: Any) -> Any:
        if type(value) is not type(expected):
            raise PydanticCustomError("value", f"should be {expected}")
        return value

    return BeforeValidator(check)


def _within(low: float, high: float, *, above: bool = False) -> BeforeValidator:
    """Refuse numbers that are not in the range; ``above``: ``low`` itself is not."""

    def check(value: Any) -> Any:
        if type(value) in (int, float) and not ((low < value if above else low <= value) and value <= high):
            if abs(high) > _LARGE:
                raise PydanticCustomError("value", f"is out of range: at least {low}, at most {high}")
            raise PydanticCustomError(
                "value",
                f"should be {'above' if above else 'at least'} {low:g} and at most {high:g}",
            )
        return value

    return BeforeValidator(check)


Text = Annotated[str, BeforeValidator(_encodable)]
TokenId = Annotated[int, BeforeValidator(_token_id)]
One = Annotated[Literal[1], _same_type(1)]
Zero = Annotated[Literal[0], _same_type(0)]
No = Annotated[Literal[False], _same_type(False)]
Ignored = Annotated[Any, Field(description="Ignored: about the service, not about the answer.")]
Temperature = Annotated[float, Field(ge=0, le=2), _within(0, 2)]
Probability = Annotated[float, Field(gt=0, le=1), _within(0, 1, above=True)]
Penalty = Annotated[float, Field(ge=-2, le=2), _within(-2, 2)]
Bias = Annotated[float, Field(ge=-100, le=100), _within(-100, 100)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1), _within(-(2**63), 2**63 - 1)]
Limit = Annotated[int, Field(ge=1, le=2**63 - 1), _within(1, 2**63 - 1)]


class TextPart(Body):
    """A part of a message's content; the model reads nothing but text."""

    type: Literal["text"]
    text: Text


Content = Annotated[
    Annotated[Text, Tag(f"{UNTAGGED}text")] | Annotated[list[TextPart], Tag(f"{UNTAGGED}parts")],
    _text_or("parts", "a string or an array of text parts"),
]


class ChatMessage(Body):
    """A message of a conversation."""

    UNSUPPORTED = frozenset({"tool_calls", "function_call", "audio", "refusal"})

    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    name: Text | None = Field(None, description="Name of the speaker, for templates that show it.")
    tool_calls: Annotated[list[Any], Field(max_length=0)] | None = None
    function_call: None = None
    audio: None = None
    refusal: None = None

    @property
    def text(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(Body):
    """Options of streams."""

    include_usage: bool = Field(False, description="End the stream with token counts.")
    include_obfuscation: Ignored = None


class JsonSchema(Body):
    """A named JSON Schema."""

    schema_: dict[str, Any] = Field(alias="schema", description="JSON Schema that the answer has to match.")
    name: Ignored = None
    description: Ignored = None
    strict: Ignored = None


class ResponseFormat(Body):
    """Format of the answer: free text, any JSON object, or JSON that matches a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = Field(None, description="Required with type json_schema, else not allowed.")

    @model_validator(mode="after")
    def _schema_goes_with_its_type(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise PydanticCustomError("missing_in", "missing", {"field": "json_schema"})
        if self.type != "json_schema" and self.json_schema is not None:
            raise PydanticCustomError("value_in", "goes with type json_schema only", {"field": "json_schema"})
        return self


Stop = Annotated[
    Annotated[Text, Tag(f"{UNTAGGED}text")]
    | Annotated[list[Text], Field(max_length=_MAX_STOPS), Tag(f"{UNTAGGED}texts")],
    _text_or("texts", "a string or an array of strings"),
    AfterValidator(_not_empty),
]


class GenerationBody(Body):
    """Fields that chat completions and completions share."""

    model: Text = Field(description="Name of the model, as GET /v1/models lists it.")
    temperature: Temperature = Field(1.0, description="Softmax temperature; 0 is greedy.")
    top_p: Probability = Field(1.0, description="Nucleus sampling: probability mass of the tokens to sample from.")
    presence_penalty: Penalty = Field(0.0, description="Subtracted from the logit of each token in the answer, once.")
    frequency_penalty: Penalty = Field(0.0, description="Subtracted from a token's logit for each time it occurs.")
    logit_bias: dict[TokenId, Bias] = Field(default_factory=dict, description="Token id -> number added to its logit.")
    seed: Seed | None = Field(None, description="Random seed; default: a new one each time.")
    stop: Stop | None = Field(None, description="Stop strings, up to 4; they are not part of the answer.")
    stream: bool = Field(False, description="Send the answer as server-sent events, piece by piece.")
    stream_options: StreamOptions | None = None

    user: Ignored = None
    metadata: Ignored = None
    store: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None
    service_tier: Ignored = None
    n: One = 1

    @property
    def stops(self) -> tuple[str, ...]:
        """Stop strings."""
        return () if self.stop is None else (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @model_validator(mode="after")
    def _options_are_for_streams(self) -> GenerationBody:
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError("value_in", "is for streams; set stream to true", {"field": "stream_options"})
        return self


class ChatCompletionRequest(GenerationBody):
    """Body of ``POST /v1/chat/completions``."""

    UNSUPPORTED = frozenset({
        "n", "logprobs", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call",
        "modalities", "audio", "prediction", "reasoning_effort", "verbosity", "web_search_options",
    })  # fmt: skip

    messages: list[ChatMessage] = Field(min_length=1, description="The conversation to answer.")
    max_completion_tokens: Limit | None = Field(None, description="Length limit in tokens; default: the KV cache's.")
    max_tokens: Limit | None = Field(None, description="Older name of max_completion_tokens.")
    response_format: ResponseFormat | None = None

    logprobs: No = False
    top_logprobs: Zero = 0
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[Any], Field(max_length=0)] | None = None
    function_call: Literal["none", "auto"] | None = None
    modalities: Annotated[list[Literal["text"]], Field(min_length=1, max_length=1)] | None = None
    audio: None = None
    prediction: None = None
    reasoning_effort: Literal["none"] | None = None
    verbosity: Literal["medium"] | None = None
    web_search_options: None = None


class CompletionRequest(GenerationBody):
    """Body of ``POST /v1/completions``."""

    UNSUPPORTED = frozenset({"n", "logprobs", "best_of", "echo", "suffix"})

    prompt: Annotated[str | list[int], BeforeValidator(_prompt)] = Field(description="Text or token ids to continue.")
    max_tokens: Limit = Field(_COMPLETION_TOKENS, description="Length limit in tokens.")

    logprobs: None = None
    best_of: One = 1
    echo: No = False
    suffix: Literal[""] = ""

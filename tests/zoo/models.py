"""Small random models of transformers with inputs: encoders of text, pictures, sound; decoders without a cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import transformers as hf
from torch import nn

Case = tuple[str, nn.Module, tuple[torch.Tensor, ...]]

TEXT: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 60,
}  # fmt: skip
DECODER: dict[str, Any] = {**TEXT, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GROUPED: dict[str, Any] = {**DECODER, "num_key_value_heads": 2}
PICTURE: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
SOUND: dict[str, Any] = {
    **TEXT, "conv_dim": (16, 16), "conv_stride": (5, 2), "conv_kernel": (10, 3), "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
GPT: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 60}

ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Albert": ("AlbertConfig", {**TEXT, "embedding_size": 16}),
    "Bert": ("BertConfig", TEXT),
    "DebertaV2": (
        "DebertaV2Config",
        {
            **TEXT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8,
            "max_relative_positions": 16,
        },
    ),
    "DistilBert": ("DistilBertConfig", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "vocab_size": 60}),
    "Electra": ("ElectraConfig", {**TEXT, "embedding_size": 16}),
    "FNet": ("FNetConfig", {key: value for key, value in TEXT.items() if key != "num_attention_heads"}),
    "MobileBert": (
        "MobileBertConfig",
        {**TEXT, "embedding_size": 32, "true_hidden_size": 32, "intra_bottleneck_size": 32},
    ),
    "ModernBert": ("ModernBertConfig", {**DECODER, "cls_token_id": 2, "sep_token_id": 1}),
    "MPNet": ("MPNetConfig", TEXT),
    "Nystromformer": ("NystromformerConfig", TEXT),
    "RoFormer": ("RoFormerConfig", TEXT),
    "Roberta": ("RobertaConfig", TEXT),
}  # fmt: skip
VISION: dict[str, tuple[str, int, dict[str, Any]]] = {
    "BEiT": ("BeitConfig", 32, PICTURE),
    "CLIP": ("CLIPVisionConfig", 32, PICTURE),
    "ConvNext": ("ConvNextConfig", 32, {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}),
    "Data2Vec": ("Data2VecVisionConfig", 32, PICTURE),
    "DeiT": ("DeiTConfig", 32, PICTURE),
    "DINOv2": ("Dinov2Config", 32, PICTURE),
    "EfficientNet": ("EfficientNetConfig", 32, {"image_size": 32}),
    "LeViT": (
        "LevitConfig", 64,
        {
            "image_size": 64, "hidden_sizes": [32] * 3, "num_attention_heads": [2] * 3, "key_dim": [8] * 3,
            "depths": [1] * 3,
        },
    ),
    "MobileNetV2": ("MobileNetV2Config", 32, {"image_size": 32, "depth_multiplier": 0.25}),
    "MobileViT": (
        "MobileViTConfig", 64,
        {"image_size": 64, "hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 8, 8, 16, 24, 32]},
    ),
    "PoolFormer": ("PoolFormerConfig", 32, {"hidden_sizes": [8, 16, 16, 16], "depths": [1] * 4}),
    "PVT": (
        "PvtConfig", 64,
        {"image_size": 64, "hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4, "num_attention_heads": [1, 1, 2, 2]},
    ),
    "RegNet": (
        "RegNetConfig", 32, {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "groups_width": 4},
    ),
    "ResNet": ("ResNetConfig", 32, {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}),
    "Segformer": (
        "SegformerConfig", 64, {"hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4, "num_attention_heads": [1, 1, 2, 2]},
    ),
    "Siglip": ("SiglipVisionConfig", 32, PICTURE),
    "Swin": (
        "SwinConfig", 32,
        {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
    ),
    "ViT": ("ViTConfig", 32, PICTURE),
}  # fmt: skip
DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "BioGpt": ("BioGptConfig", DECODER),
    "Bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 60}),
    "Cohere": ("CohereConfig", DECODER),
    "CTRL": ("CTRLConfig", {**GPT, "dff": 48}),
    "Exaone4": ("Exaone4Config", GROUPED),
    "Falcon": (
        "FalconConfig", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 60},
    ),
    "Glm4": ("Glm4Config", {**GROUPED, "head_dim": 8}),
    "GPT2": ("GPT2Config", GPT),
    "GPTJ": ("GPTJConfig", {**GPT, "rotary_dim": 4}),
    "GPTNeo": (
        "GPTNeoConfig",
        {
            "hidden_size": 32, "num_layers": 2, "num_heads": 4, "vocab_size": 60, "window_size": 4,
            "attention_types": [[["global", "local"], 1]],
        },
    ),
    "GPTNeoX": ("GPTNeoXConfig", DECODER),
    "Granite": ("GraniteConfig", DECODER),
    "Helium": ("HeliumConfig", {**GROUPED, "head_dim": 8}),
    "Mamba": ("MambaConfig", {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 60, "state_size": 4}),
    "MPT": ("MptConfig", {"d_model": 32, "n_layers": 2, "n_heads": 4, "vocab_size": 60}),
    "Nemotron": ("NemotronConfig", GROUPED),
    "OLMo": ("OlmoConfig", DECODER),
    "OLMo2": ("Olmo2Config", DECODER),
    "OPT": (
        "OPTConfig",
        {
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48, "vocab_size": 60,
            "word_embed_proj_dim": 32,
        },
    ),
    "RecurrentGemma": ("RecurrentGemmaConfig", {**DECODER, "lru_width": 32, "attention_window_size": 8}),
    "RWKV": (
        "RwkvConfig", {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32, "vocab_size": 60},
    ),
    "SmolLM3": ("SmolLM3Config", GROUPED),
    "StarCoder2": ("Starcoder2Config", GROUPED),
    "XGLM": (
        "XGLMConfig", {"d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 48, "vocab_size": 60},
    ),
}  # fmt: skip


class Logits(nn.Module):
    """A decoder that reads a text at once."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(tokens, use_cache=False).logits
        return logits


def cases() -> Iterator[Case]:
    """All models, one at a time, in a fixed order."""
    torch.manual_seed(0)
    tokens = torch.randint(3, 60, (1, 9))
    for name, (config, values) in ENCODERS.items():
        yield name, _random(hf.AutoModel.from_config(getattr(hf, config)(**values))), (tokens,)
    for name, (config, size, values) in VISION.items():
        model = hf.AutoModel.from_config(getattr(hf, config)(**values))
        yield name, _random(model), (torch.randn(1, 3, size, size),)
    for name, (config, values) in DECODERS.items():
        model = hf.AutoModelForCausalLM.from_config(getattr(hf, config)(**values), attn_implementation="eager")
        yield name, Logits(_random(model)).eval(), (tokens,)
    for config in ("Wav2Vec2Config", "HubertConfig"):
        yield config, _random(hf.AutoModel.from_config(getattr(hf, config)(**SOUND))), (torch.randn(1, 400),)
    spectrogram = {key: value for key, value in PICTURE.items() if key != "image_size"}
    ast = hf.ASTConfig(**spectrogram, max_length=32, num_mel_bins=16, frequency_stride=8, time_stride=8)
    yield "AST", _random(hf.AutoModel.from_config(ast)), (torch.randn(1, 32, 16),)
    whisper = hf.WhisperConfig(
        d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=60, num_mel_bins=8, max_source_positions=10, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    yield "Whisper's encoder", _random(hf.AutoModel.from_config(whisper)).get_encoder(), (torch.randn(1, 8, 20),)


def _random(model: Any) -> Any:
    """The model with weights large enough that errors show."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.2)
    return model.eval()

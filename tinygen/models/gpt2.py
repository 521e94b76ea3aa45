"""GPT-2 as the transformers library publishes it: its config.json and its weights' names, to ours and back.

    Radford et al., Language models are unsupervised multitask learners (2019), and the files of its release

The two say the same but for three things. Their linear layers (Conv1D) compute x W + b with W (in, out), ours
x W^T + b with W (out, in), so those matrices are turned. All names may begin with "transformer.". And old
files hold each block's causal mask as if it were a weight.

It stands beside gpt.py, and not with the files and runs of training/gpt2_folder.py, since it knows no files:
dicts and arrays in, dicts and arrays out.

Left out: what transformers can make of a GPT-2 and the released ones are not: other scales of attention,
attention to an encoder, another epsilon. Such a configuration is refused by name.

Letters: V vocabulary, N places, C width, F hidden units.
"""

import numpy as np

from .gpt import GPTConfig

SIZES = {  # their name -> ours
    "vocab_size": "vocabulary",
    "n_positions": "context",
    "n_layer": "layers",
    "n_head": "heads",
    "n_embd": "width",
}
ACTIVATIONS = {  # theirs -> ours; the first that means ours is the one that is written
    "gelu_new": "gelu-tanh",
    "gelu_pytorch_tanh": "gelu-tanh",
    "gelu": "gelu",
    "relu": "relu",
}
EPSILON = 1e-5  # of nn.LayerNorm
# What each field must say where it is given; without it, transformers takes this too. It does not matter what
# `reorder_and_upcast_attn` says: it is about half precision, and we compute in float32.
FIXED = {
    "model_type": "gpt2",
    "layer_norm_epsilon": EPSILON,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
SPOKEN = {"positions": "learned", "norm": "layer", "post_norm": False}  # all that GPT-2 can be, in our words
TURNED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
PREFIX, HEAD = "transformer.", "lm_head.weight"
MASKS = (".attn.bias", ".attn.masked_bias")  # of old files; no block has a weight that ends so


# the configuration


def config_from(fields):
    """The GPTConfig that means what a config.json says.

    Of the three rates of dropout `resid_pdrop` is taken: they concern training alone, and we have one.

    Args:
        fields: the dict in that file. What has no bearing on the logits is not looked at.

    Raises:
        ValueError: a size is missing or no size, or a field says what our GPT cannot do; names the field.
    """
    if not isinstance(fields, dict):
        raise ValueError(f"expected a dict of fields, got {type(fields).__name__}; give GPT-2's config.json")
    for name, value in FIXED.items():
        if fields.get(name, value) != value:
            raise ValueError(
                f"{name}: expected {value!r}, the only one that a GPT here can be, got {fields[name]!r}; "
                "choose another model"
            )
    theirs = fields.get("activation_function", "gelu_new")
    if theirs not in list(ACTIVATIONS):  # what JSON holds need not be hashable
        raise ValueError(
            f"activation_function: expected one of {', '.join(ACTIVATIONS)}, got {theirs!r}; "
            "choose another model"
        )
    rate = fields.get("resid_pdrop", 0.1)
    if not isinstance(rate, (int, float)) or not 0 <= rate < 1:
        raise ValueError(f"resid_pdrop: expected a number of at least 0 and below 1, got {rate!r}; change it")
    sizes = {ours: _size(fields, name) for name, ours in SIZES.items()}
    return GPTConfig(
        **sizes,
        feed_forward=None if fields.get("n_inner") is None else _size(fields, "n_inner"),
        dropout=rate,
        activation=ACTIVATIONS[theirs],
        tied=bool(fields.get("tie_word_embeddings", True)),
    )


def _size(fields, name):
    size = fields.get(name)
    if type(size) is not int or size < 1:
        raise ValueError(
            f"{name}: expected a whole number of at least 1, got {size!r}; give the file that GPT-2 came with"
        )
    return size


def config_to(config, *, end=None):
    """The fields of a config.json that mean a GPTConfig, for transformers' GPT2LMHeadModel.

    Args:
        end: the id of the token between texts, if there is one.

    Raises:
        ValueError: the GPT is none that GPT-2's architecture has room for; names the field.
    """
    for name, value in SPOKEN.items():
        if getattr(config, name) != value:
            raise ValueError(
                f"{name}: expected {value}, all that GPT-2 knows, got {getattr(config, name)}; "
                "train a GPT with that"
            )
    theirs = next((name for name, ours in ACTIVATIONS.items() if ours == config.activation), None)
    if theirs is None:
        known = ", ".join(dict.fromkeys(ACTIVATIONS.values()))
        raise ValueError(
            f"activation: expected one that GPT-2 knows, {known}, got {config.activation}; "
            "train a GPT with one of them"
        )
    return {
        "architectures": ["GPT2LMHeadModel"],
        **FIXED,
        **{name: getattr(config, ours) for name, ours in SIZES.items()},
        "n_inner": config.feed_forward,
        "activation_function": theirs,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout),
        "tie_word_embeddings": config.tied,
        "bos_token_id": end,
        "eos_token_id": end,
        "dtype": "float32",
    }


# the weights


def shapes(config):
    """The name, without prefix, of each weight and its shape as it is published, a dict; biases are there."""
    v, n, c, f = config.vocabulary, config.context, config.width, config.hidden
    block = {
        "ln_1.weight": (c,),
        "ln_1.bias": (c,),
        "attn.c_attn.weight": (c, 3 * c),
        "attn.c_attn.bias": (3 * c,),
        "attn.c_proj.weight": (c, c),
        "attn.c_proj.bias": (c,),
        "ln_2.weight": (c,),
        "ln_2.bias": (c,),
        "mlp.c_fc.weight": (c, f),
        "mlp.c_fc.bias": (f,),
        "mlp.c_proj.weight": (f, c),
        "mlp.c_proj.bias": (c,),
    }
    return {
        "wte.weight": (v, c),
        "wpe.weight": (n, c),
        **{f"h.{i}.{name}": shape for i in range(config.layers) for name, shape in block.items()},
        "ln_f.weight": (c,),
        "ln_f.bias": (c,),
        **({} if config.tied else {HEAD: (v, c)}),
    }


def turned(name, array):
    """A weight from their layout to ours, or from ours to theirs; a view."""
    return array.T if name.endswith(TURNED) else array


def matched(found, config):
    """For each of our names the one under which that weight is published, a dict.

    Args:
        found: a dict of published name -> shape.
        config: the GPTConfig that they should fit. Where it is tied, a head may be there beside it, and is
            among the results.

    Raises:
        ValueError: a weight is missing, unknown, there twice, or of another shape; names it.
    """
    expected, names = shapes(config), {}
    known = {**expected, HEAD: expected["wte.weight"]}
    for name, shape in found.items():
        own = name.removeprefix(PREFIX)
        if own.endswith(MASKS):
            continue
        if own not in known:
            raise ValueError(
                f"{name}: expected weights of a GPT-2 of {config.layers} layers, got an unknown one, "
                f"{tuple(shape)}; give those of a GPT2LMHeadModel, and the config.json that belongs to them"
            )
        if own in names:
            raise ValueError(f"{own}: expected once, got {names[own]} and {name}; take one of them out")
        if tuple(shape) != known[own]:
            raise ValueError(
                f"{name}: expected {known[own]}, as config.json says, got {tuple(shape)}; "
                "give files that belong together"
            )
        names[own] = name
    missing = [name for name in expected if name not in names]
    if missing:
        raise ValueError(
            f"{missing[0]}: expected among the weights, got none of that name ({len(missing)} of "
            f"{len(expected)} are missing); give all files of the model"
        )
    return names


def published(model):
    """The weights of a GPT as they are published, name -> array; a bias that it lacks is written as zeros.

    Those are views of the model's own arrays.
    """
    own, weights = dict(model.named_parameters()), {}
    for name, shape in shapes(model.config).items():
        array = turned(name, own[name].numpy()) if name in own else np.zeros(shape, np.float32)
        weights[name if name == HEAD else PREFIX + name] = array
    return weights

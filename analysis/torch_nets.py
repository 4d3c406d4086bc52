"""The networks of wninit as plain PyTorch modules, and its initializers for them.

    net = torch_nets.load("results/quick/export/0123456789ab-start.safetensors")   # wninit export DIR --job ID
    net = torch_nets.ResNet(3, 10, blocks=9)                                       # or a new one,
    torch_nets.init_(net, "orthogonal_proposed")                                   # initialised by the same rule
    torch_nets.init_(net, {"direction": "orthogonal", "gain": "sqrt(gamma * fan_in / fan_out)"})

Images are [batch, channel, height, width], as `input` of the job scales them; the result is [batch, class] scores.
docs/networks.md and docs/initializers.md of the project define networks, gains and expressions.
"""

import ast
import json
import math

import torch
from safetensors import safe_open
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

ACTIVATIONS = {
    "relu": F.relu, "leaky_relu": F.leaky_relu, "tanh": torch.tanh, "gelu": F.gelu, "selu": F.selu, "linear": lambda x: x,
}


class Net(nn.Module):
    """What the families share: `norm` is "weight", "batch" or "none"."""

    def __init__(self, norm="weight", activation="relu"):
        super().__init__()
        self.norm, self.activation, self.phi = norm, activation, ACTIVATIONS[activation]

    def normed(self, layer):
        return weight_norm(layer) if self.norm == "weight" else layer

    def conv(self, inputs, outputs, kernel=3, stride=1):
        return self.normed(nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2))


class MLP(Net):
    """`depth` hidden layers of `width` units. `features` are the numbers of an image."""

    def __init__(self, features, classes, depth=10, width=128, **common):
        super().__init__(**common)
        sizes = [features] + depth * [width]
        self.hidden = nn.ModuleList(self.normed(nn.Linear(*pair)) for pair in zip(sizes, sizes[1:]))
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.hidden:
            x = self.phi(layer(x))
        return self.head(x)


class CNN(Net):
    """`depth` 3x3 convolutions of `width` channels, stride 2 in the first two; average pool."""

    def __init__(self, channels, classes, depth=5, width=64, **common):
        super().__init__(**common)
        inputs = [channels] + depth * [width]
        self.hidden = nn.ModuleList(self.conv(n, width, stride=2 if i < 2 else 1) for i, n in enumerate(inputs[:-1]))
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        for layer in self.hidden:
            x = self.phi(layer(x))
        return self.head(x.mean((2, 3)))


class Block(nn.Module):
    """conv2(phi(conv1(x))) + shortcut(x); with batch norm, pre-activation."""

    def __init__(self, net, inputs, outputs, stride, branch_scale):
        super().__init__()
        self.phi, batch = net.phi, net.norm == "batch"
        self.bn1 = nn.BatchNorm2d(inputs) if batch else None
        self.conv1 = net.conv(inputs, outputs, stride=stride)
        self.bn2 = nn.BatchNorm2d(outputs) if batch else None
        self.conv2 = net.conv(outputs, outputs)
        self.shortcut = net.conv(inputs, outputs, 1, stride) if inputs != outputs or stride > 1 else None
        self.branch_scale = None if branch_scale is None else nn.Parameter(torch.tensor(float(branch_scale)))

    def forward(self, x):
        z = self.bn1(x) if self.bn1 else x
        h = self.conv1(self.phi(z) if self.bn1 else z)
        h = self.conv2(self.phi(self.bn2(h) if self.bn2 else h))
        if self.branch_scale is not None:
            h = self.branch_scale * h
        return h + (self.shortcut(z) if self.shortcut else x)


class Residual(Net):
    """A stem and three stages of `blocks` residual blocks; the second and the third start with stride 2."""

    def __init__(self, channels, classes, blocks, stem, widths, stem_stride, branch_scale, **common):
        super().__init__(**common)
        self.stem = self.conv(channels, stem, stride=stem_stride)
        self.stages, inputs = nn.ModuleList(), stem
        for s, width in enumerate(widths):
            stage = []
            for b in range(blocks):
                stage.append(Block(self, inputs, width, 2 if s > 0 and b == 0 else 1, branch_scale))
                inputs = width
            self.stages.append(nn.ModuleList(stage))
        self.bn_stem = self.bn_final = None
        self.head = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.stem(x)
        x = self.bn_stem(x) if self.bn_stem else x
        for stage in self.stages:
            for block in stage:
                x = block(x)
        x = self.bn_final(x) if self.bn_final else x
        return self.head(x.mean((2, 3)))


class ResNet(Residual):
    """ResNet-(6 blocks + 2) with stages of `width`, 2 `width` and 4 `width` channels."""

    def __init__(self, channels, classes, blocks=9, width=16, branch_scale=None, **common):
        super().__init__(channels, classes, blocks, width, [width, 2 * width, 4 * width], 1, branch_scale, **common)
        if self.norm == "batch":
            self.bn_stem, self.bn_final = nn.BatchNorm2d(width), nn.BatchNorm2d(4 * width)


class WRN(Residual):
    """WRN-(6 blocks + 4)-k: a stem of 16 channels, stages of 16k, 32k and 64k."""

    def __init__(self, channels, classes, blocks=6, k=1, reduced_memory=False, branch_scale=None, **common):
        widths = [16 * k, 32 * k, 64 * k]
        super().__init__(channels, classes, blocks, 16, widths, 2 if reduced_memory else 1, branch_scale, **common)


FAMILIES = {"mlp": MLP, "cnn": CNN, "resnet": ResNet, "wrn": WRN}


def load(path):
    """The network of a file that `wninit export` wrote, in evaluation mode."""
    with safe_open(path, "pt") as file:
        job = json.loads(file.metadata()["job"])
        state = {name: file.get_tensor(name) for name in file.keys()}
    sizes = {name: int(job[name]) for name in ("depth", "width", "blocks", "k") if name in job}
    if job["model"] == "wrn":
        sizes["reduced_memory"] = job["reduced_memory"] == "true"
    if "branch_scale" in job:
        sizes["branch_scale"] = float(job["branch_scale"])
    first = state.get("hidden.0.weight_v", state.get("hidden.0.weight", state.get("stem.weight_v", state.get("stem.weight"))))
    classes = state["head.weight"].shape[0]
    common = {"norm": job["norm"], "activation": job.get("activation", "relu")}
    net = FAMILIES[job["model"]](first.shape[1], classes, **sizes, **common)
    for name, tensor in state.items():
        layer, _, part = name.rpartition(".")
        if part == "weight_v":
            name = f"{layer}.parametrizations.weight.original1"
        elif part == "weight_g":
            name = f"{layer}.parametrizations.weight.original0"
            tensor = tensor.reshape(-1, *[1] * (state[f"{layer}.weight_v"].dim() - 1))
        target = net.get_parameter(name) if not part.startswith("running") else net.get_buffer(name)
        if target.shape != tensor.shape:
            raise ValueError(f"{path}: {name} is {tuple(tensor.shape)}, expected {tuple(target.shape)}")
        with torch.no_grad():
            target.copy_(tensor)
    return net.eval()


# Initializers.

FUNCTIONS = {
    "sqrt": math.sqrt, "cbrt": math.cbrt, "exp": math.exp, "log": math.log, "log2": math.log2, "log10": math.log10,
    "abs": abs, "floor": math.floor, "ceil": math.ceil, "sin": math.sin, "cos": math.cos, "tanh": math.tanh,
    "min": min, "max": max,
}  # fmt: skip
OPERATORS = {
    ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b, ast.Pow: lambda a, b: a**b,
}  # fmt: skip


def evaluate(expression, names):
    """The value of an expression of docs/initializers.md."""

    def value(node):
        match node:
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.Name(id=name) if names.get(name) is not None:
                return names[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                return OPERATORS[type(op)](value(left), value(right))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
                return FUNCTIONS[name](*map(value, args))
        raise ValueError(f"{expression!r}: {ast.unparse(node)!r} has no value here")

    return float(value(ast.parse(str(expression).strip().replace("^", "**"), mode="eval").body))


def gamma_of(activation):
    """1 / E[phi(z)^2] for z ~ N(0, 1), the gamma that keeps the second moment (Arpit et al. 2019, section 3)."""
    z = torch.linspace(-12, 12, 240_001, dtype=torch.float64)
    density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return 1 / torch.trapezoid(ACTIVATIONS[activation](z) ** 2 * density, z).item()


def layers(net):
    """Each layer but the head, in the order of the forward pass: its name, its module, its role, and what expressions know."""
    stages = [len(stage) for stage in getattr(net, "stages", [])]
    found = [(name, m) for name, m in net.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d)) and name != "head"]
    total, number = sum(not name.endswith("shortcut") for name, _ in found), 0
    phi = gamma_of(net.activation)
    for name, layer in found:
        part = name.rpartition(".")[2]
        role = {"stem": "stem", "shortcut": "shortcut", "conv2": "residual"}.get(part, "gain")
        number += role != "shortcut"
        outputs, inputs, *kernel = layer.weight.shape
        place = name.split(".")
        stage, block = (int(place[1]), int(place[2]) + 1) if place[0] == "stages" else (None, None)
        blocks = None if stage is None else stages[stage]
        linear = role == "shortcut" or (role == "stem" and isinstance(net, WRN))
        gamma = 1 / blocks if role == "residual" else 1.0 if linear else phi
        yield name, layer, role, {
            "fan_in": inputs * math.prod(kernel), "fan_out": outputs * math.prod(kernel), "layer": number, "layers": total,
            "block": block, "blocks": blocks, "all_blocks": sum(stages), "gamma": gamma, "pi": math.pi, "e": math.e,
        }  # fmt: skip


def direction_(kind, weight, names, scale=1.0):
    """Draws the direction of a layer's weights, [out, in, ...]."""
    variances = {"he": 2 / names["fan_in"], "lecun": 1 / names["fan_in"], "xavier": 2 / (names["fan_in"] + names["fan_out"])}
    if kind in variances:
        return nn.init.normal_(weight, std=math.sqrt(scale * variances[kind]))
    if kind == "orthogonal" or weight.dim() == 2:
        return nn.init.orthogonal_(weight)
    if kind == "delta_orthogonal":
        weight.zero_()
        weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2] = nn.init.orthogonal_(weight.new_empty(weight.shape[:2]))
        return weight
    raise ValueError(f"unknown direction {kind!r}")


BUILT_IN = {
    "": {}, "datadep": {}, "lsuv": {},
    "proposed": {"gain": "sqrt(gamma * fan_in / fan_out)"},
    "proposed_backward": {"gain": "sqrt(gamma)"},
    "hanin": {"gain": "sqrt(gamma * fan_in / fan_out)", "residual": "sqrt(0.9^(2 * block) * fan_in / fan_out)"},
}  # fmt: skip


@torch.no_grad()
def init_(net, rule, batch=None):
    """Initialises a network in place. `rule` is the name of a built-in initializer, or a definition: a dictionary with the
    keys of an `[[initializer]]`. Data-dependent rules (`datadep`, `lsuv`) need a batch of images. Returns the network."""
    data_dependent, scale = None, 1.0
    if isinstance(rule, str):
        known = ("delta_orthogonal", "orthogonal", "he")
        direction = next((d for d in known if rule == d or rule.startswith(d + "_")), None)
        gain = "" if direction is None or rule == direction else rule[len(direction) + 1 :]
        if direction is None or gain not in BUILT_IN:
            raise ValueError(f"unknown initializer {rule!r}")
        data_dependent = gain if gain in ("datadep", "lsuv") else None
        scale = 0.5 if rule == "he_proposed" else 1.0
        rule = {"direction": direction, **BUILT_IN[gain]}
    if data_dependent and batch is None:
        raise ValueError("this initializer needs a batch of images")
    for name, layer, role, names in layers(net):
        weight = torch.empty_like(layer.weight)
        direction_(rule["direction"], weight, names, scale)
        expression = rule.get(role, rule.get("gain"))
        norms = weight.flatten(1).norm(dim=1)
        gains = norms if expression is None else torch.full_like(norms, evaluate(expression, names))
        set_(layer, weight, gains)
        layer.bias.fill_(evaluate(rule.get("bias", 0), names))
    nn.init.uniform_(net.head.weight, -net.head.in_features**-0.5, net.head.in_features**-0.5)
    nn.init.uniform_(net.head.bias, -net.head.in_features**-0.5, net.head.in_features**-0.5)
    if data_dependent:
        hooks = [layer.register_forward_hook(fit(data_dependent)) for _, layer, *_ in layers(net)]
        net(batch)
        for hook in hooks:
            hook.remove()
    return net


def set_(layer, weight, gains):
    """Sets a layer's weights to the directions of `weight`, with the norms `gains` [out]."""
    shape = (-1, *[1] * (weight.dim() - 1))
    if parametrize.is_parametrized(layer):
        layer.parametrizations.weight.original1.copy_(weight)
        layer.parametrizations.weight.original0.copy_(gains.reshape(shape))
    else:
        layer.weight.copy_(weight * (gains / weight.flatten(1).norm(dim=1)).reshape(shape))


def fit(rule):
    """A hook that fits gain and bias to a layer's outputs, and computes them anew."""

    def hook(layer, inputs, output):
        if rule == "lsuv":  # Mishkin & Matas (2016): unit variance over the layer
            factor, shift = output.std(correction=0).reciprocal(), 0.0
            weight = layer.weight
            gains = weight.flatten(1).norm(dim=1) * factor
        else:  # Salimans & Kingma (2016), eq. 6: mean 0 and variance 1 of each unit, from g = 1 and no bias
            weight = layer.weight / layer.weight.flatten(1).norm(dim=1).reshape(-1, *[1] * (layer.weight.dim() - 1))
            set_(layer, weight, torch.ones_like(layer.bias))
            layer.bias.zero_()
            output = layer.forward(*inputs)
            dims = [d for d in range(output.dim()) if d != 1]
            gains, shift = output.std(dims, correction=0).reciprocal(), output.mean(dims)
            layer.bias.copy_(-shift * gains)
        set_(layer, direction(layer), gains)
        return layer.forward(*inputs)

    return hook


def direction(layer):
    """The directions of a layer's weights, [out, in, ...]."""
    return layer.parametrizations.weight.original1 if parametrize.is_parametrized(layer) else layer.weight.clone()

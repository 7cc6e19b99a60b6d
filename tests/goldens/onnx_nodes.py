"""Writes tests/goldens/onnx_nodes.json and onnx_nodes.safetensors: the node tests of the package `onnx` that
fit one of degrain's operators, and a list of those that do not.

    python tests/goldens/onnx_nodes.py

A node test is a model of one node with inputs and expected outputs. Each function below reads a node of one type
and decides whether degrain's operators compute it. It may change the layout of inputs and expected outputs
(reshape, move axes), and write out a bias of one number for each column. It changes no other number. Everything
else is done by degrain in tests/it/onnx_nodes.rs. Tests of expanded functions are left out: each repeats the case
of its node.
"""

import json
import warnings
from collections import Counter
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx.backend.test.loader import load_node_model_tests
from safetensors.numpy import save_file


class Unfit(Exception):
    """Why no operator of degrain computes a case."""


def require(fits, reason):
    if not fits:
        raise Unfit(reason)


class Case:
    """A node with its values. Inputs and outputs are found by their position in the node's definition."""

    def __init__(self, test):
        node = test.model.graph.node[0]
        inputs, outputs = test.data_sets[0]
        self.attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        self.inputs = self.by_position(node.input, inputs)
        self.outputs = self.by_position(node.output, outputs)
        self.output_names = list(node.output)

    @staticmethod
    def by_position(names, values):
        values = iter(values)
        return [next(values) if name else None for name in names]

    def input(self, position):
        return self.inputs[position] if position < len(self.inputs) else None

    def text(self, name, default):
        return self.attributes.get(name, default.encode()).decode()


def view(x, axis):
    """The elements before an axis, along it and after it."""
    return x.reshape(prod(x.shape[:axis]), x.shape[axis], prod(x.shape[axis + 1:]))


def result(inputs, outputs, **attributes):
    return dict(inputs=inputs, outputs=outputs, attributes=attributes)


# ---- Elementwise ----

def elementwise(case):
    shapes = {x.shape for x in case.inputs}
    require(len(shapes) == 1, "broadcasting")
    return result(case.inputs, case.outputs)


def sum_of_several(case):
    require(len(case.inputs) > 1, "a sum of one tensor")
    return elementwise(case)


def swish(case):
    require(case.attributes.get("alpha", 1.0) == 1.0, "alpha other than 1")
    return elementwise(case)


def dropout(case):
    x, ratio, training = (case.input(i) for i in range(3))
    require(training is not None and bool(training), "dropout without training, which is the identity")
    require(float(ratio) == 0, "numbers of another random generator")
    return result([x], case.outputs[:1])


# ---- Layout ----

def concat(case):
    axis = case.attributes["axis"] % case.inputs[0].ndim
    require(len(case.inputs) == 2, "more than two tensors")
    return result([view(x, axis) for x in case.inputs], [view(case.outputs[0], axis)])


def split(case):
    x = case.inputs[0]
    require(x.size > 0, "a tensor without elements")
    axis = case.attributes.get("axis", 0) % x.ndim
    return result([view(x, axis)], [view(y, axis) for y in case.outputs])


def slice_of(case):
    x, starts, ends = case.inputs[:3]
    axes = range(x.ndim) if case.input(3) is None else [int(a) % x.ndim for a in case.input(3)]
    steps = [1] * len(starts) if case.input(4) is None else case.input(4)
    require(case.outputs[0].size > 0, "a tensor without elements")
    require(all(step == 1 for step in steps), "steps other than 1")
    shape, slices = list(x.shape), []
    for axis, start, end in zip(axes, starts, ends):
        first, last, _ = slice(int(start), int(end)).indices(shape[axis])
        if (first, last) != (0, shape[axis]):
            before, after = prod(shape[:axis]), prod(shape[axis + 1:])
            slices.append(dict(view=[before, shape[axis], after], first=first, count=last - first))
            shape[axis] = last - first
    return result([x], case.outputs, slices=slices)


def gather(case):
    table, indices = case.inputs
    axis = case.attributes.get("axis", 0) % table.ndim
    require((indices >= 0).all(), "negative indices")
    dims = indices.ndim
    y = np.moveaxis(case.outputs[0], range(axis, axis + dims), range(dims))
    table = np.moveaxis(table, axis, 0)
    return result([indices.ravel(), table.reshape(len(table), -1)], [y.reshape(indices.size, -1)])


def pad(case):
    x, pads = case.inputs[:2]
    mode = case.text("mode", "constant")
    require(mode == "constant", f"padding of mode {mode}")
    require(case.input(2) is None or float(case.input(2)) == 0, "padding with another number than 0")
    require(not pads[:len(pads) // 2].any(), "padding at the start of an axis")
    raise Unfit("padding of other axes than height and width")


def tile(_):
    raise Unfit("repeats along several axes")


def constant_of_shape(case):
    value = onnx.numpy_helper.to_array(case.attributes["value"])
    require(value.dtype == np.float32, f"{value.dtype} elements")
    return result([], case.outputs, value=float(value[0]), shape=case.inputs[0].tolist())


def doublings(case, scales):
    """How often `upsample` gives this size."""
    require(len(case.inputs[0].shape) == 4, "other than two spatial dimensions")
    require(scales[:2] == [1, 1] and scales[2] == scales[3] and scales[2] in (2, 4, 8), "scales other than 2")
    return result(case.inputs[:1], case.outputs, doublings=int(scales[2]).bit_length() - 1)


def resize(case):
    mode = case.text("mode", "nearest")
    require(mode == "nearest", f"{mode} interpolation")
    require(case.text("nearest_mode", "round_prefer_floor") == "round_prefer_floor"
            and case.text("coordinate_transformation_mode", "half_pixel") == "half_pixel",
            "nearest pixels by another rule")
    x, y = case.inputs[0], case.outputs[0]
    return doublings(case, [n / m for n, m in zip(y.shape, x.shape)])


def upsample(case):
    require(case.text("mode", "nearest") == "nearest", "linear interpolation")
    return doublings(case, case.inputs[1].tolist())


# ---- Reductions and pooling ----

def reduced(case):
    """The input with the reduced axes last: [kept, reduced]."""
    x, axes = case.inputs
    require(x.size > 0, "a tensor without elements")
    require(axes.size > 0 or not case.attributes.get("noop_with_empty_axes", 0), "a reduction of no axis")
    axes = [int(a) % x.ndim for a in axes] or list(range(x.ndim))
    kept = [a for a in range(x.ndim) if a not in axes]
    return x.transpose(kept + axes).reshape(prod(x.shape[a] for a in kept), -1)


def reduction(case):
    return result([reduced(case)], [case.outputs[0].ravel()])


def reduce_l2(case):
    x = reduced(case)
    require(len(x) == 1, "a norm of a part of the tensor")
    return result([x.ravel()], [case.outputs[0].ravel()])


def global_average_pool(case):
    require(case.inputs[0].ndim == 4, "other than two spatial dimensions")
    return result(case.inputs, [case.outputs[0].ravel()])


def pool(case):
    x, y = case.inputs[0], case.outputs[0]
    a = case.attributes
    require(x.ndim == 4, "other than two spatial dimensions")
    require(set(a.get("dilations", [1])) == {1}, "dilations")
    require(a["kernel_shape"] == [2, 2] and a.get("strides", [1, 1]) == [2, 2] and not any(a.get("pads", [0]))
            and y.shape[2:] == (x.shape[2] // 2, x.shape[3] // 2), "windows other than 2x2 with stride 2")
    return result([x], [y])


# ---- Normalizations ----

def epsilon(case):
    return case.attributes.get("epsilon", float(np.float32(1e-5)))


def batch_normalization(case):
    training = bool(case.attributes.get("training_mode", 0))
    momentum = case.attributes.get("momentum", float(np.float32(0.9)))
    # The third output is the running variance. ONNX moves it towards the variance of the batch, degrain and PyTorch
    # towards the unbiased estimate.
    return result(case.inputs, case.outputs[:2], epsilon=epsilon(case), momentum=momentum, training=training)


def group_normalization(case):
    return result(case.inputs, case.outputs, epsilon=epsilon(case), groups=case.attributes["num_groups"])


def instance_normalization(case):
    return result(case.inputs, case.outputs, epsilon=epsilon(case), groups=case.inputs[0].shape[1])


def layer_normalization(case):
    """Group normalization of the normalized elements as channels of one group, with one pixel."""
    x = case.inputs[0]
    axis = case.attributes.get("axis", -1) % x.ndim
    channels = prod(x.shape[axis:])
    x, y = (values.reshape(-1, channels, 1) for values in (x, case.outputs[0]))
    return result([x, *(p.ravel() for p in case.inputs[1:])], [y], epsilon=epsilon(case), groups=1)


def mean_variance_normalization(_):
    raise Unfit("the epsilon is added to the standard deviation")


# ---- Products ----

def matmul(case):
    a, b = case.inputs
    require(b.ndim <= 2, "a batch of second factors")
    b = b.reshape(len(b), -1)
    return result([a.reshape(-1, a.shape[-1]), b], [case.outputs[0].reshape(-1, b.shape[1])])


def gemm(case):
    a, b = case.inputs[:2]
    a = a.T if case.attributes.get("transA", 0) else a
    b = b if case.attributes.get("transB", 0) else b.T  # as the weights of `linear`
    c = case.input(2)
    if c is not None and c.size in (1, len(b)) and c.shape != case.outputs[0].shape:
        c = np.broadcast_to(c.ravel(), len(b))
    alpha, beta = (case.attributes.get(name, 1.0) for name in ("alpha", "beta"))
    if c is not None and c.ndim == 1:
        return result([a, b, c], case.outputs, alpha=alpha, beta=beta)
    return result([a, b.T, *([] if c is None else [c])], case.outputs, alpha=alpha, beta=beta)


def window(case, size, total):
    """Stride and padding of a 3x3 kernel. `total` is the number of zeros along each axis if `auto_pad` chooses them."""
    a = case.attributes
    require(len(size) == 4, "other than two spatial dimensions")
    require(a.get("group", 1) == 1, "groups")
    require(set(a.get("dilations", [1])) == {1}, "dilations")
    require(tuple(size[2:]) in ((1, 1), (3, 3)), "kernels other than 1x1 and 3x3")
    strides = a.get("strides", [1, 1])
    require(strides in ([1, 1], [2, 2]), "strides other than 1 and 2")
    auto = case.text("auto_pad", "NOTSET")
    pads = a.get("pads", [0, 0, 0, 0])
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        smaller, larger = ([n // 2 for n in total], [n - n // 2 for n in total])
        pads = smaller + larger if auto == "SAME_UPPER" else larger + smaller
    known = {(0, 0, 0, 0): "none", (1, 1, 1, 1): "same", (0, 0, 1, 1): "right_bottom"}
    require(tuple(pads) in known, "other zeros around the image than conv2d's")
    return dict(stride=strides[0], padding=known[tuple(pads)])


def conv(case):
    x, w = case.inputs[:2]
    strides = case.attributes.get("strides", [1, 1])
    total = [max(0, (n - 1) * s + k - m)
             for n, s, k, m in zip(case.outputs[0].shape[2:], strides, w.shape[2:], x.shape[2:])]
    return result(case.inputs, case.outputs, **window(case, w.shape, total))


def conv_transpose(case):
    """The gradient of a convolution with respect to its input."""
    x, w = case.inputs[:2]
    require(case.input(2) is None, "a bias")
    strides = case.attributes.get("strides", [1, 1])
    total = [s * (n - 1) + k - m
             for n, s, k, m in zip(x.shape[2:], strides, w.shape[2:], case.outputs[0].shape[2:])]
    return result(case.inputs, case.outputs, **window(case, w.shape, total))


def attention(case):
    a = case.attributes
    q, k, v = case.inputs[:3]
    require(case.input(3) is None, "a mask")
    require(case.input(4) is None, "keys of earlier calls")
    require(case.input(6) is None, "a number of keys for each image")
    require(not a.get("is_causal", 0), "causal attention")
    require(a.get("left_window_size", -1) == -1 and a.get("right_window_size", -1) == -1, "a window of keys")
    require(a.get("softcap", 0.0) == 0, "soft-capped scores")
    require("score_mod" not in a and "prob_mod" not in a, "a function of the scores")
    # With four dimensions [B, heads, T, d], otherwise [B, T, heads d]. degrain has [B, heads d, T].
    if q.ndim == 4:
        heads, key_heads, width, values = q.shape[1], k.shape[1], q.shape[3], v.shape[3]
        layout = lambda x: x.transpose(0, 1, 3, 2).reshape(len(x), -1, x.shape[2])
    else:
        heads, key_heads = a["q_num_heads"], a["kv_num_heads"]
        width, values = q.shape[2] // heads, v.shape[2] // key_heads
        layout = lambda x: x.transpose(0, 2, 1)
    require(heads == key_heads, "fewer heads of keys than of queries")
    require(width == values, "heads of values that are wider than those of keys")
    q, k, v, y = (layout(x) for x in (q, k, v, case.outputs[0]))
    require(q.shape[2] <= k.shape[2], "more queries than keys")
    return result([q, k, v], [y], head_width=width, scale=a.get("scale", 0.0) or width ** -0.5)


# ---- Training ----

def softmax_cross_entropy(case):
    logits, labels = case.inputs[:2]
    require(case.input(2) is None, "weights of classes")
    require(not (labels == case.attributes.get("ignore_index", None)).any(), "ignored labels")
    logits = np.moveaxis(logits, 1, -1).reshape(-1, logits.shape[1])
    return result([logits, labels.ravel()], [case.outputs[0].ravel()], reduction=case.text("reduction", "mean"))


def softplus(case):
    """Binary cross-entropy of the label 0, with one pixel per image."""
    return result([case.inputs[0].reshape(-1, 1)], [case.outputs[0].ravel()])


def adam(case):
    """All parameters are updated at once, so they are concatenated."""
    a = case.attributes
    rate, step = float(case.inputs[0]), int(case.inputs[1])
    require(step == 0, "bias corrections with another epsilon")
    require(a.get("norm_coefficient_post", 0.0) == 0, "a decay after the update")
    count = len(case.outputs) // 3
    joined = lambda values: [np.concatenate(values[i:i + count]) for i in range(0, len(values), count)]
    return result(joined(case.inputs[2:]), joined(case.outputs), rate=rate, beta1=a["alpha"], beta2=a["beta"],
                  epsilon=a["epsilon"], regularization=a["norm_coefficient"])


TYPES = {
    "Adam": adam,
    "Add": elementwise,
    "Attention": attention,
    "AveragePool": pool,
    "BatchNormalization": batch_normalization,
    "Concat": concat,
    "ConstantOfShape": constant_of_shape,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Dropout": dropout,
    "FlexAttention": attention,
    "Gather": gather,
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LayerNormalization": layer_normalization,
    "MatMul": matmul,
    "MaxPool": pool,
    "Mean": elementwise,
    "MeanVarianceNormalization": mean_variance_normalization,
    "Neg": elementwise,
    "Pad": pad,
    "ReduceL2": reduce_l2,
    "ReduceMean": reduction,
    "ReduceSum": reduction,
    "ReduceSumSquare": reduction,
    "Relu": elementwise,
    "Resize": resize,
    "Slice": slice_of,
    "SoftmaxCrossEntropyLoss": softmax_cross_entropy,
    "Softplus": softplus,
    "Split": split,
    "Sub": elementwise,
    "Sum": sum_of_several,
    "Swish": swish,
    "Tile": tile,
    "Upsample": upsample,
}


class Tensors:
    """Tensors by name. Equal tensors are stored once, under the first name."""

    def __init__(self):
        self.by_name, self.names = {}, {}

    def add(self, name, x):
        if x.dtype == np.int64:
            assert (x >= 0).all(), name
            x = x.astype(np.int32)
        assert x.dtype in (np.float32, np.int32), (name, x.dtype)
        assert np.isfinite(x).all(), name
        x = np.ascontiguousarray(x)
        key = (x.dtype.str, x.shape, x.tobytes())
        name = self.names.setdefault(key, name)
        self.by_name[name] = x
        return name


def main():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other node tests, which divide by zero
        tests = sorted(load_node_model_tests(), key=lambda test: test.name)
    tensors, cases, left_out, other, expanded = Tensors(), [], {}, Counter(), 0
    for test in tests:
        if "_expanded" in test.name:
            expanded += 1
            continue
        kind = test.model.graph.node[0].op_type
        if kind not in TYPES:
            other[kind] += 1
            continue
        case, name = Case(test), test.name.removeprefix("test_")
        try:
            element = case.inputs[0].dtype
            require(element == np.float32 or kind == "ConstantOfShape", f"{element} elements")
            fitted = TYPES[kind](case)
        except Unfit as unfit:
            left_out.setdefault((kind, str(unfit)), []).append(name)
            continue
        compared = len(fitted["outputs"])
        not_compared = [] if kind == "Adam" else [y for y in case.output_names[compared:] if y]
        cases.append(dict(
            name=name,
            type=kind,
            attributes=fitted["attributes"],
            inputs=[tensors.add(f"{name}.in{i}", x) for i, x in enumerate(fitted["inputs"])],
            outputs=[tensors.add(f"{name}.out{i}", x) for i, x in enumerate(fitted["outputs"])],
            # Results of the node that degrain's operator does not have. Adam's results are concatenated.
            **(dict(not_compared=not_compared) if not_compared else {}),
        ))
    folder = Path(__file__).resolve().parent
    save_file(tensors.by_name, folder / "onnx_nodes.safetensors")
    reasons = [dict(type=kind, reason=reason, names=names) for (kind, reason), names in sorted(left_out.items())]
    lines = lambda rows: "[\n" + ",\n".join(" " + json.dumps(row) for row in rows) + "\n]"
    (folder / "onnx_nodes.json").write_text(
        f'{{"onnx": {json.dumps(onnx.__version__)}, "tests": {len(tests)}, "expanded": {expanded},\n'
        f'"cases": {lines(cases)},\n"left_out": {lines(reasons)},\n'
        f'"types_without_operator": {json.dumps(dict(sorted(other.items())))}}}\n')
    different = {json.dumps([case[part] for part in ("type", "attributes", "inputs", "outputs")]) for case in cases}
    print(f"{len(cases)} cases ({len(different)} different), {sum(map(len, left_out.values()))} left out, "
          f"{other.total()} of {len(other)} types without operator, {expanded} expanded functions")
    size = sum((folder / f"onnx_nodes.{end}").stat().st_size for end in ("json", "safetensors"))
    print(f"{size} bytes")


if __name__ == "__main__":
    main()

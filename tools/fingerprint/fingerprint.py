#!/usr/bin/env python3
"""Fingerprints the results of the programs, to show that a change of the code changes no result.

    tools/fingerprint/fingerprint.py record target/release before.json     # on the old commit
    tools/fingerprint/fingerprint.py record target/release after.json      # on the new one
    tools/fingerprint/fingerprint.py compare before.json after.json

For every preset at size `tiny`: the SHA-256 of the weights and of the training state after 8 steps,
of 8 images sampled from them (equal seeds), and of the kernel calls of one training step. Results
depend on the driver, so both recordings must be made on one machine. Buffers and tensors are
compared by their contents, not by their names; `--renamed OLD=NEW` maps the old name of a kernel to
its new one. Needs Python 3 and nothing else.
"""

import argparse
import hashlib
import io
import json
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PRESETS = ["ddpm", "plain", "plain-conditional", "residual-attention", "score", "guided", "classifier", "hybrid", "edm",
           "flow", "vae"]
STEPS = 8
IMAGES = 8


def sha(data):
    return hashlib.sha256(data).hexdigest()


def tensors(path):
    """Name and bytes of each tensor of a safetensors file."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    body = data[8 + length:]
    return {name: body[slice(*entry["data_offsets"])] for name, entry in header.items() if name != "__metadata__"}


def weights(checkpoint):
    """The exported weights, by name."""
    (path,) = checkpoint.glob("*/*.safetensors")
    return sha("".join(f"{name} {sha(data)}\n" for name, data in sorted(tensors(path).items())).encode())


def state(checkpoint):
    """The training state, without the names of its buffers."""
    return sha("\n".join(sorted(sha(data) for data in tensors(checkpoint / "training_state.safetensors").values())).encode())


def listing(text, renamed):
    """The kernel calls of a step: kernel, workgroups, FLOPs, bytes, shapes and slots."""
    calls = []
    for line in text.splitlines():
        match = re.match(r"\s*\d+  (\S+)\s+(.*)$", line)
        if not match or "." not in match[1]:
            continue
        kernel = match[1]
        for old, new in renamed.items():
            kernel = re.sub(rf"^{re.escape(old)}\b", new, kernel)
        numbers, _, operands = re.sub(r"(\d \w*B)   ", r"\1|", match[2], count=1).partition("|")
        shapes = re.findall(r"(>?)\w+ ((?:u32)?\[[^\]]*\]) (#\d+|[\w.]+(?:\+\d+)?)", operands)
        operands = [f"{out}{shape}@{place if place.startswith('#') else place.partition('+')[2]}" for out, shape, place in shapes]
        calls.append(" ".join([kernel, *numbers.split(), *operands]))
    return calls


def record(arguments):
    train, sample = arguments.programs / "train", arguments.programs / "sample"
    renamed = dict(pair.split("=") for pair in arguments.renamed)
    prints = {}
    for preset in arguments.preset or PRESETS:
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            print(f"{preset}: training {STEPS} steps", file=sys.stderr)
            base = [train, "--preset", preset, "--size", "tiny", "--seed", "11"]
            steps = ["--steps", str(STEPS), "--out", run]
            if preset not in ("classifier", "vae"):  # they have no sampler
                # The predictor-corrector and Euler-Maruyama need some steps.
                steps += ["--sampling-steps", "20" if preset == "score" else "2"]
            subprocess.run([*base, *steps], check=True, stdout=subprocess.DEVNULL)
            checkpoint = run / f"checkpoint-{STEPS}"
            entry = {"weights": weights(checkpoint), "state": state(checkpoint)}
            calls = listing(subprocess.run([*base, "--listing"], check=True, capture_output=True, text=True).stdout, renamed)
            entry["calls"] = len(calls)
            entry["listing"] = sha("\n".join(calls).encode())
            entry["kernels"] = calls
            if preset != "classifier":
                archive = Path(folder) / "samples.npz"
                options = [] if preset == "vae" else ["--steps", "5"]
                subprocess.run([sample, "--checkpoint", run, "--count", str(IMAGES), "--seed", "5", "--out", archive, *options],
                               check=True, stdout=subprocess.DEVNULL)
                with zipfile.ZipFile(io.BytesIO(archive.read_bytes())) as files:
                    entry["samples"] = sha(b"".join(files.read(name) for name in sorted(files.namelist())))
            prints[preset] = entry
    arguments.file.write_text(json.dumps(prints, indent=1) + "\n")


def compare(arguments):
    before, after = (json.loads(path.read_text()) for path in (arguments.before, arguments.after))
    different = 0
    for preset in before:
        if preset not in after:
            print(f"{preset:<20} only in {arguments.before}")
            different += 1
            continue
        old, new = before[preset], after[preset]
        wrong = [key for key in old if key != "kernels" and old[key] != new.get(key)]
        different += bool(wrong)
        print(f"{preset:<20} {'equal: ' + ', '.join(k for k in old if k != 'kernels') if not wrong else 'DIFFERENT: ' + ', '.join(wrong)}")
        for a, b in zip(old["kernels"], new["kernels"]):
            if a != b:
                print(f"    first different call:\n    - {a}\n    + {b}")
                break
    sys.exit(1 if different else 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("record", help="train, sample and list, and write the fingerprints")
    command.add_argument("programs", type=Path, help="folder of the programs train and sample")
    command.add_argument("file", type=Path, help="file to write")
    command.add_argument("--preset", action="append", help="only this preset")
    command.add_argument("--renamed", action="append", default=[], metavar="OLD=NEW", help="a kernel's old and new name")
    command.set_defaults(run=record)
    command = commands.add_parser("compare", help="compare two files")
    command.add_argument("before", type=Path)
    command.add_argument("after", type=Path)
    command.set_defaults(run=compare)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()

"""Training, resuming, exporting, and the answers of llama.cpp with the adapters.

Marked `finetune`: `scripts/test_finetune` installs the libraries and runs these tests, as CI does.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.adapted import adapted
from support.hub_server import running
from support.terminals import make_terminal
from support.training import EXAMPLES
from synthetic.models import write_mistral, write_smollm2_in_f32

from mistral_cli.models.gguf import read_gguf
from mistral_cli.models.gguf.adapter import read_adapter
from mistral_cli.models.gguf.types import TENSOR_TYPES

pytestmark = pytest.mark.finetune

PROMPT = [1, 290, 291, 292, 270, 45, 110]
TINY: dict[str, Any] = {
    "vocabulary": 300,
    "embedding": 64,
    "heads": 4,
    "kv_heads": 2,
    "feed_forward": 96,
}
OPTIONS = ("--epochs", "2", "--batch-size", "4", "--max-length", "512", "--learning-rate", "0.01")


@dataclass(frozen=True)
class Run:
    """A finished run of the program in `folder`, whose adapter is a.gguf."""

    folder: Path
    model: Path
    stdout: str
    stderr: str
    status: int

    @property
    def adapter(self) -> Path:
        return self.folder / "a.gguf"

    @property
    def log(self) -> Any:
        return json.loads((self.folder / "a.json").read_text(encoding="utf-8"))


def start(folder: Path, *arguments: object, **env: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "mistral_cli", "finetune", *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )


def train(folder: Path, data: Path, model: Path, *arguments: object, **env: str) -> Run:
    process = start(folder, data, "-m", model, "-o", "a.gguf", *arguments, **env)
    stdout, stderr = process.communicate(timeout=280)
    return Run(folder, model, stdout, stderr, process.returncode)


@pytest.fixture(scope="session")
def few_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with EXAMPLES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[:15]
    path = tmp_path_factory.mktemp("data") / "few.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with grouped queries: four heads share the keys of two."""
    return write_mistral(tmp_path_factory.mktemp("model") / "tiny.gguf", **TINY)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, few_rows: Path, tiny: Path) -> Run:
    """A finished run with an adapter for every matrix."""
    folder = tmp_path_factory.mktemp("run")
    run = train(folder, few_rows, tiny, *OPTIONS, "--target-modules", "all-linear")
    assert run.status == 0, run.stderr
    return run


def with_peft(run: Run) -> Any:
    """The model with its adapter in transformers and PEFT, which are independent of the engine."""
    import torch
    from peft import PeftModel

    from mistral_cli.finetune.network import network_from_gguf

    torch.set_num_threads(1)
    network = network_from_gguf(read_gguf(run.model), torch.float32, "cpu", packed=False)
    return PeftModel.from_pretrained(network, str(run.folder / "a"))


def log_probabilities(model: Any, prompt: Sequence[int]) -> list[float]:
    import torch

    with torch.no_grad():
        logits = model(torch.tensor([list(prompt)])).logits[0, -1]
    probabilities: list[float] = torch.log_softmax(logits.float(), -1).tolist()
    return probabilities


def test_a_run_leaves_an_adapter_a_curve_and_a_log(trained: Run) -> None:
    assert trained.stdout == "a.gguf\n"
    assert read_adapter(trained.adapter).problem_with(read_gguf(trained.model)) is None
    assert (trained.folder / "a.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (trained.folder / "a").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    log = trained.log
    assert [point["step"] for point in log["steps"]] == list(range(1, 7))
    assert [point["epoch"] for point in log["held_out"]] == [0, 1, 2]
    assert log["held_out_loss"]["after"] < log["held_out_loss"]["before"]
    assert "held-out loss went from" in trained.stderr


def test_the_libraries_print_nothing(trained: Run) -> None:
    lines = trained.stderr.splitlines()
    assert all(line.startswith("mistral-cli: ") for line in lines), lines


def test_llama_cpp_and_peft_compute_the_same(trained: Run) -> None:
    ours = log_probabilities(with_peft(trained), PROMPT)
    with adapted(trained.model, trained.adapter) as engine:
        likeliest = engine.log_probabilities(PROMPT)
        plain = engine.log_probabilities(PROMPT, scale=0.0)
    assert max(abs(value - ours[token]) for token, value in likeliest.items()) < 0.02
    assert max(abs(value - ours[token]) for token, value in plain.items()) > 0.2
    with adapted(trained.model, None) as base:
        assert base.log_probabilities(PROMPT) == plain


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_and_resumed_run_gives_the_same_adapter(
    trained: Run, few_rows: Path, tmp_path: Path, end: signal.Signals
) -> None:
    arguments = (few_rows, "-m", trained.model, "-o", "a.gguf", *OPTIONS)
    arguments = (*arguments, "--target-modules", "all-linear")
    process = start(tmp_path, *arguments)
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("a/checkpoint-[23]/trainer_state.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(end)
    _, stderr = process.communicate(timeout=60)
    if end == signal.SIGINT:
        assert process.returncode == 130
        assert "Use --resume to continue" in stderr
    assert not (tmp_path / "a.gguf").exists()
    again = train(tmp_path, few_rows, trained.model, *arguments[5:])
    assert again.status == 2
    assert "Use --resume to continue it, or --force to start over" in again.stderr
    other = train(tmp_path, few_rows, trained.model, *arguments[5:], "--resume", "--rank", "8")
    assert "the interrupted run had another rank: 16, now 8" in other.stderr
    resumed = train(tmp_path, few_rows, trained.model, *arguments[5:], "--resume")
    assert resumed.status == 0, resumed.stderr
    assert resumed.adapter.read_bytes() == trained.adapter.read_bytes()
    assert resumed.log["steps"] == trained.log["steps"]
    assert resumed.log["held_out"] == trained.log["held_out"]


def test_existing_files_are_not_replaced(trained: Run, few_rows: Path) -> None:
    again = train(trained.folder, few_rows, trained.model)
    assert again.status == 2
    assert "already exists" in again.stderr


def test_gradient_accumulation_learns_the_same(
    trained: Run, few_rows: Path, tmp_path: Path
) -> None:
    arguments = (*OPTIONS, "--target-modules", "all-linear", "--gradient-accumulation", "4")
    parts = train(tmp_path, few_rows, trained.model, *arguments)
    assert parts.status == 0, parts.stderr
    # Dropout differs; without it the first loss, before anything is learned, is the same.
    first, same = parts.log["steps"][0]["loss"], trained.log["steps"][0]["loss"]
    assert first == pytest.approx(same, abs=0.05)
    assert parts.log["held_out"][0] == trained.log["held_out"][0]


# --- weights -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"])
def test_blocks_are_dequantized_to_the_bit(kind: str) -> None:
    import gguf
    import numpy as np
    import torch

    from mistral_cli.finetune.dequantize import dequantize

    number, size = next((i, t[2]) for i, t in TENSOR_TYPES.items() if t[0] == kind)
    blocks = np.random.default_rng(0).integers(0, 256, (64, size * 4), dtype=np.uint8)
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType(number))
    found = dequantize(torch.from_numpy(blocks), kind).numpy()
    assert np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_K", "F16"])
def test_packed_weights_compute_the_same(tmp_path: Path, kind: str) -> None:
    import torch

    from mistral_cli.finetune.network import network_from_gguf

    shape = {**TINY, "embedding": 256, "feed_forward": 256, "heads": 4, "kv_heads": 2}
    model = read_gguf(write_mistral(tmp_path / "model.gguf", quantization=kind, **shape))
    gradients, losses = [], []
    for packed in (False, True):
        network = network_from_gguf(model, torch.float32, "cpu", packed=packed)
        network.get_input_embeddings().register_forward_hook(
            lambda module, inputs, output: output.requires_grad_(True)
        )
        ids = torch.tensor([PROMPT])
        seen: list[Any] = []
        network.model.layers[0].register_forward_pre_hook(
            lambda module, inputs, seen=seen: seen.append(inputs[0])
        )
        loss = network(ids, labels=ids).loss
        losses.append(loss.item())
        gradients.append(torch.autograd.grad(loss, seen[0])[0])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6)


def test_saving_memory_does_not_change_what_is_learned(few_rows: Path, tmp_path: Path) -> None:
    from mistral_cli.finetune.data import read_data
    from mistral_cli.finetune.encode import encode_examples
    from mistral_cli.finetune.extras import quiet_libraries
    from mistral_cli.finetune.options import TrainingOptions
    from mistral_cli.finetune.plan import make_plan
    from mistral_cli.finetune.report import TrainingProgress
    from mistral_cli.finetune.run_dir import RunDirectory
    from mistral_cli.finetune.strategy import MemoryStrategy

    model = read_gguf(write_mistral(tmp_path / "q8.gguf", quantization="Q8_0", **TINY))
    options = TrainingOptions(epochs=1, batch_size=4, learning_rate=0.01, max_length=512)
    data = read_data(few_rows, make_terminal())
    plan = make_plan(model, "q8", data, encode_examples(data, model, 512), options)
    histories = []
    with quiet_libraries():
        from mistral_cli.finetune.network import load_network
        from mistral_cli.finetune.training import Training

        for saves in (False, True):
            strategy = MemoryStrategy(
                "cpu", packed=saves, gradient_checkpointing=saves, accumulation_steps=1, memory=0
            )
            progress = TrainingProgress(make_terminal(), plan.steps)
            network = load_network(plan, strategy, None)
            directory = RunDirectory(tmp_path / f"{saves}.gguf")
            training = Training(plan, strategy, directory, network, progress)
            histories.append(training.run(None))
    plain, saving = ([point["loss"] for point in each.steps] for each in histories)
    assert saving == pytest.approx(plain, abs=1e-4)
    assert plain[-1] < plain[0]


# --- export ------------------------------------------------------------------------------------


def export(run: Run, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mistral_cli", "finetune", "export", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=run.folder, timeout=100, check=False
    )


def test_export_writes_the_same_adapter_as_training(trained: Run, tmp_path: Path) -> None:
    result = export(trained, "a", "-m", trained.model, "-o", tmp_path / "b.gguf")
    assert result.returncode == 0, result.stderr
    found, expected = read_adapter(tmp_path / "b.gguf"), read_adapter(trained.adapter)
    assert (found.alpha, found.rank, found.targets) == (32.0, 16, expected.targets)
    tail = expected.header.tensors[0].offset
    ours = (tmp_path / "b.gguf").read_bytes()[found.header.tensors[0].offset :]
    assert ours == trained.adapter.read_bytes()[tail:]


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_a_merged_model_answers_like_the_model_with_its_adapter(
    trained: Run, tmp_path: Path, kind: str
) -> None:
    merged = tmp_path / "m.gguf"
    source = "a.gguf" if kind == "f16" else "a"
    result = export(trained, source, "-m", trained.model, "--merge", kind, "-o", merged)
    assert result.returncode == 0, result.stderr
    assert read_gguf(merged).quantization == kind.upper()
    assert read_gguf(merged).tokens == read_gguf(trained.model).tokens
    with adapted(trained.model, trained.adapter) as two, adapted(merged, None) as one:
        expected, found = two.log_probabilities(PROMPT), one.log_probabilities(PROMPT)
    common = expected.keys() & found.keys()
    assert len(common) > 40
    limit = 0.03 if kind == "f16" else 0.3
    assert max(abs(expected[token] - found[token]) for token in common) < limit


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"use_dora": True}, "uses use_dora"),
        ({"modules_to_save": ["lm_head"]}, "uses modules_to_save"),
        ({"rank_pattern": {"q_proj": 4}}, "uses rank_pattern"),
        ({"bias": "all"}, "trains biases"),
        ({"peft_type": "IA3"}, "holds no LoRA adapter"),
        ({"r": 8}, "the rank of blk.0.attn_k.weight is not 8"),
    ],
)
def test_an_adapter_that_a_gguf_cannot_hold_is_refused(
    trained: Run, tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    folder = changed_copy(trained, tmp_path / "other", change)
    result = export(trained, folder, "-m", trained.model, "-o", tmp_path / "b.gguf")
    assert result.returncode == 2
    assert problem in result.stderr
    assert not (tmp_path / "b.gguf").exists()


def changed_copy(run: Run, folder: Path, change: dict[str, Any]) -> Path:
    shutil.copytree(run.folder / "a", folder)
    config = folder / "adapter_config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps(content | change), encoding="utf-8")
    return folder


def test_a_rank_stabilized_adapter_is_scaled_as_in_peft(trained: Run, tmp_path: Path) -> None:
    folder = changed_copy(trained, tmp_path / "a", {"use_rslora": True, "lora_alpha": 4})
    result = export(trained, folder, "-m", trained.model, "-o", tmp_path / "a.gguf")
    assert result.returncode == 0, result.stderr
    run = Run(tmp_path, trained.model, "", "", 0)
    ours = log_probabilities(with_peft(run), PROMPT)
    with adapted(run.model, run.adapter) as engine:
        likeliest = engine.log_probabilities(PROMPT)
    assert max(abs(value - ours[token]) for token, value in likeliest.items()) < 0.02


def test_adapters_for_another_model_and_damaged_adapters_are_refused(
    trained: Run, tmp_path: Path
) -> None:
    other = write_mistral(tmp_path / "other.gguf", **{**TINY, "embedding": 32, "heads": 2})
    result = export(trained, "a", "-m", other, "-o", tmp_path / "b.gguf")
    assert result.returncode == 2
    assert "Give the model that the adapter was trained on" in result.stderr
    folder = changed_copy(trained, tmp_path / "cut", {})
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    result = export(trained, folder, "-m", trained.model, "-o", tmp_path / "b.gguf")
    assert result.returncode == 2
    assert "cannot be read" in result.stderr


# --- other weights, the hub, a real model ------------------------------------------------------


def test_training_on_hugging_face_weights(trained: Run, few_rows: Path, tmp_path: Path) -> None:
    import torch

    from mistral_cli.finetune.network import network_from_gguf

    network: Any = network_from_gguf(read_gguf(trained.model), torch.float32, "cpu", packed=False)
    network.save_pretrained(tmp_path / "base")
    options = (*OPTIONS, "--target-modules", "all-linear", "--base", tmp_path / "base")
    run = train(tmp_path, few_rows, trained.model, *options)
    assert run.status == 0, run.stderr
    assert "will run on the GGUF's weights, which differ" in run.stderr
    # The weights are the same here, so the adapter is too.
    assert run.log["steps"] == trained.log["steps"]


def test_an_adapter_is_uploaded(tiny: Path, few_rows: Path, tmp_path: Path) -> None:
    with running({}) as hub:
        env = {"HF_ENDPOINT": hub.hub_url, "NO_PROXY": "127.0.0.1", "HF_TOKEN": "hf_test"}
        env |= {"HF_HUB_DISABLE_XET": "1"}
        run = train(tmp_path, few_rows, tiny, "--push-to-hub", "me/tiny-lora", *OPTIONS, **env)
    assert run.status == 0, run.stderr
    uploaded = hub.repos["me/tiny-lora"]
    assert uploaded["a.gguf"] == run.adapter.read_bytes()
    assert set(uploaded) == {
        *("README.md", "a.gguf", "a.json", "a.png"),
        *("adapter_config.json", "adapter_model.safetensors"),
    }
    assert "held-out loss went from" in uploaded["README.md"].decode()
    assert f"{hub.hub_url}/me/tiny-lora" in run.stderr


def test_a_real_model_learns_and_llama_cpp_and_peft_write_the_same(
    smollm2: Path, few_rows: Path, tmp_path: Path
) -> None:
    import torch

    model = write_smollm2_in_f32(smollm2, tmp_path / "f32.gguf")
    options = ("--epochs", "2", "--batch-size", "4", "--held-out", "0.2", "--seed", "3")
    run = train(tmp_path, few_rows, model, *options, "--learning-rate", "4e-3")
    assert run.status == 0, run.stderr
    losses = run.log["held_out_loss"]
    assert losses["after"] < losses["before"] - 0.5
    peft = with_peft(run)
    question = "generate a midjourney prompt in less than 20 words for a rainbow chasing its colors"
    prompt = prompt_of(question, model)
    with torch.no_grad():
        written = peft.generate(
            input_ids=torch.tensor([prompt]), max_new_tokens=24, do_sample=False, eos_token_id=2
        )
    expected = written[0, len(prompt) :].tolist()
    with adapted(model, run.adapter) as engine:
        found = engine.greedy(prompt, 24)
        assert found == expected[: len(found)]
        assert len(found) >= min(24, len(expected)) - 1
        unchanged = engine.greedy(prompt, 24, scale=0.0)
    with adapted(model, None) as base:
        assert base.greedy(prompt, 24) == unchanged
    assert unchanged != found


def prompt_of(text: str, model: Path) -> list[int]:
    command = [sys.executable, "-m", "mistral_cli", "generate", text, "-m", str(model)]
    result = subprocess.run(
        [*command, "--dry-run", "--json"], capture_output=True, text=True, timeout=60, check=True
    )
    ids: list[int] = json.loads(result.stdout)["prompt_token_ids"]
    return ids

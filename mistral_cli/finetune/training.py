"""Trains a PEFT adapter on a frozen network with TRL's trainer."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedTokenizerFast, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from mistral_cli.errors import UsageError
from mistral_cli.finetune.network import compute_dtype
from mistral_cli.finetune.report import HELD_OUT, History
from mistral_cli.system.signals import on_stop, request_stop, stop_error

if TYPE_CHECKING:
    from mistral_cli.finetune.encode import EncodedExample
    from mistral_cli.finetune.plan import TrainingPlan
    from mistral_cli.finetune.report import TrainingProgress
    from mistral_cli.finetune.run_dir import RunDirectory
    from mistral_cli.finetune.strategy import MemoryStrategy

_IGNORED = -100  # the label of a token that is not learned
_DROPOUT = 0.05
_EVALUATION_BATCH = 4


class Training:
    """One run of `plan`, which trains an adapter for the frozen `network`."""

    def __init__(
        self,
        plan: TrainingPlan,
        strategy: MemoryStrategy,
        directory: RunDirectory,
        network: Any,
        progress: TrainingProgress,
    ) -> None:
        self._plan, self._progress = plan, progress
        self._stopped_by: int | None = None
        self._collate = DataCollatorForLanguageModeling(pad_token_id=_end_token(plan))
        self._trainer = SFTTrainer(
            model=network,
            args=_trainer_config(plan, strategy, directory.folder),
            processing_class=_placeholder_tokenizer(plan),
            data_collator=self._collate,
            train_dataset=Dataset.from_list([_sample(row) for row in plan.rows]),
            peft_config=_lora_config(plan),
            callbacks=[_TrainerHooks(self)],
        )
        self._trainer.remove_callback(PrinterCallback)

    def run(self, checkpoint: Path | None) -> History:
        """Train, from `checkpoint` if there is one, and return the losses.

        A stop signal ends training after the current step with a checkpoint; this then raises
        Stopped. Raises UsageError if the loss is no longer finite.
        """
        started = time.monotonic()
        with on_stop(self._stop, patient=True):
            self._trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        step = self._trainer.state.global_step
        if self._stopped_by is not None and step < self._plan.steps:
            message = f"stopped after step {step}"
            raise stop_error(self._stopped_by, message, "Use --resume to continue.")
        return History.from_trainer_log(self._trainer.state.log_history, time.monotonic() - started)

    def save(self, folder: Path) -> None:
        """Write the adapter to `folder` in PEFT's format."""
        model = self._trainer.model
        model.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # a template without content
        config = folder / "adapter_config.json"
        content = json.loads(config.read_text(encoding="utf-8"))
        content["base_model_name_or_path"] = self._plan.options.base or self._plan.model_name
        config.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def _stop(self, number: int) -> None:
        if self._stopped_by is not None:
            request_stop(number)
        self._stopped_by = number
        self._progress.note("stopping after this step; a second Ctrl-C stops now and loses it")

    def began(self, state: Any) -> None:
        """The trainer calls this before the first step."""
        if not state.global_step:
            self._measure(state)
        self._progress.begin(state.global_step)

    def step_ended(self, state: Any, control: Any) -> None:
        """The trainer calls this after each step, before it saves a checkpoint."""
        self._progress.step(state.global_step)
        if state.global_step % self._plan.steps_per_epoch == 0:
            self._measure(state)
        if self._stopped_by is not None:
            control.should_save = control.should_training_stop = True

    def logged(self, state: Any, logs: dict[str, float]) -> None:
        """The trainer calls this with the measurements of a step."""
        if "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise UsageError(
                f"the loss is {loss} at step {state.global_step}",
                hint="Use a smaller --learning-rate.",
            )
        self._progress.loss(state.global_step, loss)

    def _measure(self, state: Any) -> None:
        """Add the held-out loss to the log that the trainer saves with its checkpoints."""
        if not self._plan.held_out:
            return
        self._progress.status("measuring the held-out loss")
        loss = self._held_out_loss(self._plan.held_out)
        epoch = state.global_step // self._plan.steps_per_epoch
        point = {"step": state.global_step, "epoch": float(epoch), HELD_OUT: loss}
        state.log_history.append(point)
        self._progress.held_out(epoch, loss)

    def _held_out_loss(self, rows: Sequence[EncodedExample]) -> float:
        """The mean loss over all completion tokens of `rows`."""
        model, total, count = self._trainer.model, 0.0, 0
        was_training = model.training
        model.eval()
        with torch.no_grad(), self._trainer.compute_loss_context_manager():
            for start in range(0, len(rows), _EVALUATION_BATCH):
                samples = [_sample(row) for row in rows[start : start + _EVALUATION_BATCH]]
                batch = {k: v.to(model.device) for k, v in self._collate(samples).items()}
                output = model(**batch, fused_lm_head=True, use_cache=False)
                total -= float(output.log_probs.sum())
                count += int(output.label_mask.sum())
        model.train(was_training)
        return total / count


class _TrainerHooks(TrainerCallback):
    """Forwards the trainer's callbacks to a Training."""

    def __init__(self, training: Training) -> None:
        self._training = training

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Forward the start of training."""
        self._training.began(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Forward the end of a step."""
        self._training.step_ended(state, control)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Forward a step's measurements."""
        self._training.logged(state, logs)


def _trainer_config(plan: TrainingPlan, strategy: MemoryStrategy, folder: Path) -> SFTConfig:
    dtype = compute_dtype(strategy)
    return SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=plan.batch_size // strategy.accumulation_steps,
        gradient_accumulation_steps=strategy.accumulation_steps,
        num_train_epochs=plan.options.epochs,
        learning_rate=plan.learning_rate,
        warmup_steps=plan.warmup_steps,
        lr_scheduler_type="linear",
        seed=plan.options.seed,
        max_length=None,  # already checked; the trainer would cut rows
        gradient_checkpointing=strategy.gradient_checkpointing,
        use_cpu=strategy.device == "cpu",
        bf16=dtype is torch.bfloat16,
        fp16=dtype is torch.float16,
        dataloader_pin_memory=False,
        save_strategy="steps",
        save_steps=plan.steps_per_checkpoint,
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
    )


def _lora_config(plan: TrainingPlan) -> LoraConfig:
    return LoraConfig(
        r=plan.options.rank,
        lora_alpha=plan.options.alpha,
        lora_dropout=_DROPOUT,
        target_modules=list(plan.modules),
        task_type="CAUSAL_LM",
    )


def _sample(row: EncodedExample) -> dict[str, list[int]]:
    labels = [_IGNORED] * len(row.prompt) + list(row.completion)
    return {"input_ids": [*row.prompt, *row.completion], "labels": labels}


def _end_token(plan: TrainingPlan) -> int:
    """The token that ends an answer. It also serves as padding, which is never learned."""
    return plan.rows[0].completion[-1]


def _placeholder_tokenizer(plan: TrainingPlan) -> PreTrainedTokenizerFast:
    """A tokenizer that the trainer requires but never uses: rows already are token ids."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    end = "<end>"
    words = Tokenizer(WordLevel({end: _end_token(plan)}, unk_token=end))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token=end, eos_token=end)

"""The training itself: TRL's trainer with PEFT's adapter on frozen weights."""

from __future__ import annotations

import json
import math
import signal
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

from mistral_cli.errors import Interrupted, MistralCliError, Terminated, UsageError
from mistral_cli.finetune.history import HELD_OUT, History
from mistral_cli.finetune.network import number_type
from mistral_cli.system.signals import on_stop

if TYPE_CHECKING:
    from mistral_cli.finetune.encode import Row
    from mistral_cli.finetune.plan import Plan
    from mistral_cli.finetune.progress import Progress
    from mistral_cli.finetune.run_dir import Places
    from mistral_cli.finetune.strategy import Way

_IGNORED = -100  # the label of a token that is not learned
_DROPOUT = 0.05
_EVALUATED_TOGETHER = 4


class Training:
    """One run: `network` is the frozen model, `way` how it is computed, `shown` hears of it."""

    def __init__(self, plan: Plan, way: Way, places: Places, network: Any, shown: Progress) -> None:
        self._plan, self._shown = plan, shown
        self._stopped_by: int | None = None
        self._collate = DataCollatorForLanguageModeling(pad_token_id=_end_of(plan))
        self._trainer = SFTTrainer(
            model=network,
            args=_arguments(plan, way, places.folder),
            processing_class=_placeholder_tokenizer(plan),
            data_collator=self._collate,
            train_dataset=Dataset.from_list([_sample(row) for row in plan.rows]),
            peft_config=_adapter(plan),
            callbacks=[_Watcher(self)],
        )
        self._trainer.remove_callback(PrinterCallback)

    def run(self, checkpoint: Path | None) -> History:
        """Train, from `checkpoint` on where there is one, and return what it was like.

        Ctrl-C and SIGTERM end it after the step, with a checkpoint; raises Interrupted or
        Terminated then. Raises UsageError where the loss is no number any more.
        """
        started = time.monotonic()
        with on_stop(self._stop):
            self._trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        step = self._trainer.state.global_step
        if self._stopped_by is not None and step < self._plan.steps:
            raise _interrupted(self._stopped_by, step)
        return History.of(self._trainer.state.log_history, time.monotonic() - started)

    def save(self, folder: Path) -> None:
        """Write the adapter as PEFT does."""
        model = self._trainer.model
        model.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # a form that nobody has filled in
        config = folder / "adapter_config.json"
        content = json.loads(config.read_text(encoding="utf-8"))
        content["base_model_name_or_path"] = self._plan.options.base or self._plan.model_name
        config.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def _stop(self, number: int) -> None:
        if self._stopped_by is not None:
            raise KeyboardInterrupt
        self._stopped_by = number
        self._shown.note("ending after this step; once more ends at once and loses it")

    def began(self, state: Any) -> None:
        """Called by the trainer before the first step."""
        if not state.global_step:
            self._measure(state)
        self._shown.begin(state.global_step)

    def step_ended(self, state: Any, control: Any) -> None:
        """Called by the trainer after each step, before it saves a checkpoint."""
        self._shown.step(state.global_step)
        if state.global_step % self._plan.steps_per_epoch == 0:
            self._measure(state)
        if self._stopped_by is not None:
            control.should_save = control.should_training_stop = True

    def logged(self, state: Any, logs: dict[str, float]) -> None:
        """Called by the trainer with what it measured in a step."""
        if "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise UsageError(
                f"the loss is {loss} at step {state.global_step}",
                hint="Use a smaller --learning-rate.",
            )
        self._shown.loss(state.global_step, loss)

    def _measure(self, state: Any) -> None:
        """Note the held-out loss among what the trainer keeps with its checkpoints."""
        if not self._plan.held_out:
            return
        self._shown.status("measuring the held-out rows")
        loss = self._held_out_loss(self._plan.held_out)
        epoch = state.global_step // self._plan.steps_per_epoch
        point = {"step": state.global_step, "epoch": float(epoch), HELD_OUT: loss}
        state.log_history.append(point)
        self._shown.held_out(epoch, loss)

    def _held_out_loss(self, rows: Sequence[Row]) -> float:
        """The mean over all tokens of the completions."""
        model, total, count = self._trainer.model, 0.0, 0
        was_training = model.training
        model.eval()
        with torch.no_grad(), self._trainer.compute_loss_context_manager():
            for start in range(0, len(rows), _EVALUATED_TOGETHER):
                some = [_sample(row) for row in rows[start : start + _EVALUATED_TOGETHER]]
                batch = {k: v.to(model.device) for k, v in self._collate(some).items()}
                output = model(**batch, fused_lm_head=True, use_cache=False)
                total -= float(output.log_probs.sum())
                count += int(output.label_mask.sum())
        model.train(was_training)
        return total / count


class _Watcher(TrainerCallback):
    """Hands what the trainer tells on to a Training."""

    def __init__(self, training: Training) -> None:
        self._training = training

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """See TrainerCallback."""
        self._training.began(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """See TrainerCallback."""
        self._training.step_ended(state, control)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        """See TrainerCallback."""
        self._training.logged(state, logs)


def _arguments(plan: Plan, way: Way, folder: Path) -> SFTConfig:
    numbers = number_type(way)
    return SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=plan.batch_size // way.parts,
        gradient_accumulation_steps=way.parts,
        num_train_epochs=plan.options.epochs,
        learning_rate=plan.learning_rate,
        warmup_steps=plan.warmup_steps,
        lr_scheduler_type="linear",
        seed=plan.options.seed,
        max_length=None,  # checked already; the trainer would cut
        gradient_checkpointing=way.recomputes,
        use_cpu=way.device == "cpu",
        bf16=numbers is torch.bfloat16,
        fp16=numbers is torch.float16,
        dataloader_pin_memory=False,
        save_strategy="steps",
        save_steps=plan.steps_per_checkpoint,
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
    )


def _adapter(plan: Plan) -> LoraConfig:
    return LoraConfig(
        r=plan.options.rank,
        lora_alpha=plan.options.alpha,
        lora_dropout=_DROPOUT,
        target_modules=list(plan.modules),
        task_type="CAUSAL_LM",
    )


def _sample(row: Row) -> dict[str, list[int]]:
    labels = [_IGNORED] * len(row.prompt) + list(row.completion)
    return {"input_ids": [*row.prompt, *row.completion], "labels": labels}


def _end_of(plan: Plan) -> int:
    """The token that ends an answer, which is also good for padding: padding is not learned."""
    return plan.rows[0].completion[-1]


def _placeholder_tokenizer(plan: Plan) -> PreTrainedTokenizerFast:
    """What the trainer wants to see; rows are token ids already, and nothing is read with it."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    end = "<end>"
    words = Tokenizer(WordLevel({end: _end_of(plan)}, unk_token=end))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token=end, eos_token=end)


def _interrupted(number: int, step: int) -> MistralCliError:
    message, hint = f"ended after step {step}", "--resume goes on with it."
    if number == signal.SIGTERM:
        return Terminated(message, hint=hint)
    return Interrupted(message, hint=hint)

"""Grammar-constrained decoding over an engine's own logits, through llguidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import EngineFailed
from mistral_cli.models.gguf.plain_text import Tokenize, tokenize_continued
from mistral_cli.models.gguf.types import UNKNOWN_TOKEN

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mistral_cli.models.gguf import GGUF

    Mask = npt.NDArray[np.bool_]
    """Of shape (vocabulary,): True where the token may come next."""


class Constraint:
    """The tokens that a grammar allows next. One object for one generation.

    `written` is the beginning of the output. Raises EngineFailed if the grammar forbids it.
    """

    def __init__(
        self, tokenizer: Any, grammar: str, vocabulary_size: int, written: str = ""
    ) -> None:
        import llguidance
        import llguidance.numpy

        self._matcher = llguidance.LLMatcher(tokenizer, grammar)
        self._size = vocabulary_size
        self._bits = llguidance.numpy.allocate_token_bitmask(1, vocabulary_size)
        self._fill = llguidance.numpy.fill_next_token_bitmask
        self._check()
        if written:
            self._begin(tokenizer, written.encode())

    def _begin(self, tokenizer: Any, written: bytes) -> None:
        """Consume `written`, in any tokens with its bytes: the grammar sees bytes alone."""
        tokens = tokenizer.greedy_tokenize(written.decode())
        if tokenizer.decode_bytes(tokens) != written:  # a byte has no token of its own
            tokens = tokenizer.tokenize_bytes(written)
        if tokenizer.decode_bytes(tokens) != written:
            raise _grammar_failed("the vocabulary cannot spell the beginning of the answer")
        self._matcher.consume_tokens(tokens)
        self._check()

    @property
    def finished(self) -> bool:
        """Whether the output is complete and nothing may follow."""
        return bool(self._matcher.is_stopped())

    @property
    def may_end(self) -> bool:
        """Whether the output so far is complete, and may end here."""
        return bool(self._matcher.is_accepting())

    def accepts(self, token: int) -> bool:
        """Whether `token` may come next. This takes 3 µs, where a mask takes 400."""
        return bool(self._matcher.validate_tokens([token]) == 1)

    def allowed(self) -> Mask:
        """The tokens that may come next."""
        import numpy as np

        self._fill(self._matcher, self._bits)
        self._check()  # it may have exceeded a limit of llguidance
        bits = np.unpackbits(self._bits.view(np.uint8), bitorder="little")
        return bits[: self._size].astype(np.bool_)

    def consume(self, token: int) -> None:
        """Advance by the token that was chosen."""
        self._matcher.consume_token(token)
        self._check()

    def forced(self, most: int) -> list[int]:
        """Up to `most` tokens that must come next, already consumed: there is nothing to sample."""
        tokens = [] if self.finished else list(self._matcher.compute_ff_tokens())[:most]
        if tokens:
            self._matcher.consume_tokens(tokens)
            self._check()
        return tokens

    def _check(self) -> None:
        if self._matcher.is_error():
            raise _grammar_failed(self._matcher.get_error())


def refuse_uncompilable(grammar: str) -> None:
    """Raise EngineFailed unless llguidance can compile `grammar`."""
    import llguidance

    if problem := llguidance.LLMatcher.validate_grammar(grammar):
        raise _grammar_failed(problem)


def _grammar_failed(report: str) -> EngineFailed:
    problem = report.partition("\n")[0]  # the whole grammar follows
    return EngineFailed(f"the grammar failed: {problem}", hint="Simplify the schema.")


TokenBytes = Callable[[int], bytes]


def llguidance_tokenizer(model: GGUF, tokenize: Tokenize, token_bytes: TokenBytes) -> Any:
    """Describe `model`'s vocabulary to llguidance; create it once per loaded model.

    `token_bytes` returns what the engine writes for a token.
    """
    import llguidance

    vocabulary = _Vocabulary(model, tokenize, token_bytes)
    wrapper = llguidance.TokenizerWrapper(vocabulary)
    return llguidance.LLTokenizer(wrapper, n_vocab=len(vocabulary.tokens))


class _Vocabulary:
    """A tokenizer in the form that llguidance.TokenizerWrapper expects."""

    def __init__(self, model: GGUF, tokenize: Tokenize, token_bytes: TokenBytes) -> None:
        self.eos_token_id = model.eos_id
        self.bos_token_id = model.bos_id
        self._tokenize = tokenize
        self._model = model
        types: Sequence[int] = model.token_types or ()
        unknown = (token for token, kind in enumerate(types) if kind == UNKNOWN_TOKEN)
        self.special_token_ids = sorted(model.control_ids.union(unknown))
        self.tokens = [token_bytes(token) for token in range(len(model.tokens))]

    def __call__(self, text: str | bytes) -> list[int]:
        if isinstance(text, bytes):
            text = text.decode("utf-8", "ignore")
        return tokenize_continued(self._model, text, self._tokenize)

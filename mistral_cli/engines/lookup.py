"""How guesses are looked up: what came after the last tokens where they stood before."""

SAME_TOKENS = 8
"""That many tokens must stand in the prompt or the answer already. With 12, fewer are found."""

GUESSED_TOKENS = 24
"""At most that many are guessed, at least `SAME_TOKENS`.

They are checked in one batch. On 2 cores one of 16 takes the machine build as long as 5 single
tokens (7B shape in Q4_K_M) or 7 (SmolLM2): shorter guesses gain less, and longer ones lose more
where they are wrong. SmolLM2 copied as fast with 48, and was slower where it copied in part. From
64 tokens on llama.cpp's attention computes otherwise once more.
"""

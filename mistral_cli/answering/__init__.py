"""How a job is answered: at once, in parts, as a summary of summaries, piece by piece."""

from mistral_cli.answering.desk import Desk as Desk
from mistral_cli.answering.kept import Kept as Kept
from mistral_cli.answering.respond import respond as respond

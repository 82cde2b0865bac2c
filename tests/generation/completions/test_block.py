"""Where a block of code ends, in several languages."""

from __future__ import annotations

import pytest
from generation.completions.test_ends import completed

from mistral_cli.generation.completions.block import BlockEnd

# What stands before the completion, the block, and what a model writes after it.
BLOCKS = {
    "the body of a function": (
        "def f(x):\n",
        "    if x:\n        return 1\n    return 2",
        "\n\n\nf(3)\n",
    ),
    "a header without its newline": ("def f(x):", "\n    return x", "\n\ndef g():\n    pass\n"),
    "an incomplete header": (
        "class A:\n    def f(",
        "self):\n        return 1",
        "\n\n    def g(self):\n",
    ),
    "one of several methods": (
        "class A:\n    x = 1\n\n    ",
        "def f(self):\n        return 1",
        "\n\n    def g(self):\n        return 2\n",
    ),
    "statements": ("def f():\n    x = 1\n    ", "y = 2\n\n    return y", "\n\nz = 3\n"),
    "a statement at the top": ("import os\n", "import sys\nimport re", "\n\ndef main():\n"),
    "the branches of an if": (
        "x = 1\nif x:\n",
        "    a()\nelif y:\n    b()\nelse:\n    c()",
        "\nd()\n",
    ),
    "an else that only begins so": ("if x:\n", "    a()", "\nelsewhere()\n"),
    "a comment that is less indented": ("def f():\n", "    x = 1", "\n# next\ny = 2\n"),
    "a text in quotes": ("def f():\n", '    s = """\nnot code):\n"""\n    return s', "\n\nx = 1"),
    "an unfinished docstring": (
        'def f():\n    """Say',
        ' it.\n\nMore.\n    """\n    return 1',
        "\nx",
    ),
    "brackets in a text": ("def f():\n", '    return ")" + "}"', "\nx = 1\n"),
    "a call": ("print(", '"a", f(1))', "\nprint(2)\n"),
    "a list": ("x = [1,\n", "     2, 3]", "\ny = 4\n"),
    "a function in braces": ("int f() {\n", "  if (x) {\n    return 1;\n  }\n}", "\n\nint g() {\n"),
    "a class with a semicolon": ("class A {\n", "  int x;\n};", "\nclass B {\n"),
    "a method in braces": (
        "class A {\n  int x;\n  ",
        "int f() {\n    return x;\n  }",
        "\n  int g() {\n",
    ),
    "an if and an else in braces": ("if (x) {\n  y();\n", "}", " else {\n"),
    "braces in a comment": ("void f() {\n", "  // }\n  /* } */ g();\n}", "\nvoid h() {\n"),
    "a function of a shell": ("f() {\n", '    echo "}"\n}', "\nf\n"),
    "a method of Ruby": ("def f\n", "  1\nend", "\n\ndef g\n"),
    "tabs": ("func f() {\n", "\treturn\n}", "\n\nfunc g() {\n"),
    "the rest of a function, from a control statement": (
        "def f(x):\n    y = 1\n    ",
        "if x:\n        return 1\n    return y",
        "\n\n\nf(3)\n",
    ),
    "an if whose condition has two lines": (
        "    if (a\n            and b):",
        "\n        return 1",
        "\n    return 2\n",
    ),
    "a class whose header has two lines": (
        "class A(B,\n        C):\n",
        "    x = 1\n\n    def f(self):\n        pass",
        "\n\nclass D:\n",
    ),
    "a header that the completion ends in its next line": (
        "class A:\n    def f(self, ",
        "x,\n          y):\n        return 1",
        "\n\n    def g(self):\n",
    ),
    "the else of a loop, not of the if in it": (
        "for x in y:\n    if x:\n",
        "        return x",
        "\nelse:\n    return 0\n",
    ),
    "a comment at the margin": (
        "def f():\n",
        "    x = 1\n# y = 2\n    return x",
        "\n\n# next\n\ndef g():\n",
    ),
    "directives of a preprocessor": (
        "struct A {\n",
        "  int x;\n\n#if B || \\\n    !C\n  int y;\n#endif\n};",
        "\n\nstruct D {\n",
    ),
    "a directive after the block": ("int f()\n{\n", "  g();\n}", "\n\n#endif\n"),
    "an apostrophe in a comment of a shell": (
        "# It's a {\nf() {\n",
        "  # we're out)\n  ls dir/*\n  echo ${#x[@]} ${x##*/} # it's }\n}",
        "\nf\n",
    ),
    "a case of a shell": (
        "# say it\nf() {\n",
        "  case $1 in\n    a | b) echo 1 ;;\n    *) (ls) ;;\n  esac\n}",
        "\nf\n",
    ),
    "an if of a shell": (
        '# test\nif [ -z "$x" ]; then\n',
        "  ls dir/*\n  exit 1\nfi",
        "\n\nrm x\n",
    ),
    "a colour in a style": ("/* x */\na {\n", "  color: #fff; }", "\n#b { }\n"),
    "brackets in a text before the cursor": (
        'def f():\n    print("((", ',
        "1)",
        "\n    x = 2\n",
    ),
    "JSON": ('{"a": ', '{"b": [1, 2]}}', '\n{"c"'),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_ends(name: str) -> None:
    before, block, more = BLOCKS[name]
    assert completed(block + more, BlockEnd(before)) == block


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_that_the_model_ends_is_complete(name: str) -> None:
    before, block, _ = BLOCKS[name]
    assert completed(block, BlockEnd(before)) == block


@pytest.mark.parametrize(("opener", "closer"), [('"""', '"""'), ("'", "'"), ("x = 1; ", "")])
@pytest.mark.parametrize("length", [10, 10_000])
def test_the_length_of_what_the_cursor_is_in_makes_no_difference(
    opener: str, closer: str, length: int
) -> None:
    before = f"def f():\n    {opener}" + "ab" * (length // 2)
    block = f" ):{closer}\n    return 1" if closer else "\n    return 1"
    assert completed(f"{block}\n\nx = 2", BlockEnd(before)) == block


def test_a_bracket_that_follows_is_not_written_twice() -> None:
    assert completed("1, 2)\nx", BlockEnd("f(", ")\n")) == "1, 2"
    assert completed("  return 1;\n}\n", BlockEnd("int f() {\n", "\n}\n")) == "  return 1;"


def test_most_of_a_block_is_written_as_it_streams() -> None:
    cut = BlockEnd("def f():\n").cut("    x = 1\n    y", final=False)
    assert cut == (len("    x = 1\n    y"), False)

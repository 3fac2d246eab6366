"""What is made from the source is whole: each public name, setting, verb and message is there, and links lead on."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath

import pytest

import seesay

ROOT = Path(__file__).resolve().parents[2]
# [words](page.md#heading), outside of code.
LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(text):
    """A page without its blocks and spans of code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def headings(text):
    """The anchors of a page's headings, as Python-Markdown makes them."""
    found = re.findall(r"^#+ (.+)$", prose_with_code_spans(text), flags=re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", line).strip().lower()) for line in found}


def prose_with_code_spans(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def broken_links(pages, files):
    """(page, address) of every link of a page that leads to no page, heading or file."""
    for name, text in pages.items():
        for address in LINK.findall(prose(text)):
            if re.match(r"[a-z]+:", address):
                continue
            path, _, heading = address.partition("#")
            target = os.path.normpath(PurePosixPath(name).parent / path) if path else name
            is_there = target in pages or target in files
            if not is_there or (heading and heading not in headings(pages[target])):
                yield name, address


def test_every_public_name_has_a_page_with_its_docstring_and_an_example(script, pages):
    page_of = script("python_pages").page_of
    for name in seesay.__all__:
        page = pages[f"reference/python/{page_of(name)}"]
        assert f"::: seesay.{seesay._MODULES[name]}.{name}\n" in page
        assert re.search(r"## Example\n\n```python\n.*\bseesay\b", page, re.DOTALL), name
    examples = script("python_pages").example_blocks((ROOT / "docs" / "python-examples.md").read_text(encoding="utf-8"))
    assert set(examples) == set(seesay.__all__)


def test_every_setting_has_a_line_and_no_line_is_left_of_one_that_is_gone(script, pages):
    """A new setting needs three lines in docs/settings.toml."""
    words = tomllib.loads((ROOT / "docs" / "settings.toml").read_text(encoding="utf-8"))
    assert set(words) == set(script("settings_page").all_settings())
    assert all(set(line) == {"does", "from"} and all(line.values()) for line in words.values())
    for key in words:
        assert f"| `{key.rpartition('.')[2]}` |" in pages["reference/settings.md"]


def test_settings_are_shown_with_their_types_and_defaults(script):
    page, fields = script("settings_page"), script("settings_page").all_settings()
    shown = {key: (page.type_words(field), page.default_words(field)) for key, field in fields.items()}
    assert shown["optimizer.beta2"] == ("number, at least 0, below 1", "`0.98`")
    assert shown["batch_size"] == ("whole number, at least 2", "chosen")
    assert shown["parallel"] == ("`ddp` or `fsdp`", "`ddp`")
    assert shown["data.augment.turn"] == ("number, at least 0, at most 180", "`0.0`")
    assert shown["compare.objectives"] == ("list of text", "needed")


def test_every_verb_has_a_page_with_all_its_options(pages):
    from test_words import help_texts

    from seesay.cli.main import DOORS

    assert {f"reference/commands/{verb}.md" for verb in DOORS} <= set(pages)
    assert "`--none-of-these`" in pages["reference/commands/classify.md"]
    for where, text in help_texts():
        verb, _, option = where.partition(" ")
        for name in re.findall(r"--[a-z][a-z-]+$", text) if option else ():
            assert f"`{name}`" in pages[f"reference/commands/{verb}.md"], (verb, name)


# Options that are not ours.
OTHERS = {"--help"}
# Words between dots that are no settings: files, and what Python or another library has.
NO_SETTING = {"section.key", "a.b", "tensor.numpy", "rows.isnan"}


def leads_nowhere(made, pages, found):
    """(message, page and heading) of every one whose page, or heading of it, is not on the site."""
    for file, _, text in found:
        address, words = made.help_for(file, text)
        path, _, heading = address.partition("#")
        target = os.path.normpath(PurePosixPath("reference") / path)
        if not words or not heading or target not in pages or heading not in headings(pages[target]):
            yield text, address


def unknown_names(text, options, verbs, settings, extras):
    """Options, verbs, settings and extras that a message names and that are not there."""
    found = {word for word in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text) if word not in options | OTHERS}
    found |= {f"seesay {word}" for word in re.findall(r"`seesay ([a-z]+)", text) if word not in verbs}
    named = re.findall(r"(?<![\w./…'])([a-z_]+(?:\.[a-z_]+)+)(?![\w./…])", text)
    sections = {key.partition(".")[0] for key in settings}
    found |= {key for key in named if key not in settings | NO_SETTING and key.partition(".")[0] in sections}
    return found | {word for word in re.findall(r"seesay\[([a-z]+)\]", text) if word not in extras}


@pytest.fixture(scope="module")
def names(script):
    """(options, verbs, settings, extras) that are there."""
    from test_words import help_texts

    from seesay.cli.main import DOORS

    options = {word for _, text in help_texts() for word in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)}
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = set(tomllib.load(file)["project"]["optional-dependencies"])
    return options | {"--debug"}, set(DOORS), set(script("settings_page").all_settings()), extras


@pytest.fixture(scope="module")
def messages(script):
    """(file, error, text) of every message of the package."""
    return script("message_pages").messages()


def test_messages_with_a_hint_that_leads_nowhere_are_0(script, pages, messages):
    assert list(leads_nowhere(script("message_pages"), pages, messages)) == []


def test_the_page_has_the_heading_of_each_message(script, pages, messages):
    made = script("message_pages")
    lines = pages["reference/messages.md"].splitlines()
    for file, _, text in messages:
        (address, words), cell = made.help_for(file, text), made._cell(text)
        assert any(f"| [{words}]({address}) |" in line for line in lines if cell in line), text


def test_names_in_messages_are_those_of_something(messages, names):
    wrong = {text: found for _, _, text in messages if (found := unknown_names(text, *names))}
    assert wrong == {}


def test_a_hint_that_leads_nowhere_is_found(script, names):
    made = script("message_pages")
    pages = {"reference/formats.md": "## Pairs\n", "troubleshooting.md": "## No network\n"}
    found = [
        ("data/pairs.py", "UsageError", "… is not a folder."),
        ("base/hub.py", "UsageError", "try with a network."),
    ]
    assert list(leads_nowhere(made, pages, found)) == []
    assert len(list(leads_nowhere(made, {"reference/formats.md": "## Images\n"}, found))) == 2
    text = "use --no-such, `seesay mend`, optimizer.rate or pip install 'seesay[none]'; not --out, config.json"
    assert unknown_names(text, *names) == {"--no-such", "seesay mend", "optimizer.rate", "none"}


def test_every_word_that_leads_somewhere_is_in_a_message(script, messages):
    texts = [text for _, _, text in messages]
    assert [
        words for words, _, _ in script("message_pages").BY_WORDS if not any(re.search(words, text) for text in texts)
    ] == []


def test_a_message_is_found_with_dots_for_its_values(script, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pairs.py").write_text(
        'LARGE = "too large"\n'
        'raise UsageError(f"{path} is a folder; name a file.")\n'
        'raise BrokenSample(LARGE, f"{n} px")\n'
    )
    found = list(script("message_pages").messages(tmp_path))
    assert found == [
        ("data/pairs.py", "UsageError", "… is a folder; name a file."),
        ("data/pairs.py", "BrokenSample", "too large: … px"),
    ]


def test_every_exit_code_is_told(pages):
    from seesay.base.errors import SeesayError

    codes = {getattr(seesay, name).exit_code for name in seesay.__all__ if is_error(getattr(seesay, name), SeesayError)}
    assert {
        int(code) for code in re.findall(r"^\| (\d+) \|", pages["reference/exit-codes.md"], re.MULTILINE)
    } == codes | {
        0,
        141,
    }


def is_error(value, base):
    return isinstance(value, type) and issubclass(value, base)


def test_links_between_pages_lead_to_pages_and_headings(made_site):
    pages, site = made_site
    files = {site.image_target(path) for path in site.images}
    # The anchors that mkdocstrings makes are seen by the strict build alone.
    assert sorted(broken_links(pages, files)) == []


@pytest.mark.parametrize(
    ("text", "is_broken"),
    [
        ("[a](b.md)", False),
        ("[a](b.md#a-heading)", False),
        ("[a](c.md)", True),
        ("[a](b.md#no-heading)", True),
        ("[a](#here)", True),
        ("`[a](c.md)` and [b](https://example.org)", False),
    ],
)
def test_a_broken_link_is_found(text, is_broken):
    assert bool(list(broken_links({"a.md": text, "b.md": "## A heading\n"}, set()))) == is_broken


def test_no_two_pages_differ_in_capitals_alone(pages):
    assert len({name.lower() for name in pages}) == len(pages)


def test_every_folder_of_benchmarks_with_a_page_is_on_the_site(pages):
    for path in (ROOT / "benchmarks").glob("*/README.md"):
        assert f"benchmarks/{path.parent.name}.md" in pages
    assert "benchmarks/index.md" in pages and "reliability.md" in pages


def test_links_of_the_repository_become_those_of_the_site(script, tmp_path):
    links = script("links")
    (tmp_path / "docs").mkdir()
    site = links.Site(
        root=tmp_path, target={"docs/a.md": "a.md", "benchmarks/2026-01-01-x/README.md": "benchmarks/x.md"}
    )
    text = (
        "[x](../benchmarks/2026-01-01-x) `2026-01-01-x` [two\nlines](../benchmarks/2026-01-01-x/README.md) "
        "[code](../src/a.py) ![i](i.png)\n```\n[x](../benchmarks)\n```\n"
    )
    assert links.rewritten(text, "docs/a.md", site) == (
        "[x](benchmarks/x.md) [`2026-01-01-x`](benchmarks/x.md) [two\nlines](benchmarks/x.md) code (`src/a.py`) "
        "![i](i.png)\n```\n[x](../benchmarks)\n```\n"
    )
    assert site.images == {tmp_path / "docs" / "i.png"}


def test_the_citation_names_the_version_and_the_papers_title():
    yaml = pytest.importorskip("yaml")
    import importlib.metadata

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == seesay.__version__
    assert cited["license"] == importlib.metadata.metadata("seesay")["License-Expression"]
    assert cited["references"][0]["title"] == "Learning Transferable Visual Models From Natural Language Supervision"


@pytest.mark.parametrize("name", ["bug", "wish", "unclear"])
def test_templates_of_issues_are_forms(name):
    yaml = pytest.importorskip("yaml")
    path = ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml"
    if not path.is_file():
        pytest.skip("a source distribution holds no .github")
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(ids) == len(set(ids)) >= 1


def written_by_hand():
    """The pages of docs/ but the notes of decisions, which tell what words were."""
    return [path for path in (ROOT / "docs").rglob("*.md") if "decisions" not in path.parts]


def test_pages_use_the_fields_own_terms():
    from test_words import wrong_phrases

    files = [*written_by_hand(), ROOT / "docs" / "settings.toml", ROOT / "CODE_OF_CONDUCT.md"]
    found = [
        f"{path.name}: {wrong}" for path in files for wrong in wrong_phrases(prose(path.read_text(encoding="utf-8")))
    ]
    assert not found, "\n".join(found)


def test_pages_are_spelled_as_dictionaries_do():
    pytest.importorskip("codespell_lib", reason="spelling is checked with pip install '.[docs]'")
    names = ("docs", "README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "examples", "tools/docs")
    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib", "--skip=*.js,*.png", "--ignore-words-list=wit", *names],
        check=False, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout

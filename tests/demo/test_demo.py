"""`doit demo` as people run it: the tiny model answers in a real browser, without a window."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.backends.face import face_of
from scripts.backends.model import load_model
from scripts.backends.onnx.formats.rtn import OnnxRtn
from scripts.backends.onnx.web.formats.rtn import WebRtn
from scripts.backends.onnx.web.layout import layout_as_it_is
from scripts.chat.speaker import Sampling, answer, pieces
from scripts.demo.packages import ONNXRUNTIME, TRANSFORMERS, fetched
from scripts.demo.server import Server
from scripts.demo.site import whole
from scripts.evaluation.reference import chat_ids, stop_tokens
from scripts.exec import run_stage
from scripts.report.loading import snippet
from scripts.texts import load_tokenizer
from tests.checkout import Checkout, make_checkout
from tests.conftest import Once

PROMPT = "the miller"
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
in_browser = pytest.mark.skipif(
    CHROMIUM is None or shutil.which("npm") is None, reason="Chromium or npm is not on the PATH"
)


@pytest.fixture(scope="module")
def checkout(
    tiny_base: Path, tiny_graph: Path, tiny_text: Path, tmp_path_factory: pytest.TempPathFactory
) -> Checkout:
    """A checkout in which the base and two artefacts lie where a build puts them."""
    made = make_checkout(tmp_path_factory.mktemp("demo"), tiny_base, tiny_text)
    made.artifacts = {
        "model-int4-onnx": "{format: onnx, bits: 4, method: rtn}",
        "web-int8": "{format: onnx-web, bits: 8, method: rtn}",
        "not-built": "{format: onnx-web, bits: 4, method: rtn}",
        "model.gguf": "{format: gguf, type: q4_0}",
    }
    made.write_recipe()
    shutil.copytree(tiny_base, made.folder / "cache/tiny/base")
    inputs, out = {"base": tiny_base, "graph": tiny_graph}, made.folder / "quantized"
    run_stage(OnnxRtn(format="onnx", bits=4, method="rtn"), inputs, out / "model-int4-onnx")
    run_stage(WebRtn(format="onnx-web", bits=8, method="rtn"), inputs, out / "web-int8")
    return made


@pytest.fixture(scope="module")
def npm(once: Once, checkout: Checkout) -> Path:
    """npm's packages, fetched once for all tests, and in the checkout's cache."""

    def fetch(folder: Path) -> None:
        for one in (TRANSFORMERS, ONNXRUNTIME):
            fetched(one, folder)

    folder = once("npm", fetch)
    shutil.copytree(folder, checkout.folder / "cache/npm")
    return folder


class Demo:
    """A running `doit demo`."""

    def __init__(self, checkout: Checkout, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "doit", "demo", name],
            cwd=checkout.folder,
            env={**os.environ, "PYTHONPATH": str(checkout.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", self.said)
        assert found, self.said + self.end(signal.SIGTERM)[1]
        self.address = found[0]

    def end(self, number: int) -> tuple[int, str]:
        """The exit code after a signal, and what was said on standard error."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window; as root it starts only without its sandbox."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def demo(checkout: Checkout, npm: Path) -> Iterator[Demo]:
    """The ONNX artefact's page."""
    made = Demo(checkout, "quantized/model-int4-onnx/")
    yield made
    made.end(signal.SIGTERM)


def opened(browser: Any, address: str, size: str = "desk", scheme: str = "light") -> Any:
    """The page once its model is loaded, with `page.faults`: what went wrong, or elsewhere."""
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.set_default_timeout(60_000)
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("requestfailed", lambda sent: page.faults.append(sent.url))
    page.on(
        "request",
        lambda sent: (
            None if sent.url.startswith((address, "data:")) else page.faults.append(sent.url)
        ),
    )
    page.on("response", lambda got: page.faults.append(got.url) if got.status >= 400 else None)
    page.goto(address)
    page.locator("#prompt:enabled, #error:visible").first.wait_for()
    assert not page.locator("#error").is_visible(), page.locator("#error").inner_text()
    return page


def says(page: Any, prompt: str, words: int = 6) -> str:
    """What the model answers in the page, stopped after some words: its last may be half."""
    page.get_by_label("Your message").fill(prompt)
    page.keyboard.press("Enter")
    written = page.locator(".assistant .text").last
    page.locator(".busy .text").filter(has_text=re.compile(rf"(\S+\s+){{{words}}}")).or_(
        page.get_by_role("button", name="Send")
    ).first.wait_for()
    if page.get_by_role("button", name="Stop").is_visible():
        page.get_by_role("button", name="Stop").click(force=True)
    page.get_by_role("button", name="Send").wait_for()
    text: str = written.inner_text()
    return text


def greedy(artifact: Path, base: Path, prompt: str) -> str:
    """What onnxruntime answers, as the report's samples are made."""
    tokenizer = load_tokenizer(base)
    model = load_model("onnx", artifact, threads=1, context=1024)
    ids = chat_ids(tokenizer, [{"role": "user", "content": prompt}])
    found = answer(model, ids, stop_tokens(base), Sampling(max_tokens=48))
    return "".join(pieces(found, tokenizer))


@in_browser
def test_browser_answers_with_the_first_words_of_onnxruntime(
    browser: Any, demo: Demo, checkout: Checkout, tiny_base: Path
) -> None:
    page = opened(browser, demo.address)
    wanted = greedy(checkout.folder / "quantized/model-int4-onnx", tiny_base, PROMPT)
    said = says(page, PROMPT)
    assert said.split()[:4] == wanted.split()[:4] != []
    assert page.evaluate("crossOriginIsolated")
    assert page.locator("#dtype").inner_text() == "q4"
    assert page.locator("#speed").inner_text().endswith(" tokens/s")
    assert page.faults == []
    page.close()


@in_browser
def test_artefact_for_browsers_answers_too_and_ctrl_c_ends_with_130(
    browser: Any, checkout: Checkout, npm: Path, tiny_base: Path
) -> None:
    made = Demo(checkout, "web-int8")
    page = opened(browser, made.address)
    wanted = greedy(checkout.folder / "quantized/web-int8", tiny_base, PROMPT)
    assert says(page, PROMPT).split()[:4] == wanted.split()[:4] != []
    assert page.locator("#dtype").inner_text() == "q8"
    assert page.faults == []
    page.close()
    assert made.said == f"web-int8 answers at {made.address}; Ctrl-C ends it.\n"
    code, errors = made.end(signal.SIGINT)
    assert (code, errors.strip()) == (130, "stopping …")


@in_browser
def test_a_conversation_is_stopped_continued_and_begun_anew(browser: Any, demo: Demo) -> None:
    page = opened(browser, demo.address)
    stopped = says(page, PROMPT)
    assert len(stopped.split()) < 80  # of 256 tokens, however late a busy machine stops
    says(page, PROMPT)
    assert page.locator(".turn").count() == 4
    page.get_by_role("button", name="New").click()
    assert page.locator(".turn").count() == 0
    assert says(page, PROMPT).split()[:4] == stopped.split()[:4]
    page.close()


@in_browser
def test_no_room_for_an_answer_is_told_in_words(browser: Any, demo: Demo) -> None:
    page = opened(browser, demo.address)
    page.get_by_label("Your message").fill(f"{PROMPT} " * 700)
    page.keyboard.press("Enter")
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert re.fullmatch(
        r"The conversation has \d+ tokens, which leaves no room for an answer. Begin a new one.",
        alert.inner_text(),
    )
    assert says(page, PROMPT)
    assert not alert.is_visible()
    page.close()


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_page_fits_and_its_parts_have_names(
    browser: Any, demo: Demo, size: str, scheme: str
) -> None:
    page = opened(browser, demo.address, size, scheme)
    width, height = SIZES[size]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("document.documentElement.scrollHeight") == height
    assert page.get_by_role("heading", level=1).inner_text() == "Tiny"
    assert page.get_by_role("log", name="Conversation").is_visible()
    assert page.get_by_label("computes on").is_visible()
    button = page.get_by_role("button", name="Dark")
    assert (button.get_attribute("aria-pressed") == "true") == (scheme == "dark")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    button.click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.close()


@in_browser
def test_code_of_the_report_loads_the_artefact(browser: Any, checkout: Checkout, npm: Path) -> None:
    """As a site has it: the folder below its root, transformers.js by its name."""
    folder = "quantized/web-int8"
    code = snippet(face_of("onnx-web"), [folder]).replace("console.log", "document.body.append")
    code = code.replace('"@huggingface/transformers"', '"/npm/transformers.min.js"')
    parts = [npm / one.folder / path for one in (TRANSFORMERS, ONNXRUNTIME) for path in one.files]
    # Where a page says nothing of it, transformers.js takes onnxruntime-web from a network.
    paths = {path.suffix[1:]: f"/npm/{path.name}" for path in parts if path.name.startswith("ort-")}
    ours = f"env.useWasmCache = false;\nenv.backends.onnx.wasm.wasmPaths = {paths};\n"
    code = code.replace("env.allowLocalModels", f"{ours}env.allowLocalModels")
    layout = layout_as_it_is(checkout.folder / folder)
    files = {
        "/index.html": b'<!DOCTYPE html><title>code</title><script type="module" src="code.js">'
        b"</script>",
        "/code.js": code.encode(),
        **{f"/npm/{path.name}": whole(path) for path in parts},
        **{f"/{folder}/{name}": content for name, content in layout.files.items()},
    }
    with Server(files, 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        page = browser.new_page()
        page.goto(server.address)
        page.get_by_text("The capital of France is").wait_for(timeout=60_000)
        page.close()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("demo",), 2, "`demo` takes one artefact, such as quantized/model-int8"),
        (("demo", "web-int"), 2, "did you mean 'web-int8'?"),
        (
            ("demo", "quantized/model.gguf"),
            2,
            "model.gguf is GGUF Q4_0, which does not run in a browser. Artefacts with these "
            "formats do: onnx, onnx-web; in recipes/tiny.yaml there are of them: graph, "
            "model-int4-onnx, web-int8, not-built",
        ),
        (("demo", "base"), 2, "base is FP16 base (PyTorch), which does not run in a browser"),
        (("demo", "not-built"), 1, "not-built is not built yet; run `doit quantized/not-built`"),
    ],
)
def test_mistakes(checkout: Checkout, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = checkout.doit(*arguments)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_without_npm_nothing_begins(checkout: Checkout, tmp_path: Path) -> None:
    aside = checkout.folder / "cache/npm"
    hidden = aside.rename(tmp_path / "npm") if aside.exists() else None
    try:
        done = subprocess.run(
            [sys.executable, "-m", "doit", "demo", "web-int8"],
            cwd=checkout.folder,
            env={**os.environ, "PYTHONPATH": str(checkout.folder), "PATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        if hidden is not None:
            hidden.rename(aside)
    assert done.returncode == 3
    assert done.stderr.endswith("is not installed; install it with `apt install npm`\n")

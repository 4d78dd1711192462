"""What cannot be loaded is one sentence: broken folders, and a hub that a small server here stands for."""

import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from transformers import T5Config

from labeling.serve import ServeError, _existing
from rlhf.loading import same_model
from rlhf.models import ModelError, load_family, load_tokenizer, resolve
from tests.local_models import change_config, with_own_code

ROOT = Path(__file__).resolve().parent.parent
COMMIT, TAGGED = "a" * 40, "b" * 40


@pytest.fixture
def folder(tiny_model, tmp_path):
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def refusal_of(folder, **options):
    with pytest.raises(ModelError) as refused:
        load_family(str(folder), device="cpu", **options)
    said = str(refused.value)
    assert "\n" not in said
    assert "huggingface.co" not in said
    return said


def remove(folder, *patterns):
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink()


def test_a_folder_without_config(folder):
    remove(folder, "config.json")
    assert refusal_of(folder).startswith(f"Folder '{folder}' has no config.json, so it is not a model; give")


def test_a_folder_without_weights(folder):
    remove(folder, "*.safetensors")
    said = refusal_of(folder)
    assert "has no weights (*.safetensors or pytorch_model*.bin); save both model and tokenizer there" in said


def test_a_folder_without_a_tokenizer(folder):
    remove(folder, "tokenizer*")
    assert "has no tokenizer (tokenizer.json or vocab.json); save both" in refusal_of(folder)


def test_weights_that_are_cut_off(folder):
    (weights,) = folder.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:5000])
    assert "are damaged or cut off (" in refusal_of(folder)


def test_a_config_that_is_not_json(folder):
    (folder / "config.json").write_text("{")
    assert "The config.json of model" in refusal_of(folder)


def test_an_adapter_alone(tiny_model, tmp_path):
    load_family(tiny_model, tuning="lora", device="cpu", lora_rank=2).save("policy", tmp_path)
    assert "is a LoRA adapter without its model; merge it into its base" in refusal_of(tmp_path)


def test_a_kind_that_this_transformers_does_not_know(folder):
    change_config(folder, model_type="strange")
    assert "does not know models of the kind 'strange'" in refusal_of(folder)


def test_a_model_that_does_not_go_on_with_a_text(folder):
    T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2).save_pretrained(folder)
    assert "is a T5, which does not go on with a text; give --model a causal LM" in refusal_of(folder)


def test_code_of_a_model_is_run_only_when_asked_for(folder, tmp_path):
    ran = tmp_path / "ran"
    with_own_code(folder, ran)
    said = refusal_of(folder)
    assert "comes with code of its own, which is run only with --trust-remote-code" in said
    assert not ran.exists()
    family = load_family(str(folder), tuning="full", device="cpu", trust_remote_code=True)
    assert ran.exists()
    assert family.trusts_code
    with family.use("reference") as model:
        assert type(model).__name__ == "OwnForCausalLM"


def test_what_is_neither_folder_nor_hub_id():
    with pytest.raises(ModelError, match=r"'a/b/c' is neither a folder nor a hub id \(owner/name\)"):
        load_tokenizer(resolve("a/b/c"))


def test_offline(monkeypatch):
    with pytest.raises(ModelError, match=r"'nobody/nothing' is not on this machine, and the hub cannot be"):
        load_tokenizer("nobody/nothing")


class Hub(BaseHTTPRequestHandler):
    """What the hub answers, as far as its library asks; `model` is where its one model lies."""

    model: Path
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        owner = self.path.removeprefix("/api/models").strip("/").split("/")[0]
        known = {
            "gated": (403, {"X-Error-Code": "GatedRepo"}),
            "missing": (401, {"X-Error-Code": "RepoNotFound"}),
            "token": (401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
            "rights": (403, {}),
        }
        if owner in known:
            return self.answer(*known[owner])
        parts = self.path.split("?")[0].strip("/").split("/")
        if not {"resolve", "revision", "tree"} & set(parts):  # about the model, whatever its revision
            parts += ["revision", "main"]
        at = parts.index("resolve" if "resolve" in parts else "revision" if "revision" in parts else "tree")
        commit = {"main": COMMIT, "v1": TAGGED, COMMIT: COMMIT, TAGGED: TAGGED}.get(parts[at + 1])
        if commit is None:
            return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
        files = {p.name: p.read_bytes() for p in self.model.iterdir() if p.is_file()}
        if parts[at] == "tree":
            found = [{"type": "file", "path": n, "size": len(b), "oid": "c" * 40} for n, b in files.items()]
            return self.answer(200, {}, json.dumps(found).encode())
        if parts[at] == "revision":
            said = {"id": "real/model", "sha": commit, "siblings": [{"rfilename": name} for name in files]}
            return self.answer(200, {}, json.dumps(said).encode())
        name = "/".join(parts[at + 2 :])
        if name not in files:
            return self.answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        body = files[name]
        if name == "config.json" and commit == TAGGED:  # how one sees which revision was read
            body = json.dumps(json.loads(body) | {"podium_tag": "v1"}).encode()
        self.answer(200, {"X-Repo-Commit": commit, "ETag": f'"{name}-{commit}"'}, body)

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def hub(folder):
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneModel", (Hub,), {"model": Path(folder)}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


ASKED = """
import json, sys
from rlhf.models import ModelError, load_family
found = {}
for name in json.loads(sys.argv[1]):
    try:
        family = load_family(name, tuning="full", device="cpu")
        with family.use("reference") as model:
            found[name] = ["loaded", getattr(model.config, "podium_tag", "")]
    except ModelError as error:
        found[name] = ["refused", str(error)]
print(json.dumps(found))
"""


def ask(names, tmp_path, **environment):
    """What becomes of each, in a process that has another hub and an empty cache."""
    own = {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_wrong", **environment}
    done = subprocess.run(
        [sys.executable, "-c", ASKED, json.dumps(names)],
        cwd=ROOT,
        env=os.environ | own,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.slow
def test_what_the_hub_answers(tiny_model, tmp_path):
    names = ["gated/x", "missing/x", "token/x", "rights/x", "real/model", "real/model@v1", "real/model@v9"]
    with hub(tiny_model) as address:
        found = ask(names, tmp_path, HF_ENDPOINT=address)
    assert found["real/model"] == ["loaded", ""]
    assert found["real/model@v1"] == ["loaded", "v1"]
    login = "log in with `hf auth login`, or set HF_TOKEN"
    assert {name: said for name, (state, said) in found.items() if state == "refused"} == {
        "gated/x": f"Model 'gated/x' is gated: ask for access on its page of the hub, then {login}.",
        "missing/x": "There is no model 'missing/x' on the hub, or it is private: check its name, "
        f"or {login}.",
        "token/x": f"The hub refused this machine's token, asked for 'token/x'; {login} with a valid one.",
        "rights/x": f"The hub does not let this machine's token read 'rights/x'; {login} with one that may.",
        "real/model@v9": "Model 'real/model' has no revision 'v9'; "
        "give --revision a branch, a tag or a commit.",
    }


def test_a_folder_has_many_names_and_is_found_from_everywhere(tiny_model, monkeypatch, tmp_path):
    folder = Path(tiny_model)
    monkeypatch.chdir(folder.parent)
    assert same_model(f"./{folder.name}", tiny_model)
    assert _existing("model", folder.name) == resolve(folder.name) == str(folder.resolve())
    assert not same_model("starter", tiny_model)
    monkeypatch.chdir(tmp_path)
    assert not same_model(f"./{folder.name}", tiny_model)
    (tmp_path / "prompts.txt").write_text("hello")
    with pytest.raises(ServeError, match="is a file; wanted: a folder"):
        _existing("model", "prompts.txt")

"""examples/kubernetes: what the overlays say, and a worker that runs as they say while the kubelet swaps its mounts."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stigmer_config.settings.declarations import SETTINGS
from tests.examples.test_worker import BEGUN
from tests.support.fake_providers import FakeProviders
from tests.support.kubernetes_pods import (
    EXAMPLE,
    KEY,
    KUBECTL,
    ROOT,
    Contained,
    Overlay,
    Replica,
    may_contain,
    rendered,
    yaml,
)
from tests.support.live_tools import until
from tests.support.sandbox import Sandbox

README = (EXAMPLE / "README.md").read_text(encoding="utf-8")
MODES = {"local": "local", "prod": "cloud"}

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="needs kubectl (Debian's kubernetes-client)")


def references(value: Any) -> Iterator[str]:
    """Every PATH of a `{file: PATH}`."""
    if isinstance(value, dict):
        if set(value) == {"file"}:
            yield value["file"]
        for part in value.values():
            yield from references(part)


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Each setting of a file; a reference is a leaf."""
    if isinstance(value, dict) and set(value) != {"file"}:
        for name, part in value.items():
            yield from leaves(part, f"{key}.{name}" if key else name)
    else:
        yield key, value


# -- what the overlays say -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["base", *MODES])
def test_every_overlay_builds(name: str) -> None:
    """`kubectl kustomize` renders the Deployment, and in the overlays the site file's ConfigMap."""
    assert sorted(document["kind"] for document in rendered(name)) == (
        ["Deployment"] if name == "base" else ["ConfigMap", "Deployment"]
    )


@pytest.mark.parametrize(("name", "mode"), MODES.items())
def test_each_overlay_sets_the_mode(name: str, mode: str) -> None:
    """MODE is a variable of the container, in the overlay and not in the base."""
    assert Overlay(name).variables["MODE"] == mode
    (base,) = rendered("base")
    assert "MODE" not in str(base)


@pytest.mark.parametrize("name", MODES)
def test_mounts_volumes_and_variables_agree(name: str) -> None:
    """Each mount has its volume and each volume a mount, no mount is of one file, the named files are in them."""
    overlay = Overlay(name)
    assert {mount["name"] for mount in overlay.mounts.values()} == set(overlay.volumes)
    assert not any("subPath" in mount or "subPathExpr" in mount for mount in overlay.mounts.values())
    assert overlay.paths("configMap") == [os.path.dirname(overlay.variables["STIGMER_SITE_CONFIG"])]
    assert overlay.paths("emptyDir") == ["/tmp"]
    assert all(overlay.mounts[path]["readOnly"] for kind in ("configMap", "secret") for path in overlay.paths(kind))
    assert list(overlay.maps) == ["stigmer-site"]  # as it is called in every version: an edit is no restart
    assert overlay.volumes[overlay.mounts["/etc/stigmer"]["name"]]["configMap"]["name"] == "stigmer-site"


@pytest.mark.parametrize("name", MODES)
def test_keys_are_in_mounted_secrets(name: str) -> None:
    """Every `{file: …}` is under a mounted Secret; no secret has a value in the ConfigMap."""
    overlay = Overlay(name)
    site = yaml(overlay.config)
    found = list(references(site))
    assert all(os.path.dirname(path) in overlay.paths("secret") for path in found)
    assert bool(found) == bool(overlay.paths("secret")) == (name == "prod")
    secrets = {key for key, setting in SETTINGS.items() if setting.is_secret}
    values = dict(leaves(site))
    literal = {key for key in values if key in secrets or key.endswith(".api_key")} - {
        key for key, value in values.items() if isinstance(value, dict)
    }
    assert literal == set()


@pytest.mark.parametrize("name", MODES)
def test_the_container_may_do_little(name: str) -> None:
    """Not as root, nothing to write to but the runtime folder, no token of the cluster."""
    overlay = Overlay(name)
    assert overlay.pod["securityContext"]["runAsNonRoot"] is True
    assert overlay.pod["securityContext"]["runAsUser"] > 0
    assert overlay.pod["automountServiceAccountToken"] is False
    assert overlay.container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    for path in overlay.paths("secret"):  # decimal: an octal number is another one to half of all YAML readers
        assert overlay.volumes[overlay.mounts[path]["name"]]["secret"]["defaultMode"] == 0o440
        assert overlay.pod["securityContext"]["fsGroup"] == overlay.pod["securityContext"]["runAsGroup"]


def test_the_image_has_what_the_deployment_starts() -> None:
    """The Dockerfile copies the worker to where the Deployment's command looks for it, and it belongs to no root."""
    made = (EXAMPLE / "Dockerfile").read_text(encoding="utf-8")
    copied = {target: source for source, target in re.findall(r"^COPY (\S+\.py) (\S+)$", made, re.MULTILINE)}
    overlay = Overlay("prod")
    program = overlay.container["command"][1]
    assert (ROOT / copied[program]).is_file()
    user = overlay.pod["securityContext"]
    assert f"USER {user['runAsUser']}:{user['runAsGroup']}\n" in made
    for sources in re.findall(r"^COPY (.+) \S+$", made, re.MULTILINE):
        assert all((ROOT / source).exists() for source in sources.split())


def test_the_readme_makes_the_secret_that_is_mounted(tmp_path: Path) -> None:
    """Its command, fed a key, makes the Secret of the Deployment with the file that the site file names."""
    (command,) = re.findall(r"^(kubectl create secret .*--dry-run=client.*) \|$", README, re.MULTILINE)
    (tmp_path / "new-key.txt").write_text("sk-ant-new\n", encoding="utf-8")
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": f"{os.path.dirname(str(KUBECTL))}{os.pathsep}{os.defpath}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    secret = yaml(done.stdout)
    overlay = Overlay("prod")
    (path,) = overlay.paths("secret")
    assert secret["metadata"]["name"] == overlay.volumes[overlay.mounts[path]["name"]]["secret"]["secretName"]
    assert {f"{path}/{name}" for name in secret["data"]} == set(references(yaml(overlay.config)))
    assert base64.b64decode(secret["data"]["anthropic"]) == b"sk-ant-new\n"


def test_the_readme_names_what_there_is() -> None:
    """The overlays, the Deployment, the ConfigMap, and the label are those that are rendered."""
    deployment = Overlay("prod").deployment
    assert {Path(path).name for path in re.findall(r"apply -k (\S+)", README)} == set(MODES)
    assert set(re.findall(r"deployment/([\w-]+)", README)) == {deployment["metadata"]["name"]}
    assert set(re.findall(r"edit configmap (\S+)", README)) == set(Overlay("prod").maps)
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    assert set(re.findall(r" -l (\S+)", README)) == {f"{name}={value}" for name, value in labels}


# -- a worker as the Deployment starts it ----------------------------------------------------------------------------


def fingerprint(pod: Replica) -> str:
    """What the one worker there runs, in short."""
    (state,) = pod.published
    return str(state["fingerprint"])


def takes(pod: Replica, before: str) -> bool:
    """Waits for another fingerprint than the one before."""
    return until(lambda: fingerprint(pod) != before)


def replica(sandbox: Sandbox, name: str = "prod", config: str | None = None) -> Replica:
    return Replica(sandbox, Overlay(name), config, {"anthropic": f"{KEY}\n"})


@pytest.mark.parametrize(("name", "mode"), MODES.items())
def test_the_site_file_passes_validate(sandbox: Sandbox, name: str, mode: str) -> None:
    """The rendered ConfigMap, mounted as the kubelet does, has no problem in the mode of its overlay."""
    pod = replica(sandbox, name)
    mounted = pod.variables["STIGMER_SITE_CONFIG"]
    for argv in ([], [mounted, "--mode", pod.variables["MODE"]]):
        done = pod.exec("stigmer", "config", "validate", *argv)
        assert (done.returncode, "error[" in done.stderr) == (0, False), done  # a model may be near its end by now
    shown = pod.exec("stigmer", "config", "get", "mode")
    assert shown.stdout == f"{mode}\n"


def test_the_probes_detect_a_missing_worker(sandbox: Sandbox) -> None:
    """Startup and liveness fail without a worker, for one that was killed, too; all three pass with one."""
    pod = replica(sandbox)
    assert pod.probe("startupProbe") != 0
    assert pod.probe("livenessProbe") != 0
    with pod.started() as running:
        running.reads_until("#1 begins")
        assert pod.alive
        assert pod.ready
        running.process.kill()
        running.process.wait(60)
        assert list(pod.moved("/tmp").rglob("*.json"))  # as left behind in a volume that outlives the container
        assert pod.probe("startupProbe") != 0
        assert pod.probe("livenessProbe") != 0


def test_a_pod_that_starts_on_a_bad_site_file_never_gets_ready(sandbox: Sandbox) -> None:
    """It ends with status 1 and every problem in its log; with an empty mount, too."""
    for payload in ({"config.yaml": "llm: {modl: fast}\n"}, {}):
        pod = replica(sandbox)
        pod.site.update(payload)
        with pod.started() as running:
            assert running.ends() == 1
            told = "\n".join(running.lines)
            assert re.search(r"config\.yaml.*error\[(unknown-key|unreadable-file)\]", told), told
            assert pod.probe("startupProbe") != 0


def test_an_edit_rolls_through_the_fleet(sandbox: Sandbox) -> None:
    """Each pod takes an edit when its kubelet swaps the mount, the others run on; in the end all publish the same."""
    overlay = Overlay("prod")
    pods = [replica(sandbox) for _ in range(overlay.deployment["spec"]["replicas"])]
    edited = overlay.config.replace("model: balanced", "model: powerful")
    assert edited != overlay.config
    with contextlib.ExitStack() as fleet:
        workers = [fleet.enter_context(pod.started()) for pod in pods]
        for worker in workers:
            worker.reads_until("#1 begins on generation 1: anthropic ")
        (before,) = {fingerprint(pod) for pod in pods}
        for number, (pod, worker) in enumerate(zip(pods, workers, strict=True), 1):
            assert pod.site.update(pod.payload(edited))
            worker.reads_until("== generation 2: llm.model,")
            worker.reads_until(r"#\d+ begins on generation 2: anthropic ")
            assert takes(pod, before)
            assert [fingerprint(other) == before for other in pods] == [False] * number + [True] * (len(pods) - number)
        assert len({fingerprint(pod) for pod in pods}) == 1
        assert {one["generation"] for pod in pods for one in pod.published} == {2}
        assert all(pod.ready and pod.alive for pod in pods)
        assert not pods[0].site.update(pods[0].payload(edited))  # nothing changed: the kubelet writes nothing


# Changes to a ConfigMap, and the expected events.
BAD_EDITS = {
    "an unknown key": ({"config.yaml": "llm: {modl: fast}\n"}, r"error\[unknown-key\] llm\.modl"),
    "a value of the wrong type": ({"config.yaml": "llm: {max_tokens: lots}\n"}, r"error\[wrong-type\] llm\.max_tokens"),
    "no YAML": ({"config.yaml": "llm: [\n"}, r"error\[yaml-syntax\]"),
    "too much": ({"config.yaml": "#" * 70_000}, r"error\[too-large\]"),
    "a key that is not mounted": (
        {"config.yaml": "providers: {anthropic: {api_key: {file: /nowhere}}}\n"},
        r"error\[secret-unavailable\]",
    ),
    "no file": ({"else.yaml": "llm: {}\n"}, r"error\[unreadable-file\]"),
}


def test_a_bad_edit_restarts_nothing_and_is_seen(sandbox: Sandbox) -> None:
    """Whatever is wrong: last good works on, the pod is alive and not ready, with the fault in the probe's output."""
    pod = replica(sandbox)
    with pod.started("--seconds", "0.2") as running:
        running.reads_until("#1 begins on generation 1")
        for what, (payload, told) in BAD_EDITS.items():
            pod.site.update(payload)
            running.reads_until(f"config.reload_rejected.*{told.replace('error', '')}")
            assert until(lambda: not pod.ready), what
            running.reads_until(r"#\d+ begins on generation 1: anthropic ")
            assert pod.alive, what
            assert re.search(told, pod.said), what
            (state,) = pod.published
            assert (state["generation"], bool(state["rejected"])) == (1, True), what
        pod.site.update(pod.payload(pod.overlay.config))
        assert until(lambda: pod.ready)
        assert {generation for _, generation, *_ in BEGUN.findall("\n".join(running.lines))} == {"1"}
        assert running.process.poll() is None


def test_what_waits_for_a_restart_is_seen(sandbox: Sandbox) -> None:
    """A change that only a restart takes makes the pod unready, and names the key; the pod stays alive."""
    pod = replica(sandbox)
    with pod.started() as running:
        running.reads_until("#1 begins")
        pod.site.update(pod.payload(pod.overlay.config.replace("namespace: agents", "namespace: others")))
        running.reads_until("config.reloaded")
        assert until(lambda: not pod.ready)
        assert "no: restart for temporal.namespace" in pod.said
        assert pod.alive
    with pod.started() as running:  # kubectl rollout restart
        running.reads_until("#1 begins")
        assert pod.ready


def keys_sent(provider: FakeProviders) -> list[str]:
    """The key of each request for an answer."""
    return [
        one.headers["authorization"].removeprefix("Bearer ") for one in provider.arrived if one.path == "/v1/messages"
    ]


def test_a_rotated_secret_is_taken(sandbox: Sandbox) -> None:
    """Requests go out with the new key, without a restart; neither key is printed, logged or published."""
    new = "sk-ant-mounted-key-two"
    with FakeProviders() as provider:
        config = Overlay("prod").config.replace("anthropic:\n", f"anthropic:\n    base_url: {provider.url}\n")
        pod = replica(sandbox, config=config)
        with pod.started("--call", "--at-once", "1") as running:
            running.reads_until(r"#\d+ ended on generation 1")
            assert set(keys_sent(provider)) == {KEY}
            pod.keys.update({"anthropic": f"{new}\n"})
            running.reads_until(r"== generation 2: llm\.api_key")
            running.reads_until(r"#\d+ ended on generation 2")
            assert keys_sent(provider)[-1] == new
            assert pod.ready
            pod.keys.update({})
            running.reads_until("config.reload_rejected.*secret-unavailable")
            assert until(lambda: not pod.ready)
            assert pod.alive
            running.reads_until(r"#\d+ ended on generation 2")
            assert keys_sent(provider)[-1] == new
            state = "".join(path.read_text() for path in pod.moved("/tmp").rglob("*.json"))
            everything = "\n".join([*running.lines, pod.said, state])
    assert keys_sent(provider) == sorted(keys_sent(provider))  # one, and then two, never back
    assert "mounted-key" not in everything


# -- a worker as a container runtime starts it -----------------------------------------------------------------------


def test_it_runs_in_a_container(tmp_path: Path) -> None:
    """As an unknown user, as PID 1, on a read-only file system: it starts, publishes, reloads, and ends at SIGTERM."""
    if not may_contain():
        pytest.skip("needs root, and leave to make namespaces and mounts")
    pod = Contained(tmp_path, Overlay("prod"))
    probes = ("startupProbe", "readinessProbe", "livenessProbe")
    with pod.started() as running:
        running.reads_until("#1 begins on generation 1: anthropic ")
        facts = pod.exec(running, "sh", "-c", "id -u; touch /x /app/x /etc/stigmer/x; ls -d /tmp/runtime-*; ls /proc")
        assert facts.stdout.split()[:3] == ["65532", "/tmp/runtime-65532", "1"], facts
        assert facts.stderr.count("Read-only file system") == 3
        assert [pod.probe(running, name) for name in probes] == [0, 0, 0]
        assert pod.exec(running, "stigmer", "config", "validate").returncode == 0
        (trial,) = re.findall(r"sh -c '(.*)' < (?:\S+)$", README, re.MULTILINE)
        assert pod.exec(running, "sh", "-c", trial, stdin=pod.overlay.config).returncode == 0
        assert pod.exec(running, "sh", "-c", trial, stdin="llm: {modl: fast}\n").returncode == 1

        pod.site.update({"config.yaml": pod.overlay.config.replace("model: balanced", "model: powerful")})
        running.reads_until("== generation 2: llm.model,")
        pod.keys.update({"anthropic": "sk-ant-mounted-key-two\n"})
        running.reads_until("== generation 3: llm.api_key")
        assert until(lambda: pod.probe(running, "readinessProbe") == 0)

        pod.site.update({"config.yaml": "llm: {modl: fast}\n"})
        running.reads_until("config.reload_rejected")
        assert until(lambda: pod.probe(running, "readinessProbe") == 4)
        assert [pod.probe(running, name) for name in probes] == [0, 4, 0]
        running.reads_until(r"#\d+ begins on generation 3")

        os.kill(pod.first(running), signal.SIGTERM)
        assert running.ends() == 0
        assert running.lines[-1] == "== ended on generation 3"
    assert "mounted-key" not in "\n".join(running.lines)

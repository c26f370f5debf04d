"""The peers' loads of the reference load, each as its manual shows, and the check of every result.

Each of `PEERS` returns two functions: one that loads (new objects from the files' bytes, if its manual shows how) and
one that converts the result to plain mappings for comparison. The six variables have each peer's own spelling.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from reference import HYDRA_FOLDER, MERGED, OMEGACONF_VARIABLES

Load = Callable[[], Any]
Plain = Callable[[Any], Mapping[str, Any]]


def dynaconf(_files: list[str]) -> tuple[Load, Plain]:
    """`Dynaconf(settings_files=…, envvar_prefix=…, merge_enabled=True)`; the first read loads. It checks nothing."""
    sys.path.insert(0, str(Path.cwd()))
    from settings import make  # written by reference.World

    def load() -> Any:
        settings = make()
        settings.LLM  # noqa: B018 - the read
        return settings

    return load, lambda settings: settings.as_dict()


def pydantic_settings(files: list[str]) -> tuple[Load, Plain]:
    """A settings class with a YAML source, deep merge and nested variables. It checks the types."""
    from peer_model import Reference

    Reference.model_config["yaml_file"] = files
    return Reference, lambda settings: settings.model_dump(exclude_unset=True)


def omegaconf(files: list[str]) -> tuple[Load, Plain]:
    """`OmegaConf.merge` of the files and a dot list of the variables. It checks nothing."""
    from omegaconf import OmegaConf

    def load() -> Any:
        variables = [f"{key}={os.environ[name]}" for key, name in OMEGACONF_VARIABLES.items()]
        return OmegaConf.merge(*map(OmegaConf.load, files), OmegaConf.from_dotlist(variables))

    return load, lambda config: OmegaConf.to_container(config, resolve=True)


def hydra(_files: list[str]) -> tuple[Load, Plain]:
    """`compose` of a config whose defaults list is the three files and which takes the variables by `oc.env`."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    def load() -> Any:
        with initialize_config_dir(str(Path.cwd() / HYDRA_FOLDER), version_base=None):
            return compose("reference")

    return load, lambda config: OmegaConf.to_container(config, resolve=True)


PEERS = {"dynaconf": dynaconf, "pydantic-settings": pydantic_settings, "OmegaConf": omegaconf, "Hydra": hydra}


def loads(files: list[str]) -> dict[str, Load]:
    """Each peer's load by its name, after checking that its result equals the reference load's."""
    found: dict[str, Load] = {}
    for name, make in PEERS.items():
        load, plain = make(files)
        check(name, dict(leaves(plain(load()))))
        found[name] = load
    return found


def leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value with its dotted key. dynaconf writes keys from variables, and its sections, in capitals."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{path}{key.lower()}.")
        else:
            yield path + key.lower(), value


def check(name: str, got: Mapping[str, Any]) -> None:
    """Raises `RuntimeError` unless the values are exactly those of the reference load."""
    if got != MERGED:
        wrong = sorted(key for key in {*got, *MERGED} if got.get(key) != MERGED.get(key))
        raise RuntimeError(f"{name} does not load what it should: {', '.join(wrong)}")

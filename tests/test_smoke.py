from tests.support.sandbox import Sandbox


def test_zero_configuration_in_local_mode_is_ollama(sandbox: Sandbox) -> None:
    """Nothing configured, MODE=local: Ollama on this machine."""
    config = sandbox.load({"MODE": "local"})
    assert (config.mode, config.llm.provider, config.llm.base_url) == ("local", "ollama", "http://localhost:11434")

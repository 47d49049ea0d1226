"""What is secret in the environment, and what only looks like it."""

from scripts.engine.secrets import mask


def test_values_of_secret_variables_are_masked() -> None:
    environment = {
        "HF_TOKEN": "hf_abcdefgh",
        "AWS_SECRET_ACCESS_KEY": "s3cr3t/key",
        "HOME": "/home",
    }
    assert mask("a hf_abcdefgh b s3cr3t/key /home", environment) == "a *** b *** /home"


def test_short_values_and_switches_are_left() -> None:
    environment = {"TOKENIZERS_PARALLELISM": "false!", "HF_TOKEN": "a"}
    assert mask("a false!", environment) == "a false!"


def test_passwords_in_urls_are_masked() -> None:
    assert mask("get https://me:pass@host/x", {}) == "get https://***@host/x"

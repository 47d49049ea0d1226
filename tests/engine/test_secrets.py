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


def test_names_that_clouds_and_forges_use() -> None:
    names = ("AZURE_STORAGE_KEY", "GH_PAT", "DEPLOY_PRIVATE_KEY", "QUANTMAKE_SIGNING_KEY")
    for name in names:
        assert mask("a sesame-123 b", {name: "sesame-123"}) == "a *** b", name
    assert mask("a id-12345 b", {"AWS_ACCESS_KEY_ID": "id-12345"}) == "a id-12345 b"


def test_passwords_with_slashes_and_signed_queries() -> None:
    assert mask("s3://me:p/a@ss@host/x and more", {}) == "s3://***@host/x and more"
    signed = "GET https://host/x?sv=1&sig=abc%2Fdef&se=2 failed"
    assert mask(signed, {}) == "GET https://host/x?sv=1&sig=***&se=2 failed"

"""Names of AWS resources: what is read, what is refused."""

import pytest

from bot.domain import arns

HEAD = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:"


@pytest.mark.parametrize(
    ("kind", "tail", "name"),
    [
        ("listener", "listener/app/shop/1a/2b", "shop"),
        ("listener-rule", "listener-rule/app/shop/1a/2b/3c", "shop"),
        ("targetgroup", "targetgroup/shop-blue/1a", "shop-blue"),
    ],
)
def test_a_name_is_read_into_its_parts(kind: str, tail: str, name: str) -> None:
    """A name of the wanted kind tells its place and the name that people gave."""
    arn = arns.parse_arn(HEAD + tail, kind)
    assert (arn.text, arn.name) == (HEAD + tail, name)
    assert arn.place == ("aws", arn.region, arn.account) == ("aws", "eu-west-1", "123456789012")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("listener", "shop"),
        ("listener", HEAD + "targetgroup/shop/1a"),
        ("listener", HEAD + "listener/app/shop/1a"),
        ("listener", HEAD + "listener/net/shop/1a/2b"),
        ("targetgroup", HEAD + "targetgroup/shop/1a\n"),
    ],
)
def test_a_wrong_name_is_refused(kind: str, text: str) -> None:
    """What is no name of the wanted kind is refused with the form that would be accepted."""
    with pytest.raises(ValueError, match=f"is no ARN of a {kind}; it looks like arn:aws:"):
        arns.parse_arn(text, kind)

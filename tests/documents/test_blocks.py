from __future__ import annotations

import pytest

from tests.documents.blocks import Block, blocks


@pytest.mark.parametrize("block", blocks("console"), ids=lambda block: block.name)
def test_a_block_that_is_not_run_has_its_reason(block: Block) -> None:
    assert block.reason, f"{block.name}: mark it `sh` so that it is run, or say in NOT_RUN why it cannot be"

from __future__ import annotations

import pytest

from raftbook.client import RaftbookClient
from tests.client.two_nodes import two_nodes
from tests.support.sample_orders import ACME


@pytest.fixture
async def nodes():
    async with two_nodes() as nodes:
        async with RaftbookClient(nodes.second) as client:
            await client.add_instrument(ACME)
        yield nodes


@pytest.fixture
async def client(nodes):
    """Begins at the first of two nodes, and is told of no other one."""
    async with RaftbookClient(nodes.first) as client:
        yield client

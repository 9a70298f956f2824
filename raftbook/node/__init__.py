"""One node: its configuration, its logs, and the wiring of intake, ordered log and exchange on one asyncio loop."""

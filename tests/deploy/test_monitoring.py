"""What is deployed around a node fits it: every metric that is queried exists, and every file says what it should."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from raftbook.gateway import make_app
from raftbook.node.config_file import load_config
from tests.support.sample_orders import ACME
from tests.support.single_node import single_node

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"

METRIC = re.compile(r"\b(?:raftbook|process)_[a-z_]+")
OF_PROMETHEUS = {"up"}


def loaded(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def rules() -> list[dict[str, Any]]:
    return [rule for group in loaded("alerts.yml")["groups"] for rule in group["rules"]]


def dashboard_queries() -> list[str]:
    dashboard = json.loads((DEPLOY / "dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    queries += [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    return queries + [variable["query"]["query"] for variable in dashboard["templating"]["list"][1:]]


QUERIES = [*dashboard_queries(), *(rule["expr"] for rule in rules())]


async def told_by_a_node(tmp_path) -> set[str]:
    """The names of all samples of a node that has had a request."""
    async with single_node(tmp_path) as service:
        transport = httpx.ASGITransport(make_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            await http.post("/v1/instruments", json=ACME)
            text = (await http.get("/metrics")).text
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


async def test_every_metric_that_is_queried_is_one_that_a_node_tells(tmp_path):
    told = await told_by_a_node(tmp_path)

    queried = {name for query in QUERIES for name in METRIC.findall(query)}

    assert queried - told == set()
    assert len(queried) > 25


async def test_the_dashboard_shows_every_figure_of_a_node(tmp_path):
    own = {name for name in await told_by_a_node(tmp_path) if name.startswith("raftbook_")}

    shown = {name for query in QUERIES for name in METRIC.findall(query)}

    left_out = own - shown - {f"{name}_{part}" for name in map(stem, shown) for part in ("bucket", "sum", "count")}
    assert left_out == {"raftbook_connected_peers", "raftbook_draining", "raftbook_feed_messages_sent_total"}


def stem(name: str) -> str:
    return re.sub(r"_(bucket|sum|count)\Z", "", name)


def test_every_query_of_a_histogram_goes_by_the_bounds_of_its_buckets():
    for query in QUERIES:
        assert ("histogram_quantile" in query) == ("_bucket" in query), query
        assert query.count("(") == query.count(")"), query


@pytest.mark.parametrize("rule", rules(), ids=[rule["alert"] for rule in rules()])
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule):
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert len(rule["annotations"]["summary"]) > 10
    assert rule["annotations"]["description"].endswith(("`.", ".")), rule
    for command in re.findall(r"`raftbook ([a-z ]+)`", rule["annotations"]["description"]):
        assert command.split()[0] in ("cluster", "node", "verify")


def test_panels_lie_beside_and_below_each_other():
    panels = json.loads((DEPLOY / "dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


# ---------------------------------------------------------------- containers and units


def test_compose_names_what_there_is():
    compose = loaded("compose.yaml")
    nodes = {name: service for name, service in compose["services"].items() if service.get("hostname")}
    config = load_config(DEPLOY / "raftbook.toml", {})

    assert set(nodes) == {node.id for node in config.nodes}
    for name, service in compose["services"].items():
        used = [entry if isinstance(entry, str) else entry["source"] for entry in service.get("secrets", ())]
        assert set(used) <= set(compose["secrets"]), name
        assert {entry["source"] for entry in service.get("configs", ())} <= set(compose["configs"]), name
        volumes = {entry.partition(":")[0] for entry in service.get("volumes", ())}
        assert volumes <= set(compose["volumes"]), name
    for node_id, service in nodes.items():
        assert service["command"][-1] == node_id
        assert service["environment"]["RAFTBOOK_URL"] == f"https://{config.node(node_id).api_address}"
        mounted = {
            f"/run/secrets/{entry if isinstance(entry, str) else entry['target']}" for entry in service["secrets"]
        }
        files = config.security.tls_files(node_id)
        assert {str(path) for path in files} == mounted
    for entry in compose["configs"].values():
        assert "content" in entry or (DEPLOY / entry["file"]).is_file()


def test_the_image_copies_what_exists_and_ends_as_nobody_special():
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()

    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), line
                assert f"!{source}" in ignored, line
    images = {line.split()[1] for line in lines if line.startswith("FROM ")}
    assert all(re.search(r":\d+\.\d+\.\d+", image) for image in images)
    assert [line for line in lines if line.startswith("USER ")] == ["USER raftbook"]
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert 'ENTRYPOINT ["raftbook"]' in lines
    assert "raftbook" in scripts


def test_prometheus_reads_the_rules():
    for name in ("prometheus.yml", "prometheus-compose.yml"):
        config = loaded(name)
        assert config["rule_files"] == ["alerts.yml"]
        assert [job["job_name"] for job in config["scrape_configs"]] == ["raftbook"]

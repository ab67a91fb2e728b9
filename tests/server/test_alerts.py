"""The alerts an operator is given fire when they must and keep quiet otherwise, as Prometheus itself reads them."""

from __future__ import annotations

import subprocess

import yaml

from storage.settings import project_root

PROMETHEUS = project_root() / "infra" / "prometheus"


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_example_with_its_alerts() -> None:
    assert "valid prometheus config" in promtool("check", "config", "prometheus.yml")


def test_every_alert_comes_when_it_must() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts.test.yml")
    rules = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
    tested = yaml.safe_load((PROMETHEUS / "alerts.test.yml").read_text())["tests"]
    fired = {of["alertname"] for test in tested for of in test["alert_rule_test"] if of["exp_alerts"]}
    assert fired == {rule["alert"] for rule in rules}
